//! The history of a value over the whole trace in a fixed number of points.

/// What a value did during one bucket of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Time of the last value in the bucket, seconds since attach.
    pub t: f64,
    /// The last value in the bucket.
    pub last: u64,
    /// The smallest value in the bucket.
    pub min: u64,
    /// The largest value in the bucket.
    pub max: u64,
}

/// A history that halves its resolution whenever it is full: with 512 points, a week of ticks a second ends in
/// buckets of 34 minutes. Neighbours are merged so that the last value, the smallest and the largest survive.
#[derive(Clone, Debug)]
pub struct Series {
    points: Vec<Point>,
    width_s: f64,
}

impl Series {
    /// How many points a series keeps at most.
    pub const CAPACITY: usize = 512;

    /// An empty series whose buckets are `width_s` seconds wide to begin with (at least a millisecond).
    pub fn new(width_s: f64) -> Self {
        let width_s = if width_s.is_finite() { width_s.max(1e-3) } else { 1.0 };
        Self { points: Vec::new(), width_s }
    }

    /// Adds the value at time `t`, seconds since attach. A time before the last one counts as the last one.
    pub fn push(&mut self, t: f64, value: u64) {
        let earliest = self.points.last().map_or(0.0, |point| point.t);
        let t = if t.is_finite() { t.max(earliest) } else { earliest };
        let point = Point { t, last: value, min: value, max: value };
        Self::append(&mut self.points, point, self.width_s);
        while self.points.len() > Self::CAPACITY {
            self.width_s *= 2.0;
            let mut merged = Vec::with_capacity(Self::CAPACITY + 1);
            for &point in &self.points {
                Self::append(&mut merged, point, self.width_s);
            }
            self.points = merged;
        }
    }

    /// Merges a point into the last one if they fall into one bucket.
    fn append(points: &mut Vec<Point>, point: Point, width_s: f64) {
        let bucket = |t: f64| (t / width_s).floor();
        match points.last_mut() {
            Some(last) if bucket(last.t) >= bucket(point.t) => {
                let (min, max) = (last.min.min(point.min), last.max.max(point.max));
                *last = Point { min, max, ..point };
            }
            _ => points.push(point),
        }
    }

    /// The points, oldest first.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// Width of a bucket now, in seconds.
    pub const fn width_s(&self) -> f64 {
        self.width_s
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_week_of_ticks_fits() {
        let mut series = Series::new(1.0);
        for second in 0..604_800_u32 {
            series.push(f64::from(second), u64::from(second));
        }
        assert!((Series::CAPACITY / 2..=Series::CAPACITY).contains(&series.points().len()));
        assert!((series.width_s() - 2048.0).abs() < f64::EPSILON);
        assert_eq!(series.points()[0], Point { t: 2047.0, last: 2047, min: 0, max: 2047 });
        assert_eq!(series.points().last().unwrap().last, 604_799);
    }

    proptest! {
        #[test]
        fn last_smallest_and_largest_survive(
            width in prop_oneof![Just(f64::NAN), 0.0..10.0],
            pushed in prop::collection::vec((prop_oneof![-1.0..1e6, any::<f64>()], any::<u64>()), 1..2000),
        ) {
            let mut series = Series::new(width);
            for &(t, value) in &pushed {
                series.push(t, value);
            }
            let points = series.points();
            prop_assert!(points.len() <= Series::CAPACITY);
            prop_assert!(points.windows(2).all(|pair| pair[0].t < pair[1].t));
            prop_assert_eq!(points.last().unwrap().last, pushed.last().unwrap().1);
            prop_assert_eq!(points.iter().map(|point| point.max).max(), pushed.iter().map(|push| push.1).max());
            prop_assert_eq!(points.iter().map(|point| point.min).min(), pushed.iter().map(|push| push.1).min());
        }
    }
}
