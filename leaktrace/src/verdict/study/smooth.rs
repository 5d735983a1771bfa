//! Smooth curves through a series: level, line, bend, saturation, and saturation on a slope.
//!
//! Each is fitted to the blocks with errors that resemble their neighbours, and judged by what it leaves unexplained of
//! each step once the error before is known (the innovations). So a driftless random walk, whose level explains its
//! steps as well as any line, is not taken for growth, while around a clear line the errors have little memory.

use crate::verdict::curve::{Curve, Point};
use crate::verdict::statistics::{Noise, Trend, fit, mann_kendall};

/// What is left of the range when a fit counts as perfect.
const FLOOR: f64 = 1e-3;

/// The smooth curves of a series; slopes are in ranges a window.
#[derive(Clone, Debug)]
pub(in super::super) struct Smooth {
    /// A level alone.
    pub(in super::super) level: Score,
    /// A straight line.
    pub(in super::super) line: Line,
    /// A line that bends once, upwards or downwards: at the best place.
    pub(in super::super) bend: Bend,
    /// A parabola.
    pub(in super::super) parabola: Line,
    /// Growth or decline that saturates.
    pub(in super::super) saturation: Saturation,
    /// The same on top of a slope.
    pub(in super::super) sloped: Saturation,
    /// Mann and Kendall's test.
    pub(in super::super) kendall: Trend,
    /// Number of blocks.
    pub(in super::super) blocks: usize,
}

/// How well a curve fits.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Score {
    /// Standard deviation of the residuals.
    pub(in super::super) spread: f64,
    /// Of what kind they are.
    pub(in super::super) noise: Noise,
    /// Bayesian information criterion by the innovations: lower is better.
    pub(in super::super) criterion: f64,
}

/// A line or a parabola.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Line {
    pub(in super::super) score: Score,
    /// Slope; for the parabola the one at its end.
    pub(in super::super) slope: f64,
    /// Its standard error.
    pub(in super::super) error: f64,
    /// Standard score of the last factor: the slope of a line, the curvature of a parabola.
    pub(in super::super) t: f64,
}

/// A line that bends once.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Bend {
    pub(in super::super) score: Score,
    /// Where it bends, 0..1.
    pub(in super::super) place: f64,
    /// Slope before.
    pub(in super::super) before: f64,
    /// Slope after.
    pub(in super::super) after: f64,
    /// Standard error of the slope after.
    pub(in super::super) after_error: f64,
}

/// Growth that saturates.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Saturation {
    pub(in super::super) score: Score,
    pub(in super::super) kernel: Kernel,
    /// Height that saturation adds over the window.
    pub(in super::super) height: f64,
    /// The constant slope beside it, 0 without.
    pub(in super::super) slope: f64,
    /// Its standard error.
    pub(in super::super) slope_error: f64,
}

/// A shape that rises from 0 and saturates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Kernel {
    /// 1 − exp(−(x − start) / scale) after the start, 0 before.
    Exponential { start: f64, scale: f64 },
    /// Straight from start to end, then flat.
    Ramp { start: f64, end: f64 },
    /// Logistic growth around a middle.
    Sigmoid { middle: f64, scale: f64 },
}

impl Kernel {
    pub(in super::super) fn at(self, x: f64) -> f64 {
        match self {
            Self::Exponential { start, scale } => -(-(x - start).max(0.0) / scale).exp_m1(),
            Self::Ramp { start, end } => ((x - start) / (end - start)).clamp(0.0, 1.0),
            Self::Sigmoid { middle, scale } => 1.0 / (1.0 + (-(x - middle) / scale).exp()),
        }
    }

    /// Slope at the end as a share of the mean slope over the window.
    pub(in super::super) fn end_slope(self) -> f64 {
        let height = self.at(1.0) - self.at(0.0);
        let slope = match self {
            Self::Exponential { start, scale } => (-(1.0 - start) / scale).exp() / scale,
            Self::Ramp { .. } => 0.0,
            Self::Sigmoid { scale, .. } => self.at(1.0) * (1.0 - self.at(1.0)) / scale,
        };
        slope / height
    }

