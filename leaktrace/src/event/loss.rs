//! Everything that was lost or could not be kept, counted by cause.

use leaktrace_common::Loss;

/// A cause of loss on our side of the ring. The kernel side's causes are [`Loss`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Cause {
    /// A record could not be decoded.
    Decode,
    /// A record was older than the one before it of the same thread.
    OutOfOrder,
    /// The live map is full: the block is counted, but not live, and its free will be unknown.
    BlocksFull,
    /// There are too many call sites: the allocation is counted at the site for all others.
    SitesFull,
    /// There are too many stacks: the allocation is counted at a site without frames.
    StackMemoryFull,
    /// Two different stacks came with one hash: the first one stands for both.
    StackCollision,
    /// A block was handed out that was already live: the free before it was not seen.
    DisplacedBlock,
    /// A reallocation returned whose begin was not seen: its old block may still be counted as live.
    OrphanRealloc,
    /// A reallocation never returned, or its return was not seen: its old block is counted as live.
    AbandonedRealloc,
    /// A record of a process that is not known (any more).
    UnknownProcess,
    /// The reader of the output was too slow: a tick was not written.
    OutputTick,
    /// There are too many mappings, or parts of some: what does not fit is counted, but not live.
    MappingsFull,
    /// A range was mapped that was already known: its unmapping was not seen.
    DisplacedMapping,
    /// The begin or the end of an unmap or remap was not seen.
    UnpairedMapping,
    /// Steps of a V8 collection were not seen, or came from more isolates than are kept: it has no record.
    UnpairedGc,
    /// There are too many sampled objects of JavaScript, or call sites of them: what does not fit is not counted.
    JsSamplesFull,
}

impl Cause {
    /// How many causes there are.
    pub const COUNT: usize = 16;

    /// All causes, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Decode,
        Self::OutOfOrder,
        Self::BlocksFull,
        Self::SitesFull,
        Self::StackMemoryFull,
        Self::StackCollision,
        Self::DisplacedBlock,
        Self::OrphanRealloc,
        Self::AbandonedRealloc,
        Self::UnknownProcess,
        Self::OutputTick,
        Self::MappingsFull,
        Self::DisplacedMapping,
        Self::UnpairedMapping,
        Self::UnpairedGc,
        Self::JsSamplesFull,
    ];

    /// The name of the counter in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode_errors",
            Self::OutOfOrder => "out_of_order",
            Self::BlocksFull => "blocks_full",
            Self::SitesFull => "sites_full",
            Self::StackMemoryFull => "stack_memory_full",
            Self::StackCollision => "stack_collisions",
            Self::DisplacedBlock => "displaced_blocks",
            Self::OrphanRealloc => "orphan_reallocs",
            Self::AbandonedRealloc => "abandoned_reallocs",
            Self::UnknownProcess => "unknown_process",
            Self::OutputTick => "output_ticks",
            Self::MappingsFull => "mappings_full",
            Self::DisplacedMapping => "displaced_mappings",
            Self::UnpairedMapping => "unpaired_mappings",
            Self::UnpairedGc => "unpaired_gc",
            Self::JsSamplesFull => "js_samples_full",
        }
    }

    /// Whether it makes the figures of the heap inexact: a tick that was not written, or an odd order of times
    /// that no figure depends on, does not.
    const fn makes_inexact(self) -> bool {
        !matches!(self, Self::OutOfOrder | Self::OutputTick)
    }
}

/// Counts by cause, since attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossCounts {
    kernel: [u64; Loss::COUNT],
    own: [u64; Cause::COUNT],
}

impl LossCounts {
    /// Takes over the kernel side's counters, which count from attach on; missing ones count 0, so that a recording
    /// of an older version can be read.
    pub fn set_kernel(&mut self, counts: &[u64]) {
        for (kept, &count) in self.kernel.iter_mut().zip(counts) {
            *kept = count;
        }
    }

    /// Counts of the kernel side, in the order of [`Loss::ALL`].
    pub const fn kernel(&self) -> &[u64; Loss::COUNT] {
        &self.kernel
    }

    /// Adds `count` to a cause on our side.
    pub fn add(&mut self, cause: Cause, count: u64) {
        if let Some(kept) = self.own.get_mut(cause as usize) {
            *kept = kept.saturating_add(count);
        }
    }

    /// Adds all counts of another, such as those of one process's heap.
    pub fn merge(&mut self, other: &Self) {
        let own = self.own.iter_mut().zip(&other.own);
        for (kept, &count) in self.kernel.iter_mut().zip(&other.kernel).chain(own) {
            *kept = kept.saturating_add(count);
        }
    }

    /// Name and count of every cause that happened.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let kernel = Loss::ALL.iter().zip(self.kernel).map(|(loss, count)| (loss.name(), count));
        let own = Cause::ALL.iter().zip(self.own).map(|(cause, count)| (cause.name(), count));
        kernel.chain(own).filter(|&(_, count)| count > 0)
    }

    /// Sum of the causes that make the figures inexact.
    pub fn total(&self) -> u64 {
        let own = Cause::ALL
            .iter()
            .zip(self.own)
            .filter(|(cause, _)| cause.makes_inexact())
            .map(|(_, count)| count);
        self.kernel.into_iter().chain(own).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_listed() {
        let mut losses = LossCounts::default();
        assert_eq!((losses.iter().count(), losses.total()), (0, 0));
        losses.set_kernel(&[0, 7]);
        losses.set_kernel(&[0, 8]);
        losses.add(Cause::OutputTick, 3);
        losses.add(Cause::Decode, 1);
        losses.add(Cause::Decode, 1);
        let listed: Vec<_> = losses.iter().collect();
        assert_eq!(listed, [("ring_full_frees", 8), ("decode_errors", 2), ("output_ticks", 3)]);
        assert_eq!(losses.total(), 10);
        losses.merge(&losses.clone());
        assert_eq!(losses.total(), 20);
    }

    #[test]
    fn causes_stand_at_their_numbers_and_names_differ() {
        let names: std::collections::BTreeSet<_> = Cause::ALL
            .iter()
            .map(|cause| cause.name())
            .chain(Loss::ALL.iter().map(|loss| loss.name()))
            .collect();
        assert_eq!(names.len(), Cause::COUNT + Loss::COUNT);
        assert!(Cause::ALL.iter().enumerate().all(|(index, &cause)| cause as usize == index));
    }
}
