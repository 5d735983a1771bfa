//! Records and constants shared by leaktrace's BPF programs and the user-space loader.
//!
//! Everything that crosses the kernel boundary is defined here once: ring-buffer records, the attach cookie,
//! the loss counters and the per-thread call slot. All records are `repr(C)`, free of implicit padding, and
//! their sizes are asserted at compile time, so that the two sides cannot drift apart unnoticed.
#![no_std]

mod cookie;
mod copy;
mod loss;
mod record;
pub mod sampling;

pub use cookie::{Argument, Cookie, Role};
pub use copy::{AMBIGUOUS, CODE_WORDS, COPY_LIMIT, CodePages, RECHECK_EVERY, Reason, Rule, code_bit};
pub use loss::Loss;
pub use record::{
    AllocationRecord, CallSlot, FreeRecord, GcRecord, Header, Kind, LifecycleRecord, MAX_FRAMES,
    MappingRecord, MappingSlot, MeasureSlot, RangeRecord, StackCopy, StackRecord,
};

/// Version of everything in this crate; the loader refuses an object that was built from another one.
pub const ABI_VERSION: u32 = 8;

/// The stack hash of an allocation whose stack could not be taken.
pub const NO_STACK: u64 = 0;

/// Names of the BPF maps, as the loader asks for them.
pub mod maps {
    /// How samples are taken at present: a [`super::sampling::Control`] (array of one).
    pub const CONTROL: &str = "CONTROL";
    /// Addresses of sampled blocks (hash set); one entry where everything is traced.
    pub const SAMPLED: &str = "SAMPLED";
    /// Calls that were looked at and not told, by the function's number (per-CPU array).
    pub const PASSED: &str = "PASSED";
    /// Ring buffers of records (array of maps).
    pub const RINGS: &str = "RINGS";
    /// Per-thread call slots (hash).
    pub const CALLS: &str = "CALLS";
    /// Per-thread mapping calls under way (hash); one entry where mappings are not traced.
    pub const MAPPING_CALLS: &str = "MAPPING_CALLS";
    /// Per-thread calls of V8 functions that give a size, under way (hash).
    pub const MEASURES: &str = "MEASURES";
    /// Stack hashes that were already sent (hash set).
    pub const KNOWN_STACKS: &str = "KNOWN_STACKS";
    /// How the stacks of each process are taken, by its index: 1 by copies (array).
    pub const UNWIND: &str = "UNWIND";
    /// Processes whose code has just changed, by index: 1 until the loader has seen it (array).
    pub const UNSURE: &str = "UNSURE";
    /// Where there may be code, for all processes together (array of one).
    pub const CODE_PAGES: &str = "CODE_PAGES";
    /// How to come from a return address to the next, by [`super::Rule::key`] (hash).
    pub const RULES: &str = "RULES";
    /// Traced thread-group ids -> process index (hash).
    pub const TARGETS: &str = "TARGETS";
    /// Loss counters, indexed by [`super::Loss`] (per-CPU array).
    pub const LOSSES: &str = "LOSSES";
}
