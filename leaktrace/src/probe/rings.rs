//! The ring buffers through which the programs send records: one, or several that CPUs share.

use aya::maps::{ArrayOfMaps, Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use leaktrace_common::{Kind, StackRecord};
use zerocopy::FromBytes as _;

const PAGE: u32 = 4096;
/// Several rings are this large each, so that a burst on one CPU has room.
const LEAST_OF_SEVERAL: u32 = 1 << 20;

/// How many ring buffers there are, and of which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// How many: a power of two.
    pub count: u32,
    /// Bytes of each: a power of two of pages, as the kernel wants it.
    pub bytes: u32,
}

impl RingSizes {
    /// At most so many rings that take so many bytes together, both rounded up to powers of two.
    pub(super) fn new(all_bytes: u32, count: u32) -> Self {
        let all_bytes = all_bytes.clamp(PAGE, 1 << 30).next_power_of_two();
        let most = (all_bytes / LEAST_OF_SEVERAL).max(1);
        let count = count.clamp(1, most).next_power_of_two();
        Self { count, bytes: all_bytes / count }
    }

    /// Bytes of all of them.
    pub const fn all_bytes(self) -> u64 {
        self.count as u64 * self.bytes as u64
    }
}

/// The ring buffers.
pub struct Rings {
    /// What reads them.
    pub rings: Vec<RingBuf<MapData>>,
    /// Bytes of each.
    pub bytes: u32,
}

impl Rings {
    /// Makes the rings, and puts them where the programs look for them.
    pub(super) fn make(sizes: RingSizes, finder: &mut ArrayOfMaps<MapData>) -> Result<Self, MapError> {
        let make = |index| {
            let kind = BPF_MAP_TYPE_RINGBUF as u32;
            let map = aya_obj::Map::new_from_params(kind, 0, 0, sizes.bytes, 0);
            let map = MapData::create(map, "RING", None)?;
            finder.set(index, &map, 0)?;
            RingBuf::try_from(Map::RingBuf(map))
        };
        Ok(Self { rings: (0..sizes.count).map(make).collect::<Result<_, _>>()?, bytes: sizes.bytes })
    }

    /// Throws away the records that wait; the hashes of stacks are told to `forget`.
    pub(super) fn discard(&mut self, mut forget: impl FnMut(u64)) {
        for ring in &mut self.rings {
            while let Some(record) = ring.next() {
                let stack = StackRecord::ref_from_prefix(&record).ok();
                if let Some((stack, _)) = stack.filter(|(stack, _)| stack.header.kind == Kind::Stack as u8) {
                    forget(stack.hash);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one(32 << 20, 1, (1, 32 << 20))]
    #[case::shared(32 << 20, 4, (4, 8 << 20))]
    #[case::rounded_up(32 << 20, 6, (8, 4 << 20))]
    #[case::no_smaller_than_this(2 << 20, 64, (2, 1 << 20))]
    #[case::small(5000, 16, (1, 8192))]
    #[case::nothing(0, 0, (1, 4096))]
    #[case::everything(u32::MAX, u32::MAX, (1024, 1 << 20))]
    fn sizes(#[case] bytes: u32, #[case] count: u32, #[case] expected: (u32, u32)) {
        let sizes = RingSizes::new(bytes, count);
        assert_eq!((sizes.count, sizes.bytes), expected);
    }
}
