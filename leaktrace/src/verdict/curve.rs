//! A series made ready for study: few points, wild ones left out, time and height from 0 to 1.
//!
//! Everything that follows looks at shape alone; only the rate at the end needs bytes and seconds again.

use super::Samples;
use super::statistics::{deviation, median, quantile};

/// More points than this are thinned out.
const MOST_POINTS: usize = 1024;
/// What lies so near below the edge of a span, in spans, lies on it.
const EDGE: f64 = 1e-9;
/// Up to this many points are their own blocks.
const MOST_BLOCKS: usize = 56;

/// A point: time and height, both as a share of the window.
pub(super) type Point = (f64, f64);

/// A series made ready for study.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    /// Times ascend from 0 to 1, heights lie within 0..1.
    pub(super) points: Vec<Point>,
    /// Medians of points over spans of equal length: without most of the noise, and of all outliers.
    pub(super) blocks: Vec<Point>,
    /// Standard deviation of what changes from point to point without memory.
    pub(super) noise: f64,
    /// Points there were in the series.
    pub(super) count: usize,
    /// Seconds from the first point to the last.
    pub(super) span_s: f64,
    /// Time of the first point.
    pub(super) start_s: f64,
    /// Bytes from the lowest to the highest point; 0 for a constant series.
    pub(super) range: f64,
}

impl Curve {
    /// Makes a series ready; `None` without two points.
    pub(super) fn new(samples: &Samples) -> Option<Self> {
        let (start_s, end_s) = (*samples.times().first()?, *samples.times().last()?);
        // Halves, as the difference of two times that are just finite may not be.
        let half_span = end_s * 0.5 - start_s * 0.5;
        if half_span <= 0.0 {
            return None;
        }
        let share = |t: f64| ((t * 0.5 - start_s * 0.5) / half_span).clamp(0.0, 1.0);
        let all = samples.times().iter().zip(samples.bytes()).map(|(&t, &bytes)| (share(t), bytes));
        let thinned = thin(all.collect(), MOST_POINTS);
        let tame = without_wild(thinned);
        let heights = || tame.iter().map(|&(_, y)| y);
        let lowest = heights().fold(f64::INFINITY, f64::min);
        let range = heights().fold(0.0, f64::max) - lowest;
        let scale = if range > 0.0 { range } else { 1.0 };
        let points: Vec<Point> =
            tame.iter().map(|&(t, y)| (t, ((y - lowest) / scale).clamp(0.0, 1.0))).collect();
        let span_s = (half_span * 2.0).min(f64::MAX);
        let blocks = blocks(&points);
        let noise = noise(&points);
        Some(Self { blocks, noise, points, count: samples.len(), span_s, start_s, range })
    }

    /// So many points at even times, each of the height that was nearest in time: for what must not depend on where the
    /// series is sampled finely.
    pub(super) fn even(&self, count: usize) -> Vec<Point> {
        let mut index = 0;
        let at = |index: usize| self.points.get(index).copied();
        let nearest = |place: usize| {
            let x = place as f64 / (count.max(2) - 1) as f64;
            while at(index + 1).zip(at(index)).is_some_and(|(next, here)| next.0 + here.0 <= 2.0 * x) {
                index += 1;
            }
            (x, at(index).map_or(0.0, |point| point.1))
        };
        (0..count).map(nearest).collect()
    }

    /// A slope of heights over time, in bytes a second.
    pub(super) fn bytes_per_s(&self, slope: f64) -> f64 {
        (slope * (self.range / self.span_s)).clamp(f64::MIN, f64::MAX)
    }

    /// A time of 0..1 in the time of the series, seconds.
    pub(super) fn seconds(&self, share: f64) -> f64 {
        (self.start_s + share * self.span_s).clamp(f64::MIN, f64::MAX)
    }
}

/// At most `most` points: of each group of neighbours the one of middle height, so that neither floors nor peaks win.
pub(super) fn thin(points: Vec<Point>, most: usize) -> Vec<Point> {
    if points.len() <= most {
        return points;
    }
    let size = points.len().div_ceil(most.max(1));
    let middle = |group: &[Point]| {
        let mut group = group.to_vec();
        let place = group.len() / 2;
        *group.select_nth_unstable_by(place, |a, b| a.1.total_cmp(&b.1)).1
    };
    points.chunks(size).map(middle).collect()
}

