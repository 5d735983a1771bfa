//! Whether a curve comes and goes in regular cycles, and whether their low points rise.

use crate::verdict::curve::{Curve, Point};
use crate::verdict::statistics::{Noise, deviation, fit, mean, median, quantile};

use super::area::Area;
use super::grid::Grid;
use super::rate::Rate;
use super::smooth::{Smooth, standard};

/// The cycles of a curve.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Cycles {
    /// Length of a cycle as share of the window; 0 if none was found.
    pub(in super::super) period: f64,
    /// Autocorrelation after one period, without the trend.
    pub(in super::super) likeness: f64,
    /// How far that stands out of what lies between.
    pub(in super::super) prominence: f64,
    /// Autocorrelation after two periods.
    pub(in super::super) second: f64,
    /// Whole cycles that fit into the window.
    pub(in super::super) count: f64,
    /// Share of the variance that one mean cycle explains.
    pub(in super::super) explained: f64,
    /// Relative deviation of the times between upward passages; 1 for what comes at random.
    pub(in super::super) jitter: f64,
    /// Upward passages seen.
    pub(in super::super) passages: f64,
    /// Height of a cycle, low to high, in ranges.
    pub(in super::super) amplitude: f64,
    /// What low points gain over the window, in ranges.
    pub(in super::super) trough_growth: f64,
    /// Its standard error.
    pub(in super::super) trough_error: f64,
    /// Scatter of low points around their line.
    pub(in super::super) trough_spread: f64,
    /// What the means of cycles gain over the window.
    pub(in super::super) mean_growth: Rate,
    /// What their low points gain.
    pub(in super::super) floor_growth: Rate,
}

impl Cycles {
    pub(in super::super) fn new(curve: &Curve, smooth: &Smooth) -> Self {
        let grid = Grid::new(curve, smooth);
        let Some(peak) = grid.best_peak() else { return Self::default() };
        let mut cycles = Self {
            period: peak.period,
            likeness: peak.height,
            prominence: peak.prominence,
            second: peak.second,
            count: (1.0 / peak.period).floor(),
            explained: grid.explained(peak.period),
            ..Self::default()
        };
        cycles.passages(&grid);
        cycles.levels(curve);
        cycles
    }

    /// Measures how regularly the curve passes its middle upwards.
    fn passages(&mut self, grid: &Grid) {
        let times = grid.passages(self.period);
        let mut gaps: Vec<f64> = times.iter().zip(times.iter().skip(1)).map(|(a, b)| b - a).collect();
        self.passages = times.len() as f64;
        let usual = mean(&gaps);
        let scatter =
            (gaps.iter().map(|gap| (gap - usual).powi(2)).sum::<f64>() / gaps.len().max(1) as f64).sqrt();
        self.jitter = match gaps.len() {
            0 | 1 => 1.0,
            // A passage that was missed doubles one gap: half of the weight is on the robust figure.
            _ => (0.5 * (scatter / usual + deviation(&mut gaps.clone()) / median(&mut gaps))).min(1.5),
        };
    }

    /// Measures whole cycles: of each its low point, the level below which a twenty-fifth of it lies, and its mean.
    fn levels(&mut self, curve: &Curve) {
        let whole = (1.0 / self.period + 0.02).floor();
        let start = 0.5 * (1.0 - whole * self.period);
        let area = Area::new(&curve.points);
        let number = |x: f64| ((x - start) / self.period).floor() as i64;
        let (mut lows, mut means, mut heights) = (Vec::new(), Vec::new(), Vec::new());
        for cycle in curve.points.chunk_by(|a, b| number(a.0) == number(b.0)) {
            let index = cycle.first().map_or(-1, |&(x, _)| number(x));
            if index < 0
                || index >= whole as i64
                || cycle.len() < 3
                || longest_gap(cycle) > 0.45 * self.period
            {
                continue;
            }
            let begin = start + index as f64 * self.period;
            let mut values: Vec<f64> = cycle.iter().map(|&(_, y)| y).collect();
            lows.push((begin, quantile(&mut values, 0.04)));
            heights.push(quantile(&mut values, 0.95) - quantile(&mut values, 0.05));
            means.push((begin, area.mean(begin, begin + self.period)));
        }
        self.amplitude = median(&mut heights);
        (self.trough_growth, self.trough_error, self.trough_spread) = slope(&lows);
        let (slope, error, _) = slope(&means);
        // Few means may lie on a line by chance; what noise makes of the whole window is the least that is unknown.
        let least = curve.noise * (12.0 / curve.points.len().max(1) as f64).sqrt();
        let degrees = (means.len() as f64 - 2.0).max(1.0);
        // Heights and lengths that vary from cycle to cycle are less even than chance would have so few of them.
        let rate =
            |slope: f64, error: f64| Rate { slope, error: 1.2 * error.max(least), degrees, margin: 0.0 };
        self.mean_growth = rate(slope, error);
        self.floor_growth = rate(self.trough_growth, self.trough_error);
    }

    /// The growth of low points in units of its error.
    pub(in super::super) fn rise(&self) -> f64 {
        standard(self.trough_growth, self.trough_error)
    }
}

/// Slope, its error and the scatter around it.
fn slope(points: &[Point]) -> (f64, f64, f64) {
    let shapes = |x: f64| [1.0, x];
    let Some(plain) = fit(points, Noise::WHITE, shapes).filter(|_| points.len() > 2) else {
        return (0.0, 1.0, 1.0);
    };
    let noise = Noise::of(&plain.residuals(points, shapes), 2);
    let general = fit(points, noise, shapes).unwrap_or(plain);
    let spread = (plain.squares / (points.len() as f64 - 2.0)).sqrt();
    (general.factors[1], general.errors[1].max(plain.errors[1]), spread)
}

/// The longest time without a point.
fn longest_gap(points: &[Point]) -> f64 {
    points.iter().zip(points.iter().skip(1)).map(|(a, b)| b.0 - a.0).fold(0.0, f64::max)
}
