//! The history of a value: fine for the recent past, coarse for the old, in bounded memory for any length.

use std::collections::VecDeque;

use super::slope::median_slope;

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Seconds since attach.
    pub t: f64,
    /// The value then.
    pub value: u64,
}

/// The history of a value.
///
/// Tiers of points: the first holds every tick of the recent past, each further one is four times as coarse, and the
/// last one halves its resolution whenever it is full. At a tick a second, the last two minutes are kept by the
/// second, the four before by 4 s, then 17 minutes by 16 s, and so on; a week ends in 576 points, the oldest of which
/// stand 68 minutes apart.
///
/// Of several points the *last* stays, never the smallest or largest: a series of minima that ends in last values
/// would show growth where there is none.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What came before the tiers: where the value began, or the outline that was kept before there was a series.
    outline: Vec<Point>,
    /// From the finest to the coarsest.
    tiers: Vec<Tier>,
}

/// Points of one resolution, oldest first.
#[derive(Clone, Debug, Default)]
struct Tier {
    points: VecDeque<Point>,
    /// How many points of the tier before become one here.
    factor: u32,
    /// How many of them the newest one stands for.
    merged: u32,
}

impl Series {
    /// How many points a series holds at most, besides an outline it began with.
    pub const CAPACITY: usize = Self::FINEST + (Self::TIERS - 2) * Self::MIDDLE + Self::COARSEST + 1;

    /// Points by the tick.
    const FINEST: usize = 128;
    const MIDDLE: usize = 64;
    const COARSEST: usize = 192;
    const TIERS: usize = 7;
    /// How many points of one tier become one of the next.
    const FACTOR: u32 = 4;
    /// How many of the newest points make the recent past.
    const RECENT: usize = 32;

    /// A series of which an outline is known already, oldest first. It is kept as it is.
    pub(super) fn after(outline: Vec<Point>) -> Self {
        Self { outline, tiers: Vec::new() }
    }

    /// Adds the value at time `t`, seconds since attach; a time that does not go on is ignored.
    pub fn push(&mut self, t: f64, value: u64) {
        let goes_on = t.is_finite() && self.last().is_none_or(|last| t > last.t);
        if goes_on {
            self.add(Point { t, value });
        }
    }

    fn add(&mut self, point: Point) {
        if self.tiers.is_empty() {
            self.tiers.push(Tier::default());
        }
        let mut moving = self.tiers.first_mut().and_then(|finest| finest.append(point, Self::FINEST));
        if self.outline.is_empty() {
            self.outline.extend(moving.take());
        }
        for level in 1..Self::TIERS {
            let Some(point) = moving else { return };
            if level == self.tiers.len() {
                self.tiers.push(Tier { factor: Self::FACTOR, ..Tier::default() });
            }
            let Some(tier) = self.tiers.get_mut(level) else { return };
            moving = if level + 1 == Self::TIERS {
                tier.halve_at(Self::COARSEST);
                tier.merge(point, usize::MAX)
            } else {
                tier.merge(point, Self::MIDDLE)
            };
        }
    }

    /// Times in seconds and values, oldest first.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        let tiers = self.tiers.iter().rev().flat_map(|tier| tier.points.iter());
        self.outline.iter().chain(tiers).copied()
    }

    /// The points of the recent past, one a tick, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = Point> {
        self.tiers.first().into_iter().flat_map(|finest| finest.points.iter().rev().copied())
    }

    /// The newest point.
    pub fn last(&self) -> Option<Point> {
        self.newest_first().next().or_else(|| self.outline.last().copied())
    }

    /// The oldest point.
    pub fn first(&self) -> Option<Point> {
        self.points().next()
    }

    /// Keeps what [`Series::rate`] needs, and gives the memory of the rest back.
    pub(super) fn keep_recent(&mut self) {
        self.outline = Vec::new();
        self.tiers.truncate(1);
        for finest in &mut self.tiers {
            finest.points.drain(..finest.points.len().saturating_sub(Self::RECENT));
            finest.points.shrink_to_fit();
        }
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.outline.len() + self.tiers.iter().map(|tier| tier.points.len()).sum::<usize>()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Growth a second over the last 32 ticks: the median of slopes over half of them, so that a single spike does not
    /// count. `None` before the third tick.
    pub fn rate(&self) -> Option<f64> {
        let recent: Vec<_> =
            self.newest_first().take(Self::RECENT).map(|point| (point.t, point.value as f64)).collect();
        median_slope(&recent)
    }
}

impl Tier {
    /// Adds a point; gives back the oldest if there is no room for both.
    fn append(&mut self, point: Point, capacity: usize) -> Option<Point> {
        let oldest = if self.points.len() >= capacity { self.points.pop_front() } else { None };
        self.points.push_back(point);
        oldest
    }

    /// Adds a point of the tier before.
    fn merge(&mut self, point: Point, capacity: usize) -> Option<Point> {
        if let Some(newest) = self.points.back_mut()
            && self.merged < self.factor
        {
            *newest = point;
            self.merged += 1;
            return None;
        }
        self.merged = 1;
        self.append(point, capacity)
    }

