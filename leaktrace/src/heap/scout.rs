//! The outline of a site's history: eight points, enough to tell whether the site deserves a full one.

use super::series::Point;

/// Units in a second: times are kept to 10 ms, for 497 days.
const UNITS_PER_S: f64 = 100.0;

/// Claims are compared by magnitudes of the growth in 1/1024 bytes a second: a leak of a byte a minute has one.
const GROWTH_SCALE: f64 = 1024.0;

/// A few points of a site's live bytes, spaced the wider the older they are, and what claim they give the site to a
/// full history.
#[derive(Clone, Debug, Default)]
pub(super) struct Scout {
    times: [u32; Self::LENGTH],
    bytes: [u64; Self::LENGTH],
    len: u8,
    pub(super) claim: Claim,
}

/// How much a site matters, on logarithmic scales of four steps an octave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its live bytes, the largest of the points of a minute: a site that churns does not come and go.
    pub(super) size: u8,
    /// What its live bytes have grown by and not gone back from, a second.
    pub(super) growth: u8,
}

impl Scout {
    const LENGTH: usize = 8;
    /// The points of how many units tell the size: a minute.
    const SIZE_UNITS: u32 = 6000;

    /// Notes the live bytes at time `t`, seconds since attach.
    pub(super) fn see(&mut self, t: f64, bytes: u64) {
        self.add((t * UNITS_PER_S).round() as u32, bytes);
        self.claim = Claim { size: self.size(), growth: self.growth() };
    }

    fn add(&mut self, time: u32, bytes: u64) {
        let len = usize::from(self.len);
        let newest = len.checked_sub(1);
        // A level stretch has two ends and nothing between; and within one unit the last value counts.
        let is_level = len >= 2 && self.bytes[len - 2..len] == [bytes; 2];
        if let Some(newest) = newest
            && (is_level || time <= self.times[newest])
        {
            self.times[newest] = self.times[newest].max(time);
            self.bytes[newest] = bytes;
            return;
        }
        if len == Self::LENGTH {
            self.remove(self.densest(time));
        }
        let end = usize::from(self.len);
        (self.times[end], self.bytes[end]) = (time, bytes);
        self.len += 1;
    }

    /// The point, neither first nor last, whose neighbours stand closest together for their age at time `now`.
    fn densest(&self, now: u32) -> usize {
        let gap = |index: usize| {
            let (before, after) = (self.times[index - 1], self.times[index + 1]);
            f64::from(after - before) / f64::from(now.saturating_sub(before).max(1))
        };
        (1..Self::LENGTH - 1).min_by(|&one, &other| gap(one).total_cmp(&gap(other))).unwrap_or(1)
    }

    fn remove(&mut self, index: usize) {
        self.times.copy_within(index + 1.., index);
        self.bytes.copy_within(index + 1.., index);
        self.len -= 1;
    }

    /// The points, oldest first.
    pub(super) fn points(&self) -> impl Iterator<Item = Point> {
        let kept = self.times.iter().zip(&self.bytes).take(usize::from(self.len));
        kept.map(|(&time, &value)| Point { t: f64::from(time) / UNITS_PER_S, value })
    }

    fn size(&self) -> u8 {
        let seen = || self.times.iter().zip(&self.bytes).take(usize::from(self.len));
        let oldest = seen().next_back().map_or(0, |(&now, _)| now.saturating_sub(Self::SIZE_UNITS));
        magnitude(seen().filter(|&(&time, _)| time >= oldest).map(|(_, &bytes)| bytes).max().unwrap_or(0))
    }

    /// The largest, over all moments but the newest, of what the values since then lie above all values before, a second
    /// since then. Noise has none but by chance, and a jump that stays loses its claim slowly.
    fn growth(&self) -> u8 {
        let len = usize::from(self.len);
        let Some(newest) = len.checked_sub(1) else { return 0 };
        let (now, mut lowest_since) = (self.times[newest], self.bytes[newest]);
        let mut fastest = 0.0_f64;
        for since in (1..newest).rev() {
            lowest_since = lowest_since.min(self.bytes[since]);
            let highest_before = self.bytes[..since].iter().copied().max().unwrap_or(0);
            let grown = lowest_since.saturating_sub(highest_before) as f64;
            let seconds = f64::from(now - self.times[since - 1]) / UNITS_PER_S;
            fastest = fastest.max(grown / seconds.max(1.0 / UNITS_PER_S));
        }
        magnitude((fastest * GROWTH_SCALE) as u64)
    }
}

