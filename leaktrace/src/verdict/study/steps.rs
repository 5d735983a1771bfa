//! Jumps and the treads between them.

use crate::verdict::curve::{Curve, Point, thin};
use crate::verdict::statistics::{Noise, change_points, deviation, mean, median, theil_sen};

use super::smooth::Smooth;

/// Most points that are divided into treads.
const MOST_POINTS: usize = 256;

/// The steps of a curve.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Steps {
    /// The jumps upwards and downwards that stand out, in order of time.
    pub(in super::super) jumps: Vec<Jump>,
    /// Share of the rise of all jumps that happens within a point or two, 0..1.
    pub(in super::super) abrupt: f64,
    /// Slope within treads as a share of the slope of the whole: 0 for flat treads, 1 for a line.
    pub(in super::super) tread_slope: f64,
    /// Standard deviation around the treads.
    pub(in super::super) spread: f64,
    /// Median number of points of a tread.
    pub(in super::super) tread_points: f64,
    /// By how much treads explain the points better than a smooth curve does, for each point.
    pub(in super::super) gain: f64,
    /// What treads found in every other point say of the points between them.
    pub(in super::super) fresh: Fresh,
    /// Median jump at an edge, in deviations of what changes from point to point.
    pub(in super::super) edge: f64,
}

/// One jump.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Jump {
    /// When, 0..1.
    pub(in super::super) at: f64,
    /// Level after less level before, in ranges.
    pub(in super::super) height: f64,
    /// The level before.
    pub(in super::super) from: f64,
}

/// Treads found in every other point, tried on the points between: those had no say in where treads begin and end, so
/// that noise around a line, which any division can be fitted to, does not look like steps.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Fresh {
    /// Logarithm of what the smooth curve leaves unexplained of them by what treads leave.
    pub(in super::super) gain: f64,
    /// Slope within treads as a share of the slope of the whole.
    pub(in super::super) tread_slope: f64,
}

impl Fresh {
    fn new(points: &[Point], noise: f64, smooth: &Smooth) -> Self {
        let found: Vec<Point> = points.iter().copied().step_by(2).collect();
        let fresh: Vec<Point> = points.iter().copied().skip(1).step_by(2).collect();
        let heights: Vec<f64> = found.iter().map(|&(_, y)| y).collect();
        let starts = divide(&heights, noise);
        let offset = median(&mut found.iter().map(|&(x, y)| y - smooth.best(x)).collect::<Vec<_>>());
        let (mut by_treads, mut by_curve) = (0.0, 0.0);
        let mut begin = 0;
        let mut within: Vec<&[Point]> = Vec::new();
        for tread in treads(&found, &starts) {
            let level = level(tread);
            // The point after the last of a tread may lie on either side of the jump.
            let inner = fresh.get(begin..(begin + tread.len() - 1).min(fresh.len())).unwrap_or_default();
            by_treads += inner.iter().map(|&(_, y)| (y - level).powi(2)).sum::<f64>();
            by_curve += inner.iter().map(|&(x, y)| (y - offset - smooth.best(x)).powi(2)).sum::<f64>();
            within.push(inner);
            begin += tread.len();
        }
        let floor = 1e-6 * fresh.len() as f64;
        let gain = ((by_curve + floor) / (by_treads + floor)).ln();
        Self { gain, tread_slope: tread_slope(&within, points) }
    }
}

impl Steps {
    pub(in super::super) fn new(curve: &Curve, smooth: &Smooth) -> Self {
        let points = thin(curve.points.clone(), MOST_POINTS);
        if points.len() < 6 {
            return Self::default();
        }
        let heights: Vec<f64> = points.iter().map(|&(_, y)| y).collect();
        let starts = divide(&heights, curve.noise);
        let treads = treads(&points, &starts);
        let jumps = jumps(&treads);
        let residuals = residuals(&treads);
        let spread = (residuals.iter().map(|r| r * r).sum::<f64>() / residuals.len() as f64).sqrt();
        let mut lengths: Vec<f64> = treads.iter().map(|tread| tread.len() as f64).collect();
        Self {
            abrupt: abruptness(&treads),
            tread_slope: tread_slope(&treads, &points),
            spread,
            tread_points: median(&mut lengths),
            gain: gain(&points, &residuals, starts.len(), smooth),
            fresh: Fresh::new(&points, curve.noise, smooth),
            edge: edge(&treads, innovation(&residuals, 1).sqrt()),
            jumps,
        }
    }