    /// Makes room when this many points are complete: the earlier one of each pair goes.
    fn halve_at(&mut self, capacity: usize) {
        if self.points.len() < capacity || self.merged < self.factor {
            return;
        }
        let mut index = 0;
        self.points.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        self.factor = self.factor.saturating_mul(2);
        // The newest one stands for two complete groups.
        self.merged = self.factor;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_week_of_ticks_fits_fine_for_the_recent_past_and_coarse_for_the_old() {
        let mut series = Series::default();
        for second in 0..604_800_u32 {
            series.push(f64::from(second), u64::from(second));
        }
        let points: Vec<_> = series.points().collect();
        assert_eq!(points.len(), series.len());
        assert_eq!(points.len(), 576);
        assert_eq!(points[0], Point { t: 0.0, value: 0 });
        assert_eq!(series.last(), Some(Point { t: 604_799.0, value: 604_799 }));
        // The gap before a point is at most a sixteenth of its age, or a second.
        for pair in points.windows(2) {
            let (gap, age) = (pair[1].t - pair[0].t, 604_799.0 - pair[1].t);
            assert!(gap <= (age / 16.0).max(1.0), "{gap} s apart at the age of {age} s");
        }
        let by_the_second = points.iter().rev().take(128).map(|point| point.t);
        assert!(by_the_second.eq((0..128).map(|age| 604_799.0 - f64::from(age))));
    }

    #[test]
    fn after_the_week_the_oldest_points_thin_out_further() {
        let mut series = Series::default();
        for minute in 0..1_500_000_u32 {
            series.push(f64::from(minute) * 60.0, 7);
        }
        let points: Vec<_> = series.points().collect();
        assert!((450..=Series::CAPACITY).contains(&points.len()), "{} points", points.len());
        let widest = points.windows(2).map(|pair| pair[1].t - pair[0].t).fold(0.0, f64::max);
        assert!((widest - 60.0 * 8192.0).abs() < 1e-3, "{widest} s");
    }

    #[test]
    fn an_outline_stays_in_front() {
        let outline = vec![Point { t: 1.0, value: 10 }, Point { t: 5.0, value: 50 }];
        let mut series = Series::after(outline.clone());
        assert_eq!(series.last(), Some(outline[1]));
        for second in 0..2000_u32 {
            series.push(f64::from(second), u64::from(second));
        }
        let points: Vec<_> = series.points().collect();
        assert_eq!(points[..2], outline);
        assert!(points[2].t > 5.0);
    }

    #[test]
    fn a_line_has_its_slope_and_a_spike_does_not_change_it() {
        let mut series = Series::default();
        for second in 0..50_u32 {
            assert_eq!(series.rate().is_some(), second >= 3);
            let spike = if second == 40 { 1_000_000 } else { 0 };
            series.push(f64::from(second), u64::from(second) * 100 + spike);
        }
        assert_eq!(series.rate(), Some(100.0));
    }

    #[test]
    fn what_is_kept_of_a_series_that_ended_has_its_rate() {
        let mut series = Series::after(vec![Point { t: -1.0, value: 5 }]);
        for second in 0..5000_u32 {
            series.push(f64::from(second), u64::from(second) * 3);
        }
        let rate = series.rate();
        series.keep_recent();
        assert_eq!((series.rate(), series.len()), (rate, Series::RECENT));
        assert_eq!(series.last(), Some(Point { t: 4999.0, value: 14_997 }));
    }

    #[test]
    fn time_that_stands_still_is_ignored() {
        let mut series = Series::default();
        for t in [0.0, 1.0, 1.0, f64::NAN, 0.5, f64::INFINITY, 2.0] {
            series.push(t, (t * 10.0) as u64);
        }
        assert_eq!(series.points().map(|point| point.t).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        assert_eq!(series.rate(), Some(10.0));
    }

    proptest! {
        #[test]
        fn every_point_was_pushed_and_the_first_and_last_stay(
            pushed in prop::collection::vec((prop_oneof![-1.0..1e6, any::<f64>()], any::<u64>()), 1..3000),
            outline in prop::collection::vec((-10.0..0.0, any::<u64>()), 0..2),
        ) {
            let outline: Vec<_> = outline.into_iter().map(|(t, value)| Point { t: t - 1.0, value }).collect();
            let mut series = Series::after(outline.clone());
            let mut kept = outline;
            for (t, value) in pushed {
                series.push(t, value);
                if t.is_finite() && kept.last().is_none_or(|last| t > last.t) {
                    kept.push(Point { t, value });
                }
            }
            let points: Vec<_> = series.points().collect();
            prop_assert!(points.windows(2).all(|pair| pair[0].t < pair[1].t));
            prop_assert!(points.iter().all(|point| kept.contains(point)));
            prop_assert_eq!(points.first(), kept.first());
            prop_assert_eq!(points.last(), kept.last());
            prop_assert_eq!(series.len(), points.len());
        }
    }
}
