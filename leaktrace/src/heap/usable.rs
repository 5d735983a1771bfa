//! How many bytes of a block may be used, by the rule of its allocator.

use serde::{Deserialize, Serialize};

/// How an allocator rounds up what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// glibc on 64 bits: a header of 8 bytes, chunks of multiples of 16, 32 at least. A block that is a mapping of its own
    /// has up to a page more, and one at whose end less than a chunk would be left has up to 16 bytes more.
    Glibc,
    /// jemalloc's size classes with a quantum of 16 bytes (all 64-bit builds by default): four to a doubling.
    Jemalloc,
}

impl Rounding {
    /// Bytes that may be used of a block for which `size` was asked, at least.
    #[inline]
    pub fn usable(self, size: u64) -> u64 {
        match self {
            Self::Glibc => {
                size.saturating_add(8).checked_next_multiple_of(16).map_or(size, |chunk| chunk.max(32) - 8)
            }
            Self::Jemalloc => jemalloc(size),
        }
    }
}

fn jemalloc(size: u64) -> u64 {
    match size {
        0..=8 => 8,
        9..=128 => size.next_multiple_of(16),
        _ => size.checked_next_multiple_of(1 << ((size - 1).ilog2() - 2)).unwrap_or(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glibc_gives_chunks_without_their_header() {
        let usable = [0, 1, 24, 25, 40, 41, 1000, u64::MAX].map(|size| Rounding::Glibc.usable(size));
        assert_eq!(usable, [24, 24, 24, 40, 40, 56, 1000, u64::MAX]);
    }

    #[test]
    fn jemalloc_has_four_classes_to_a_doubling() {
        let sizes =
            [0, 8, 9, 16, 17, 128, 129, 160, 161, 256, 257, 4096, 4097, 14337, 16385, 1 << 40, u64::MAX];
        let usable = sizes.map(|size| Rounding::Jemalloc.usable(size));
        let classes =
            [8, 8, 16, 16, 32, 128, 160, 160, 192, 256, 320, 4096, 5120, 16384, 20480, 1 << 40, u64::MAX];
        assert_eq!(usable, classes);
    }
}