    /// When nine tenths of what it adds within the window are there.
    pub(in super::super) fn settled(self) -> f64 {
        self.all_but(0.1)
    }

    /// When all but a share of what it adds within the window is there.
    pub(in super::super) fn all_but(self, share: f64) -> f64 {
        let goal = self.at(0.0) + (1.0 - share) * (self.at(1.0) - self.at(0.0));
        let steps = 200;
        (0..=steps).map(|i| f64::from(i) / f64::from(steps)).find(|&x| self.at(x) >= goal).unwrap_or(1.0)
    }

    /// All that are tried.
    fn all() -> impl Iterator<Item = Self> {
        const SCALES: [f64; 9] = [0.03, 0.05, 0.08, 0.12, 0.17, 0.24, 0.34, 0.5, 0.8];
        const STARTS: [f64; 7] = [0.0, 0.08, 0.16, 0.25, 0.35, 0.45, 0.6];
        let exponentials = STARTS.into_iter().flat_map(|start| {
            SCALES.into_iter().map(move |scale| Self::Exponential { start, scale: scale * (1.0 - start) })
        });
        let ramps = STARTS.into_iter().flat_map(|start| {
            (1..=15).map(move |i| Self::Ramp { start, end: start + f64::from(i) / 16.0 * (1.0 - start) })
        });
        let sigmoids = [0.15, 0.25, 0.35, 0.45, 0.55].into_iter().flat_map(|middle| {
            [0.03, 0.06, 0.1].into_iter().map(move |scale| Self::Sigmoid { middle, scale })
        });
        exponentials.chain(ramps).chain(sigmoids)
    }
}

impl Smooth {
    pub(in super::super) fn new(curve: &Curve) -> Self {
        let points = &curve.blocks;
        let level = level(points);
        let line = line(points);
        let parabola = parabola(points);
        let bend = bend(points);
        let saturation = saturation(points);
        let sloped = sloped(points);
        let heights: Vec<f64> = points.iter().map(|&(_, y)| y).collect();
        let around_line: Vec<f64> = points.iter().map(|&(x, y)| y - line.slope * x).collect();
        let kendall = mann_kendall(&heights, &around_line);
        Self { level, line, bend, parabola, saturation, sloped, kendall, blocks: points.len() }
    }

    /// The criterion of the best of the smooth curves with at most one bend.
    pub(in super::super) fn least_criterion(&self) -> f64 {
        let line = self.line.score.criterion;
        line.min(self.bend.score.criterion).min(self.saturation.score.criterion)
    }

    /// Height of the best of the curves with few factors at a time, but for a constant.
    pub(in super::super) fn best(&self, x: f64) -> f64 {
        let line = self.line.score.criterion;
        let Bend { place, before, after, .. } = self.bend;
        let Saturation { kernel, height, .. } = self.saturation;
        if line <= self.bend.score.criterion && line <= self.saturation.score.criterion {
            self.line.slope * x
        } else if self.bend.score.criterion <= self.saturation.score.criterion {
            before * x.min(place) + after * (x - place).max(0.0)
        } else {
            kernel.at(x) / (kernel.at(1.0) - kernel.at(0.0)) * height
        }
    }
}

