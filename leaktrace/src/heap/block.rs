//! One live block, and its 24-byte form inside the live map.

/// Nanoseconds in one unit of a packed birth time: 2^32 of them are 497 days.
pub(super) const BIRTH_UNIT_NS: u64 = 10_000_000;

/// Most sites that fit beside a size.
pub(super) const MAX_SITE_INDEX: u32 = (1 << SITE_BITS) - 1;

const SITE_BITS: u32 = 24;

/// Sizes from here on are kept in a table beside the live map.
const HUGE: u64 = (1 << (64 - SITE_BITS)) - 1;

/// A live block, as callers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Address in the process.
    pub address: u64,
    /// Requested size in bytes.
    pub size: u64,
    /// Id of the site that allocated it.
    pub site: u32,
    /// Birth on the kernel's monotonic clock, to 10 ms (rounded down).
    pub birth_ns: u64,
    /// Thread that allocated it.
    pub tid: u32,
}

/// A block outside the map: being inserted, removed, or in flight during its reallocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loose {
    pub(super) address: u64,
    pub(super) size: u64,
    /// Index of its site within its tracker.
    pub(super) site: u32,
    /// Birth in units of [`BIRTH_UNIT_NS`] since the start of the trace.
    pub(super) birth: u32,
    pub(super) tid: u32,
    /// Level at which it was taken as a sample; 0: everything was.
    pub(super) level: u8,
}

/// Thread ids have 22 bits; the level stands above them.
const TID_BITS: u32 = 24;

/// A block inside the map: the size's 40 bits share a word with the site's 24.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) address: u64,
    size_and_site: u64,
    birth: u32,
    tid_and_level: u32,
}

const _: () = assert!(size_of::<Entry>() == 24, "the budget of 64 bytes a block counts on this");

impl Entry {
    /// Packs a block; `true` says that its size did not fit and must be kept beside.
    pub(super) fn pack(block: &Loose) -> (Self, bool) {
        let size = block.size.min(HUGE);
        let size_and_site = size << SITE_BITS | u64::from(block.site.min(MAX_SITE_INDEX));
        let tid_and_level = block.tid & ((1 << TID_BITS) - 1) | u32::from(block.level) << TID_BITS;
        let entry = Self { address: block.address, size_and_site, birth: block.birth, tid_and_level };
        (entry, size == HUGE)
    }

    /// Unpacks the block, asking `huge` for a size that did not fit.
    pub(super) fn unpack(self, huge: impl FnOnce(u64) -> Option<u64>) -> Loose {
        let packed = self.size_and_site >> SITE_BITS;
        let size = if packed == HUGE { huge(self.address).unwrap_or(HUGE) } else { packed };
        let site = (self.size_and_site & u64::from(MAX_SITE_INDEX)) as u32;
        let (tid, level) =
            (self.tid_and_level & ((1 << TID_BITS) - 1), (self.tid_and_level >> TID_BITS) as u8);
        Loose { address: self.address, size, site, birth: self.birth, tid, level }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn packing_loses_nothing(
            address: u64,
            size in prop_oneof![any::<u64>(), 0..1_u64 << 20, HUGE - 2..HUGE + 2],
            site in 0..=MAX_SITE_INDEX,
            birth: u32,
            tid in 0..1_u32 << TID_BITS,
            level: u8,
        ) {
            let block = Loose { address, size, site, birth, tid, level };
            let (entry, huge) = Entry::pack(&block);
            prop_assert_eq!(huge, size >= HUGE);
            let unpacked = entry.unpack(|asked| {
                assert!(huge && asked == address);
                Some(size)
            });
            prop_assert_eq!(unpacked, block);
        }
    }
}
