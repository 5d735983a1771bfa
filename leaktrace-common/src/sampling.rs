//! Sampling by bytes: which allocations are taken.
//!
//! The points of a Poisson process lie on the bytes that a thread allocates, one in `interval` on average; an allocation
//! is taken if a point lies in it. So one of `size` bytes is taken with the probability 1 - exp(-size / interval), whatever
//! was taken before.

/// The largest interval.
pub const MAX_INTERVAL: u64 = 1 << 34;

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