/// The score of a fit of `K` shapes with `searched` more parameters that were searched for.
fn score<const K: usize>(
    points: &[Point],
    searched: usize,
    shapes: impl Fn(f64) -> [f64; K] + Copy,
) -> (Score, [f64; K], [f64; K]) {
    let n = points.len().max(2) as f64;
    let nothing = Score { spread: 0.0, noise: Noise::WHITE, criterion: f64::from(u16::MAX) };
    let Some(plain) = fit(points, Noise::WHITE, shapes) else { return (nothing, [0.0; K], [0.0; K]) };
    let noise = Noise::of(&plain.residuals(points, shapes), K + searched);
    let spread = (plain.squares / (n - (K + searched) as f64).max(1.0)).sqrt();
    let general = fit(points, noise, shapes).unwrap_or(plain);
    let degrees = (n - K as f64).max(1.0);
    let innovation = general.innovations / degrees;
    let parameters = (K + searched + 1) as f64;
    let criterion = n * (innovation + FLOOR * FLOOR).ln() + parameters * n.ln();
    (Score { spread, noise, criterion }, general.factors, general.errors)
}

fn level(points: &[Point]) -> Score {
    score(points, 0, |_| [1.0]).0
}

fn line(points: &[Point]) -> Line {
    let (score, [_, slope], [_, error]) = score(points, 0, |x| [1.0, x]);
    Line { score, slope, error, t: standard(slope, error) }
}

fn parabola(points: &[Point]) -> Line {
    let (score, [_, slope, curvature], [_, slope_error, error]) = score(points, 0, |x| [1.0, x, x * x]);
    Line {
        score,
        slope: slope + 2.0 * curvature,
        error: slope_error + 2.0 * error,
        t: standard(curvature, error),
    }
}

fn bend(points: &[Point]) -> Bend {
    let places = (2..=18).map(|i| f64::from(i) / 20.0);
    // The slope after the bend is a factor of its own, so that its error comes out directly.
    let shapes = |place: f64| move |x: f64| [1.0, x.min(place), (x - place).max(0.0)];
    let squares = |&place: &f64| fit(points, Noise::WHITE, shapes(place)).map(|fit| fit.squares);
    let coarse = least(places, squares).unwrap_or(0.5);
    let place = least((-4..=4).map(|i| coarse + 0.01 * f64::from(i)), squares).unwrap_or(coarse);
    let (score, [_, before, after], [_, _, after_error]) = score(points, 1, shapes(place));
    Bend { score, place, before, after, after_error }
}

fn saturation(points: &[Point]) -> Saturation {
    let squares = |kernel: &Kernel| fit(points, Noise::WHITE, |x| [1.0, kernel.at(x)]).map(|fit| fit.squares);
    let kernel = least(Kernel::all(), squares).unwrap_or(Kernel::Ramp { start: 0.0, end: 1.0 });
    let (score, [_, factor], _) = score(points, 2, |x| [1.0, kernel.at(x)]);
    let height = factor * (kernel.at(1.0) - kernel.at(0.0));
    Saturation { score, kernel, height, slope: 0.0, slope_error: 0.0 }
}

fn sloped(points: &[Point]) -> Saturation {
    // Only what is well settled: a slow saturation and a slope cannot be told apart.
    let quick = || Kernel::all().filter(|kernel| kernel.settled() <= 0.62);
    let squares =
        |kernel: &Kernel| fit(points, Noise::WHITE, |x| [1.0, kernel.at(x), x]).map(|fit| fit.squares);
    let kernel = least(quick(), squares).unwrap_or(Kernel::Ramp { start: 0.0, end: 0.5 });
    let (score, [_, factor, slope], [_, _, slope_error]) = score(points, 2, |x| [1.0, kernel.at(x), x]);
    let height = factor * (kernel.at(1.0) - kernel.at(0.0));
    Saturation { score, kernel, height, slope, slope_error }
}

/// The candidate of the least cost.
fn least<T>(candidates: impl Iterator<Item = T>, cost: impl Fn(&T) -> Option<f64>) -> Option<T> {
    let priced = candidates.filter_map(|candidate| cost(&candidate).map(|cost| (cost, candidate)));
    priced.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, candidate)| candidate)
}

/// A factor in units of its error, which is never taken for nothing.
pub(in super::super) fn standard(factor: f64, error: f64) -> f64 {
    factor / (error + 1e-4)
}
