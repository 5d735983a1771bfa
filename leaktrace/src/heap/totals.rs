//! Totals of one process's heap.

use super::sampling::Estimate;
use crate::event::{Cause, LossCounts};

/// What happened to the heap of one process since attach. Bytes are requested bytes.
///
/// At any moment
/// `allocs + found_count == live_count + frees + displaced + found_twice + dropped_by_exec + blocks_full + unseen_frees`,
/// as long as everything is seen or samples are taken by bytes. Where a trace looks in slices, `live_count` is of the blocks
/// that are not known to be gone, and the sum is of those that were seen; bytes and [`Totals::estimate`] are estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Bytes allocated since attach (or since exec), or found to be older, and not freed; a block under reallocation still
    /// counts.
    pub live_bytes: u64,
    /// Blocks allocated since attach (or since exec), or found to be older, and not freed; a block under reallocation still
    /// counts.
    pub live_count: u64,
    /// The largest `live_bytes` so far.
    pub peak_live_bytes: u64,
    /// Bytes that the allocator gave beyond what was asked for, of the live blocks whose allocation was seen; 0 where its
    /// rule is not known.
    pub internal_bytes: u64,
    /// Allocations; a reallocation that succeeded is one.
    pub allocs: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Frees of blocks whose allocation was seen, or that were found to be older; a reallocation that succeeded is one of its old block.
    pub frees: u64,
    /// Bytes freed.
    pub free_bytes: u64,
    /// Frees of blocks whose allocation was not seen: older than the trace, lost, or filtered out.
    pub unknown_frees: u64,
    /// Blocks from before the trace that a walk through the heap found.
    pub found_count: u64,
    /// Bytes of those that were kept: what may be used of them.
    pub found_bytes: u64,
    /// Found blocks that turned out to be new ones, whose allocation was under way.
    pub found_twice: u64,
    /// Blocks whose address was handed out again before their free was seen.
    pub displaced: u64,
    /// Blocks whose address was handed out again after a time in which nobody looked.
    pub unseen_frees: u64,
    /// Blocks that were live when the process replaced its image.
    pub dropped_by_exec: u64,
    /// Allocations that are not in the live map because it is full.
    pub blocks_full: u64,
    /// Allocations counted at the overflow site because there are too many sites.
    pub sites_full: u64,
    /// Stacks that were not kept because there are too many.
    pub stacks_full: u64,
    /// Stacks that differed from the one known under the same hash.
    pub stack_collisions: u64,
    /// Where samples are taken: what their counts stand for. Bytes are estimates then, counts those of samples.
    pub estimate: Estimate,
    /// Reallocations that returned without a begin.
    pub orphan_reallocs: u64,
    /// Reallocations that began and never returned.
    pub abandoned_reallocs: u64,
}

impl Totals {
    #[inline]
    pub(super) fn add_live(&mut self, size: u64) {
        self.live_count += 1;
        self.live_bytes = self.live_bytes.saturating_add(size);
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
    }

    #[inline]
    pub(super) fn remove_live(&mut self, size: u64) {
        self.live_count = self.live_count.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(size);
    }

    /// What of it was lost, by cause.
    pub fn losses(&self) -> LossCounts {
        let mut losses = LossCounts::default();
        losses.add(Cause::BlocksFull, self.blocks_full);
        losses.add(Cause::SitesFull, self.sites_full);
        losses.add(Cause::StackMemoryFull, self.stacks_full);
        losses.add(Cause::StackCollision, self.stack_collisions);
        losses.add(Cause::DisplacedBlock, self.displaced);
        losses.add(Cause::OrphanRealloc, self.orphan_reallocs);
        losses.add(Cause::AbandonedRealloc, self.abandoned_reallocs);
        losses
    }
}
