//! Totals of one process's mappings.

use super::intervals::Piece;
use crate::event::{Cause, LossCounts};

/// What happened to the mappings of one process since attach. Bytes are whole pages.
///
/// At any moment
/// `maps == live_count + unmaps + displaced + dropped_by_exec + full` and
/// `mapped_bytes == live_bytes + unmapped_bytes + displaced_bytes + dropped_bytes + full_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MappedTotals {
    /// Bytes that may be accessed and are not unmapped; a range that is being unmapped still counts.
    pub live_bytes: u64,
    /// Mappings of which something is left, accessible or not.
    pub live_count: u64,
    /// Bytes of them that may not be accessed.
    pub reserved_bytes: u64,
    /// The largest `live_bytes` so far.
    pub peak_live_bytes: u64,
    /// Mappings made; a remap that succeeded is one.
    pub maps: u64,
    /// Bytes that came with access, or were given it.
    pub mapped_bytes: u64,
    /// Mappings whose last byte was unmapped, moved away or replaced.
    pub unmaps: u64,
    /// Bytes that were, or that lost their access.
    pub unmapped_bytes: u64,
    /// Unmaps and remaps of ranges of which nothing is known: files, older than the trace, or an allocator's own.
    pub unknown_unmaps: u64,
    /// Mappings whose last byte was mapped again before its unmapping was seen.
    pub displaced: u64,
    /// Bytes of such, and of those of which something else is left.
    pub displaced_bytes: u64,
    /// Mappings that were live when the process replaced its image.
    pub dropped_by_exec: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
    /// Mappings that are not kept, because there are too many.
    pub full: u64,
    /// Bytes that are not kept, of those and of parts that were left when a mapping was cut.
    pub full_bytes: u64,
    /// Such parts, of mappings of which something else is kept.
    pub cut_up: u64,
    /// Ranges that were mapped again before their unmapping was seen: a mapping may be in several.
    pub displacements: u64,
    /// Begins of an unmap or remap without an end, and ends without a begin.
    pub unpaired: u64,
    /// Mappings counted at the overflow site because there are too many sites.
    pub sites_full: u64,
    /// Stacks that were not kept because there are too many.
    pub stacks_full: u64,
    /// Stacks that differed from the one known under the same hash.
    pub stack_collisions: u64,
}

impl MappedTotals {
    pub(super) fn add_live(&mut self, piece: &Piece) {
        let memory = piece.memory();
        self.reserved_bytes = self.reserved_bytes.saturating_add(piece.len() - memory);
        self.live_bytes = self.live_bytes.saturating_add(memory);
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
    }

    pub(super) fn remove_live(&mut self, piece: &Piece) {
        let memory = piece.memory();
        self.reserved_bytes = self.reserved_bytes.saturating_sub(piece.len() - memory);
        self.live_bytes = self.live_bytes.saturating_sub(memory);
    }

    /// A piece has become memory, or none: it counts as mapped, or unmapped.
    pub(super) fn change_access(&mut self, piece: &Piece) {
        let length = piece.len();
        self.remove_live(&Piece { accessible: !piece.accessible, ..*piece });
        self.add_live(piece);
        let bytes = if piece.accessible { &mut self.mapped_bytes } else { &mut self.unmapped_bytes };
        *bytes = bytes.saturating_add(length);
    }

    pub(super) fn exec(&mut self) {
        self.dropped_by_exec += self.live_count;
        self.dropped_bytes = self.dropped_bytes.saturating_add(self.live_bytes);
        (self.live_count, self.live_bytes, self.reserved_bytes) = (0, 0, 0);
    }

    /// What of it was lost, by cause.
    pub fn losses(&self) -> LossCounts {
        let mut losses = LossCounts::default();
        losses.add(Cause::MappingsFull, self.full.saturating_add(self.cut_up));
        losses.add(Cause::SitesFull, self.sites_full);
        losses.add(Cause::StackMemoryFull, self.stacks_full);
        losses.add(Cause::StackCollision, self.stack_collisions);
        losses.add(Cause::DisplacedMapping, self.displacements);
        losses.add(Cause::UnpairedMapping, self.unpaired);
        losses
    }
}