/// Leaves out wild points: one or two that stand far out from all around them, as long as they are few and do not
/// come as regularly as bursts do.
fn without_wild(points: Vec<Point>) -> Vec<Point> {
    /// More than this share is no accident.
    const FEW: f64 = 0.05;
    if points.len() < 8 {
        return points;
    }
    let mut heights: Vec<f64> = points.iter().map(|&(_, y)| y).collect();
    let usual = quantile(&mut heights, 0.9) - quantile(&mut heights, 0.1);
    let mut steps: Vec<f64> =
        points.iter().zip(points.iter().skip(1)).map(|(a, b)| (b.1 - a.1).abs()).collect();
    let threshold = (6.0 * quantile(&mut steps, 0.75)).max(0.15 * usual);
    let heights: Vec<f64> = points.iter().map(|&(_, y)| y).collect();
    let is_wild: Vec<bool> = (0..heights.len()).map(|index| excess(&heights, index) > threshold).collect();
    let places: Vec<f64> =
        points.iter().zip(&is_wild).filter(|(_, is_wild)| **is_wild).map(|(&(t, _), _)| t).collect();
    if places.len() as f64 > (FEW * points.len() as f64).max(1.0) || is_regular(&places) {
        return points;
    }
    points.into_iter().zip(is_wild).filter(|(_, is_wild)| !is_wild).map(|(point, _)| point).collect()
}

/// How far a point stands out of the three before and the three after it, but for the one that stands out most: that
/// one may be wild as well. At the ends, where there is no before or after, all must be left behind.
fn excess(heights: &[f64], index: usize) -> f64 {
    let is_inner = index >= 3 && index + 3 < heights.len();
    let around = heights.iter().enumerate().skip(index.saturating_sub(3)).take(index.min(3) + 4);
    let around = around.filter(|&(other, _)| other != index);
    let least = (f64::INFINITY, f64::INFINITY);
    // The lowest and the second lowest; of the heights turned upside down for the highest.
    let two = |two: (f64, f64), y: f64| if y < two.0 { (y, two.0) } else { (two.0, two.1.min(y)) };
    let (lows, highs) = around.fold((least, least), |(lows, highs), (_, &y)| (two(lows, y), two(highs, -y)));
    let (low, high) = if is_inner { (lows.1, -highs.1) } else { (lows.0, -highs.0) };
    let y = heights.get(index).copied().unwrap_or(low);
    // A slope leaves its neighbours behind at the ends by as much as it rises between them.
    let slope = if is_inner { 0.0 } else { high - low };
    (y - high).max(low - y) - slope
}

/// Whether four or more places lie at nearly the same distance.
fn is_regular(places: &[f64]) -> bool {
    let mut gaps: Vec<f64> = places.iter().zip(places.iter().skip(1)).map(|(a, b)| b - a).collect();
    gaps.len() >= 3 && deviation(&mut gaps.clone()) < 0.15 * median(&mut gaps)
}

/// Medians of points over spans of equal length. With few points each is its own.
pub(super) fn blocks(points: &[Point]) -> Vec<Point> {
    if points.len() <= MOST_BLOCKS {
        return points.to_vec();
    }
    let number = (points.len() / 2).clamp(MOST_BLOCKS / 2, MOST_BLOCKS);
    let (start, end) =
        (points.first().map_or(0.0, |point| point.0), points.last().map_or(1.0, |point| point.0));
    let scale = number as f64 / (end - start).max(f64::MIN_POSITIVE);
    // At even times some lie on the very edge of a span: the last digit, and so the unit of time, must not choose for them.
    let of = |t: f64| (((t - start) * scale + EDGE) as usize).min(number - 1);
    let groups = points.chunk_by(|a, b| of(a.0) == of(b.0));
    let middle = |group: &[Point]| {
        let (mut times, mut heights): (Vec<f64>, Vec<f64>) = group.iter().copied().unzip();
        (median(&mut times), median(&mut heights))
    };
    groups.map(middle).collect()
}