/// Four steps an octave.
fn magnitude(value: u64) -> u8 {
    match value.checked_ilog2() {
        None | Some(0 | 1) => value as u8,
        Some(log) => (log << 2 | (value >> (log - 2) & 3) as u32) as u8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scout(values: impl IntoIterator<Item = u64>) -> Scout {
        let mut scout = Scout::default();
        for (tick, bytes) in values.into_iter().enumerate() {
            scout.see(tick as f64, bytes);
        }
        scout
    }

    #[test]
    fn points_stand_the_wider_the_older_they_are_and_the_first_stays() {
        let scout = scout((0..604_800).map(|second| second * 10));
        let points: Vec<_> = scout.points().collect();
        assert_eq!(points.len(), Scout::LENGTH);
        assert_eq!(points[0], Point { t: 0.0, value: 0 });
        assert_eq!(points[7], Point { t: 604_799.0, value: 6_047_990 });
        let gaps: Vec<_> = points.windows(2).map(|pair| pair[1].t - pair[0].t).collect();
        assert!(gaps.windows(2).skip(1).all(|pair| pair[1] < pair[0]), "{gaps:?}");
        assert!(gaps[6] < 10.0, "{gaps:?}");
    }

    #[test]
    fn a_level_stretch_takes_two_points() {
        let scout = scout([0, 5, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 4]);
        let values: Vec<_> = scout.points().map(|point| (point.t, point.value)).collect();
        assert_eq!(values, [(0.0, 0), (1.0, 5), (2.0, 9), (11.0, 9), (12.0, 4)]);
    }

    #[test]
    fn steady_growth_has_a_claim_and_churn_has_none() {
        let leak = scout((0..60).map(|second| second * 10_000));
        // Exponentially spaced points show between half the rate and the whole.
        let between = magnitude(10_000 * 1024 / 4)..=magnitude(10_000 * 1024);
        assert!(between.contains(&leak.claim.growth), "{:?}", leak.claim);
        assert_eq!(scout([8000; 60]).claim.growth, 0);
        assert_eq!(scout((0..60).map(|second| 100_000 - second)).claim.growth, 0);
    }

    #[test]
    fn churn_seldom_looks_like_growth() {
        let mut scout = Scout::default();
        let mut random = 1_u64;
        let claims = (0..10_000).filter(|&tick| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            scout.see(f64::from(tick), 5_000_000 + (random >> 40) % 5_000_000);
            assert!(scout.claim.size > magnitude(5_000_000) && scout.claim.size <= magnitude(10_000_000));
            scout.claim.growth > magnitude(10_000 * 1024)
        });
        let claims = claims.count();
        assert!(claims < 1500, "{claims} of 10,000 times");
    }

    #[test]
    fn a_site_keeps_its_size_for_a_minute() {
        let claim =
            |after: usize| scout([0, 5000, 5000].into_iter().chain(std::iter::repeat_n(0, after))).claim;
        assert_eq!((claim(1).size, claim(59).size), (magnitude(5000), magnitude(5000)));
        assert_eq!(claim(70).size, 0);
    }

    #[test]
    fn a_jump_that_stays_loses_its_claim_slowly() {
        let claim = |after: usize| {
            scout([0, 0, 0].into_iter().chain(std::iter::repeat_n(1_000_000, after))).claim.growth
        };
        assert!(claim(2) > claim(20) && claim(20) > claim(2000) && claim(2000) > 0);
    }

    proptest! {
        #[test]
        fn magnitudes_ascend(value: u64, other: u64) {
            prop_assert_eq!(magnitude(value).cmp(&magnitude(other)).is_lt() && value > other, false);
            prop_assert!(magnitude(u64::MAX) == 255);
        }

        #[test]
        fn times_ascend_whatever_is_seen(seen in prop::collection::vec((any::<f64>(), any::<u64>()), 0..100)) {
            let mut scout = Scout::default();
            for &(t, bytes) in &seen {
                scout.see(t, bytes);
            }
            let points: Vec<_> = scout.points().collect();
            prop_assert!(points.windows(2).all(|pair| pair[0].t < pair[1].t));
            prop_assert_eq!(points.last().map(|point| point.value), seen.last().map(|seen| seen.1));
        }
    }
}
