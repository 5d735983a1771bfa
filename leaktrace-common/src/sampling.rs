//! Sampling by bytes: which allocations are taken.
//!
//! The points of a Poisson process lie on the bytes that a thread allocates, one in `interval` on average; an allocation
//! is taken if a point lies in it. So one of `size` bytes is taken with the probability 1 - exp(-size / interval), whatever
//! was taken before.
//!
//! The interval may change while a trace goes on: by levels, each four times the one before. A block is weighed by the level
//! at which it was taken, which stands in its record, above its size. Level 0 takes everything.

/// The largest interval.
pub const MAX_INTERVAL: u64 = 1 << 34;

/// The highest level.
pub const MAX_LEVEL: u8 = 12;

/// The interval of a level, where level 1 has the interval `base`; 0 at level 0, where everything is taken.
pub const fn interval_of(base: u64, level: u8) -> u64 {
    let level = if level > MAX_LEVEL { MAX_LEVEL } else { level };
    let interval = match level.checked_sub(1) {
        None => return 0,
        Some(times) => base.saturating_mul(1 << (2 * times)),
    };
    if interval < MAX_INTERVAL { interval } else { MAX_INTERVAL }
}

/// Sizes in records have this many bits.
const SIZE_BITS: u32 = 56;

/// A size with the level at which its block was taken; the largest sizes, which no allocator gives, are cut.
#[inline]
pub const fn tagged(size: u64, level: u8) -> u64 {
    let most = (1 << SIZE_BITS) - 1;
    (if size < most { size } else { most }) | (level as u64) << SIZE_BITS
}

/// Size and level.
#[inline]
pub const fn untagged(word: u64) -> (u64, u8) {
    (word & ((1 << SIZE_BITS) - 1), (word >> SIZE_BITS) as u8)
}

/// User addresses have 47 bits.
const ADDRESS_BITS: u32 = 48;

/// By which a block that is told is kept in mind: processes have the same addresses.
#[inline]
pub const fn key(process: u16, address: u64) -> u64 {
    address ^ (process as u64) << ADDRESS_BITS
}

/// The process of a block that is kept in mind.
pub const fn process_of(key: u64) -> u16 {
    (key >> ADDRESS_BITS) as u16
}

/// How samples are taken at present, in one word, so that it changes at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control(u64);

impl Control {
    const LEVEL: u32 = 40;
    const REMEMBERS: u64 = 1 << 63;

    /// Everything is told, and nothing need be kept in mind for that.
    pub const EVERYTHING: Self = Self(0);
    /// Everything is told, and kept in mind: samples are about to be taken, or were.
    pub const REMEMBERED: Self = Self(Self::REMEMBERS);

    /// Samples are taken at this level, one in `interval` bytes.
    pub const fn samples(interval: u64, level: u8) -> Self {
        let interval = if interval < MAX_INTERVAL { interval } else { MAX_INTERVAL };
        Self(interval | (level as u64) << Self::LEVEL | Self::REMEMBERS)
    }

    /// As the map holds it.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// For the map.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Bytes from sample to sample, on average; 0: everything is told.
    #[inline]
    pub const fn interval(self) -> u64 {
        self.0 & ((1 << Self::LEVEL) - 1)
    }

    /// The level.
    #[inline]
    pub const fn level(self) -> u8 {
        (self.0 >> Self::LEVEL) as u8
    }

    /// Whether blocks that are told are kept in mind.
    #[inline]
    pub const fn remembers(self) -> bool {
        self.0 & Self::REMEMBERS != 0
    }
}

/// ln 2 in 32 bits behind the point.
const LN_2: u64 = 2_977_044_472;

/// Bytes from one point to the next, at least 1, from a random number.
#[inline]
pub const fn gap(random: u32, interval: u64) -> u64 {
    // -ln((random + 1) / 2^32), in 24 bits behind the point.
    let distance = (((32 << FRACTION) - log2(random as u64 + 1)) * LN_2) >> 32;
    ((distance * interval) >> FRACTION) + 1
}

const FRACTION: u32 = 24;

/// Base-2 logarithm of 1 to 2^32 in [`FRACTION`] bits behind the point, a bit for each time that what is left is squared.
#[inline]
const fn log2(number: u64) -> u64 {
    let whole = 63 - number.leading_zeros() as u64;
    // From 1 to 2, in 31 bits behind the point.
    let mut left = (number << 31) >> whole;
    let mut log = whole;
    let mut bit = 0;
    while bit < FRACTION {
        left = (left * left) >> 31;
        let is_over = left >> 32;
        left >>= is_over;
        log = log << 1 | is_over;
        bit += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_those_of_the_powers_of_two() {
        for power in 0..=32 {
            assert_eq!(log2(1 << power), power << FRACTION);
        }
        // log2(3) = 1.58496250072.
        assert_eq!(log2(3), 26_591_258);
    }

    #[test]
    fn levels_are_four_times_each_other_and_stand_above_sizes() {
        assert_eq!([0, 1, 2, 4].map(|level| interval_of(1000, level)), [0, 1000, 4000, 64_000]);
        assert_eq!(interval_of(u64::MAX, 255), MAX_INTERVAL);
        for (size, level) in [(0, 0), (17, 1), ((1 << 56) - 1, 255)] {
            assert_eq!(untagged(tagged(size, level)), (size, level));
        }
        assert_eq!(untagged(tagged(u64::MAX, 3)), ((1 << 56) - 1, 3));
        let control = Control::samples(MAX_INTERVAL * 2, MAX_LEVEL);
        assert_eq!(Control::from_bits(control.to_bits()), control);
        assert_eq!(
            (control.interval(), control.level(), control.remembers()),
            (MAX_INTERVAL, MAX_LEVEL, true)
        );
        assert_eq!((Control::REMEMBERED.interval(), Control::REMEMBERED.remembers()), (0, true));
        assert!(!Control::EVERYTHING.remembers());
    }

    #[test]
    fn processes_of_the_same_addresses_are_told_apart() {
        let address = 0x7fff_dead_beef;
        let keys = [0, 1, u16::MAX].map(|process| key(process, address));
        assert_eq!(keys.map(process_of), [0, 1, u16::MAX]);
        assert_eq!(keys[0], address);
    }

    #[test]
    fn gaps_are_exponential() {
        assert_eq!(gap(u32::MAX, 1 << 20), 1);
        // ln 2 and 32 ln 2.
        assert_eq!(gap(u32::MAX / 2, 1_000_000_000), 693_147_123);
        assert_eq!(gap(0, 1000), 22_181);
        assert!(gap(0, MAX_INTERVAL) < MAX_INTERVAL * 23);
        // The mean over evenly spread random numbers.
        let (step, interval) = (1 << 16, 1 << 19);
        let sum: u64 = (0..1_u64 << 16).map(|at| gap((at * step + step / 2) as u32, interval) - 1).sum();
        let mean = sum >> 16;
        assert!(mean.abs_diff(interval) * 10_000 < interval * 2, "{mean} of {interval}");
    }
}