/// Standard deviation of each point around the straight line between its neighbours, made whole for the noise that
/// these have themselves.
fn noise(points: &[Point]) -> f64 {
    let triples = points.iter().zip(points.iter().skip(1)).zip(points.iter().skip(2));
    let mut strays: Vec<f64> = triples
        .filter(|((a, _), c)| c.0 > a.0)
        .map(|((a, b), c)| {
            let share = (b.0 - a.0) / (c.0 - a.0);
            let expected = a.1 + share * (c.1 - a.1);
            (b.1 - expected) / (1.0 + share * share + (1.0 - share).powi(2)).sqrt()
        })
        .collect();
    deviation(&mut strays)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: impl IntoIterator<Item = (f64, f64)>) -> Curve {
        Curve::new(&Samples::new(points)).unwrap()
    }

    #[test]
    fn time_and_height_become_shares() {
        let curve = curve([(10.0, 500.0), (20.0, 600.0), (30.0, 700.0)]);
        assert_eq!(curve.points, [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)]);
        assert_eq!((curve.span_s, curve.range, curve.noise), (20.0, 200.0, 0.0));
        assert_eq!((curve.bytes_per_s(1.0), curve.seconds(0.5)), (10.0, 20.0));
    }

    #[test]
    fn numbers_at_the_edge_of_floats_stay_finite() {
        let points =
            (0..20).map(|i| (f64::MAX * (f64::from(i) / 10.0 - 0.95), f64::MAX * f64::from(i) / 20.0));
        let curve = curve(points);
        assert!(curve.points.iter().all(|&(t, y)| (0.0..=1.0).contains(&t) && (0.0..=1.0).contains(&y)));
        assert!(curve.bytes_per_s(1e9).is_finite() && curve.seconds(1.0).is_finite());
    }

    #[test]
    fn thinning_keeps_the_middle() {
        let points: Vec<Point> = (0..9).map(|i| (f64::from(i), f64::from((i * 7) % 9))).collect();
        let thinned = thin(points.clone(), 3);
        assert_eq!(thinned.len(), 3);
        assert!(thinned.iter().all(|point| points.contains(point)), "only points that are there");
        assert_eq!(thin(points.clone(), 9), points);
    }

    #[test]
    fn even_points_take_the_nearest_height() {
        let curve = curve([(0.0, 0.0), (1.0, 10.0), (2.0, 20.0), (10.0, 100.0)]);
        let heights: Vec<f64> = curve.even(6).into_iter().map(|point| (point.1 * 10.0).round()).collect();
        assert_eq!(heights, [0.0, 2.0, 2.0, 10.0, 10.0, 10.0].map(f64::from));
    }

    #[test]
    fn single_wild_points_go_and_edges_stay() {
        let height = |i: i32| {
            if i == 20 {
                1e9
            } else if i == 31 {
                0.0
            } else {
                f64::from(100 + i)
            }
        };
        let kept = curve((0..60).map(|i| (f64::from(i), height(i))));
        assert_eq!(kept.points.len(), 58);
        assert!((kept.range - 59.0).abs() < 1e-9);
        let step = curve((0..60).map(|i| (f64::from(i), if i < 30 { 5.0 } else { 9.0 })));
        assert_eq!(step.points.len(), 60);
        let line = curve((0..60).map(|i| (f64::from(i), f64::from(i))));
        assert_eq!(line.points.len(), 60);
        let bursts = curve((0..200).map(|i| (f64::from(i), if i % 40 == 5 { 9.0 } else { 5.0 })));
        assert_eq!(bursts.points.len(), 200, "five bursts at the same distance are a pattern");
    }

    #[test]
    fn noise_is_found_below_a_slope() {
        let mut noise = super::super::tests::noise(5);
        let points = (0..400).map(|i| (f64::from(i), 20_000.0 + 10.0 * f64::from(i) + 30.0 * noise()));
        let curve = curve(points);
        let noise = curve.noise * curve.range;
        assert!((24.0..36.0).contains(&noise), "{noise}");
    }
}
