//! The live-allocation map and the call sites. Pure: no clock, no /proc, no BPF.
//!
//! One [`Tracker`] a process, fed with events. Times are nanoseconds of the kernel's monotonic clock, as records carry them.

mod block;
mod candidates;
mod cohorts;
mod facts;
mod histories;
mod intervals;
mod live;
mod mapped;
mod mappings;
mod outlines;
mod sampled;
mod sampling;
mod scout;
mod series;
mod site;
mod sites;
mod slices;
mod slope;
mod stacks;
mod survival;
mod totals;
mod tracker;
mod usable;
pub mod walk;

pub use block::Block;
pub use facts::SiteFacts;
pub use mapped::MappedTotals;
pub use mappings::Mappings;
pub use sampled::Sampled;
pub use sampling::{Estimate, Sampling};
pub use series::{Point, Series};
pub use site::{
    Lifetimes, MAPPING_NO_STACK_SITE, MAPPING_OVERFLOW_SITE, NO_STACK_SITE, OVERFLOW_SITE, Site, SiteIds,
};
pub use slices::Growth;
pub use totals::Totals;
pub use tracker::{FoundBlocks, OldLive, Tracker};
pub use usable::Rounding;

/// What a trace may hold in memory. Beyond a limit nothing is evicted: what does not fit is counted, by cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live blocks of one process, at most 2^32 - 1; each costs at most 64 bytes.
    pub max_blocks: usize,
    /// Call sites of one process, at most 2^24 - 2.
    pub max_sites: usize,
    /// Return addresses kept for the stacks of one process, 8 bytes each.
    pub max_frames: usize,
    /// Mappings of one process, or parts where some were cut up; some 100 bytes each.
    pub max_mappings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_blocks: 50_000_000, max_sites: 1_000_000, max_frames: 16 << 20, max_mappings: 1 << 20 }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