    /// The jumps upwards.
    pub(in super::super) fn up(&self) -> impl Iterator<Item = &Jump> {
        self.jumps.iter().filter(|jump| jump.height > 0.0)
    }

    /// How many jumps upwards are at least a quarter of their median height: steps that count as one of many.
    pub(in super::super) fn count(&self) -> usize {
        let mut heights: Vec<f64> = self.up().map(|jump| jump.height).collect();
        let usual = median(&mut heights);
        heights.iter().filter(|&&height| height >= 0.25 * usual).count()
    }

    /// Median time between jumps upwards, in windows; `None` with fewer than two.
    pub(in super::super) fn interval(&self) -> Option<f64> {
        let times: Vec<f64> = self.up().map(|jump| jump.at).collect();
        let mut gaps: Vec<f64> = times.iter().zip(times.iter().skip(1)).map(|(a, b)| b - a).collect();
        if gaps.is_empty() { None } else { Some(median(&mut gaps)) }
    }

    /// Median height of the jumps upwards.
    pub(in super::super) fn usual_height(&self) -> f64 {
        median(&mut self.up().map(|jump| jump.height).collect::<Vec<_>>())
    }

    /// Sum of the rises and of the falls.
    pub(in super::super) fn totals(&self) -> (f64, f64) {
        let up: f64 = self.up().map(|jump| jump.height).sum();
        let down: f64 = self.jumps.iter().map(|jump| (-jump.height).max(0.0)).sum();
        (up, down)
    }

    /// The largest rise.
    pub(in super::super) fn largest(&self) -> Option<Jump> {
        self.up().copied().max_by(|a, b| a.height.total_cmp(&b.height))
    }
}

/// Starts of treads. A second look with the price raised by the memory of the errors, which would pass for small jumps.
fn divide(heights: &[f64], noise: f64) -> Vec<usize> {
    let n = heights.len() as f64;
    let variance = noise.max(2e-3).powi(2);
    let first = change_points(heights, 3.0 * variance * n.ln());
    let correlation = Noise::of(&around_levels(heights, &first), 1 + first.len() / 4).correlation.min(0.9);
    if correlation < 0.15 {
        return first;
    }
    let spread = deviation(&mut around_levels(heights, &first)).max(2e-3);
    let price = 3.0 * spread.powi(2).max(variance) * n.ln() * (1.0 + correlation) / (1.0 - correlation);
    change_points(heights, price)
}

fn around_levels(heights: &[f64], starts: &[usize]) -> Vec<f64> {
    pieces(heights, starts)
        .flat_map(|piece| {
            let level = mean(piece);
            piece.iter().map(move |y| y - level)
        })
        .collect()
}

fn pieces<'a, T>(values: &'a [T], starts: &'a [usize]) -> impl Iterator<Item = &'a [T]> {
    let ends = starts.iter().copied().chain([values.len()]);
    let starts = [0].into_iter().chain(starts.iter().copied());
    starts.zip(ends).filter_map(|(start, end)| values.get(start..end)).filter(|piece| !piece.is_empty())
}

fn treads<'a>(points: &'a [Point], starts: &'a [usize]) -> Vec<&'a [Point]> {
    pieces(points, starts).collect()
}

fn level(tread: &[Point]) -> f64 {
    median(&mut tread.iter().map(|&(_, y)| y).collect::<Vec<_>>())
}

/// Jumps between treads. Where a step takes some points, those form a short tread of their own: its two halves, in the
/// same direction, are one jump.
fn jumps(treads: &[&[Point]]) -> Vec<Jump> {
    let mut jumps: Vec<Jump> = Vec::new();
    let mut is_short = false;
    for (before, after) in treads.iter().zip(treads.iter().skip(1)) {
        let (from, to) = (level(before), level(after));
        let at = after.first().map_or(1.0, |&(x, _)| x);
        let continues = jumps.last().is_some_and(|last| is_short && (last.height > 0.0) == (to > from));
        match jumps.last_mut().filter(|_| continues) {
            Some(last) => last.height += to - from,
            None => jumps.push(Jump { at, height: to - from, from }),
        }
        is_short = after.len() <= 2;
    }
    jumps
}

/// The median of what jumps upwards make between the point before and the second after them, in units of `unit`.
fn edge(treads: &[&[Point]], unit: f64) -> f64 {
    let edges = treads.iter().zip(treads.iter().skip(1)).filter_map(|(before, after)| {
        let rise = after.get(1).or(after.first())?.1 - before.last()?.1;
        (level(after) > level(before)).then_some(rise / unit)
    });
    median(&mut edges.collect::<Vec<_>>())
}

/// What share of the jumps upwards is made within two points of their edge.
fn abruptness(treads: &[&[Point]]) -> f64 {
    let edge = |points: &[Point]| level(points);
    let (mut near, mut all) = (0.0, 0.0);
    for (before, after) in treads.iter().zip(treads.iter().skip(1)) {
        let rise = level(after) - level(before);
        if rise <= 0.0 {
            continue;
        }
        let last = before.get(before.len().saturating_sub(3)..).map_or(0.0, edge);
        let first = after.get(..after.len().min(3)).map_or(0.0, edge);
        near += (first - last).clamp(0.0, rise);
        all += rise;
    }
    if all > 0.0 { near / all } else { 0.0 }
}

/// Slope within treads against the slope of the whole.
fn tread_slope(treads: &[&[Point]], points: &[Point]) -> f64 {
    let (mut rise, mut time) = (0.0, 0.0);
    for tread in treads.iter().filter(|tread| tread.len() >= 4) {
        let length = tread.last().zip(tread.first()).map_or(0.0, |(last, first)| last.0 - first.0);
        let sparse = thin(tread.to_vec(), 60);
        rise += theil_sen(&sparse) * length;
        time += length;
    }
    let whole = theil_sen(&thin(points.to_vec(), 60));
    if time < 0.3 || whole.abs() < 1e-6 {
        return 1.0;
    }
    (rise / time / whole).clamp(-2.0, 2.0)
}

fn residuals(treads: &[&[Point]]) -> Vec<f64> {
    treads
        .iter()
        .flat_map(|tread| {
            let level = level(tread);
            tread.iter().map(move |&(_, y)| y - level)
        })
        .collect()
}

/// By how much treads explain the points better than the best smooth curve does: the difference of both criteria for
/// each point, by what the errors before do not foretell.
fn gain(points: &[Point], around_treads: &[f64], jumps: usize, smooth: &Smooth) -> f64 {
    let mut around_curve: Vec<f64> = points.iter().map(|&(x, y)| y - smooth.best(x)).collect();
    let middle = median(&mut around_curve.clone());
    for residual in &mut around_curve {
        *residual -= middle;
    }
    let n = points.len() as f64;
    let parameters = 2.0 * jumps as f64 - 2.0;
    (innovation(&around_curve, 3) / innovation(around_treads, 1)).ln() - parameters * n.ln() / n
}

/// Variance of what the error before does not foretell, never nothing.
fn innovation(residuals: &[f64], parameters: usize) -> f64 {
    let memory = Noise::of(residuals, parameters).correlation;
    let steps = residuals.iter().zip(residuals.iter().skip(1));
    let squares: f64 = steps.map(|(before, after)| (after - memory * before).powi(2)).sum();
    squares / residuals.len().max(2) as f64 + 1e-6
}
