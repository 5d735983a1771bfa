//! Whether a curve comes and goes in regular cycles, and whether their low points rise.

use crate::verdict::curve::{Curve, Point};
use crate::verdict::statistics::{Noise, deviation, fit, mean, median, quantile};

use super::rate::Rate;
use super::smooth::{Smooth, standard};

/// Most places of the even grid on which cycles are looked for.
const MOST_PLACES: usize = 1024;

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

    /// Measures whole cycles: of each its low point, the level below which a sixteenth of it lies, and its mean.
    fn levels(&mut self, curve: &Curve) {
        let whole = (1.0 / self.period + 0.02).floor();
        let start = 0.5 * (1.0 - whole * self.period);
        let area = Area::new(&curve.points);
        let number = |x: f64| ((x - start) / self.period).floor();
        let (mut lows, mut means, mut heights) = (Vec::new(), Vec::new(), Vec::new());
        for cycle in curve.points.chunk_by(|a, b| number(a.0) == number(b.0)) {
            let index = cycle.first().map_or(-1.0, |&(x, _)| number(x));
            if index < 0.0 || index >= whole || cycle.len() < 3 || longest_gap(cycle) > 0.45 * self.period {
                continue;
            }
            let begin = start + index * self.period;
            let mut values: Vec<f64> = cycle.iter().map(|&(_, y)| y).collect();
            lows.push((begin, quantile(&mut values, 0.06)));
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

/// The area below a curve, straight between its points: so the mean of a whole cycle does not depend on where within it
/// the points lie.
struct Area<'a> {
    points: &'a [Point],
    /// From the first point up to each.
    sums: Vec<f64>,
}

impl<'a> Area<'a> {
    fn new(points: &'a [Point]) -> Self {
        let parts = points.iter().zip(points.iter().skip(1)).map(|(a, b)| 0.5 * (a.1 + b.1) * (b.0 - a.0));
        let sums = std::iter::once(0.0).chain(parts.scan(0.0, |sum, part| {
            *sum += part;
            Some(*sum)
        }));
        Self { points, sums: sums.collect() }
    }

    fn until(&self, x: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 <= x).clamp(1, self.points.len().max(2) - 1);
        let ends = self.points.get(after - 1).zip(self.points.get(after)).zip(self.sums.get(after - 1));
        ends.map_or(0.0, |((a, b), sum)| {
            let height = a.1 + (b.1 - a.1) * ratio(x - a.0, b.0 - a.0);
            sum + 0.5 * (a.1 + height) * (x - a.0)
        })
    }

    fn mean(&self, from: f64, to: f64) -> f64 {
        ratio(self.until(to) - self.until(from), to - from)
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// The sum of the products of two series, as far as both go. In eight sums side by side, which the processor adds at once:
/// this is the innermost loop of a judgement.
fn product(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let both = a.len().min(b.len());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let done = both / 8 * 8;
    let rest = a.iter().zip(b).skip(done).map(|(a, b)| a * b);
    sums.iter().sum::<f64>() + rest.sum::<f64>()
}

/// A peak of the autocorrelation.
#[derive(Clone, Copy, Debug)]
struct Peak {
    period: f64,
    height: f64,
    prominence: f64,
    second: f64,
    /// Height less what chance makes of so few pairs.
    worth: f64,
}

/// The curve without its trend on an even grid, with a weight of 0 where there were no points.
struct Grid {
    values: Vec<f64>,
    weights: Vec<f64>,
}

impl Grid {
    fn new(curve: &Curve, smooth: &Smooth) -> Self {
        let mut steps: Vec<f64> =
            curve.points.iter().zip(curve.points.iter().skip(1)).map(|(a, b)| b.0 - a.0).collect();
        let step = median(&mut steps).max(1.0 / (MOST_PLACES - 1) as f64);
        let places = (1.0 / step).round().clamp(1.0, (MOST_PLACES - 1) as f64) as usize;
        let mut values = Vec::with_capacity(places + 1);
        let mut weights = Vec::with_capacity(places + 1);
        let mut right = 0;
        for place in 0..=places {
            let x = place as f64 / places as f64;
            while curve.points.get(right).is_some_and(|point| point.0 < x) {
                right += 1;
            }
            let after = curve.points.get(right).or(curve.points.last());
            let before = curve.points.get(right.saturating_sub(1)).or(after);
            let Some((&(x0, y0), &(x1, y1))) = before.zip(after) else { continue };
            let is_seen = x1 - x0 <= 2.6 * step;
            let share = if x1 > x0 { ((x - x0) / (x1 - x0)).clamp(0.0, 1.0) } else { 0.0 };
            values.push(if is_seen { y0 + share * (y1 - y0) - smooth.best(x) } else { 0.0 });
            weights.push(f64::from(u8::from(is_seen)));
        }
        let mut grid = Self { values, weights };
        grid.center();
        grid
    }

    /// Takes the mean away.
    fn center(&mut self) {
        let seen: f64 = self.weights.iter().sum();
        let mean = self.values.iter().sum::<f64>() / seen.max(1.0);
        for (value, weight) in self.values.iter_mut().zip(&self.weights) {
            *value = (*value - mean) * weight;
        }
    }

    /// The same with means over so many places.
    fn coarser(&self, size: usize) -> Self {
        let groups = self.values.chunks_exact(size).zip(self.weights.chunks_exact(size));
        let (values, weights) = groups
            .map(|(values, weights)| {
                let seen: f64 = weights.iter().sum();
                if seen > 0.0 { (values.iter().sum::<f64>() / seen, 1.0) } else { (0.0, 0.0) }
            })
            .unzip();
        let mut grid = Self { values, weights };
        grid.center();
        grid
    }

    /// Autocorrelation at lags 0 up to `most`.
    fn correlations(&self, most: usize) -> Vec<f64> {
        let seen: f64 = self.weights.iter().sum();
        let variance = self.values.iter().map(|y| y * y).sum::<f64>() / seen.max(1.0);
        let is_whole = seen as usize == self.values.len();
        let of = |lag: usize| {
            let later = self.values.get(lag..).unwrap_or_default();
            let shared = product(&self.values, later);
            let pairs: f64 = if is_whole {
                later.len() as f64
            } else {
                let later = self.weights.get(lag..).unwrap_or_default();
                product(&self.weights, later)
            };
            let value = shared / pairs / variance;
            if pairs >= 4.0 && value.is_finite() { value.clamp(-1.0, 1.0) } else { 0.0 }
        };
        (0..=most).map(of).collect()
    }

    /// The most regular cycle, looked for at every scale of time.
    fn best_peak(&self) -> Option<Peak> {
        /// Lags that are looked at in each scale; the next is twice as coarse.
        const LAGS: usize = 72;
        let n = self.values.len();
        let scales = (0..8).map(|power| 1_usize << power).take_while(|&size| size == 1 || n / size >= 24);
        let peaks = scales.filter_map(|size| {
            let coarse;
            let grid = if size == 1 {
                self
            } else {
                coarse = self.coarser(size);
                &coarse
            };
            let places = grid.values.len();
            // Three cycles at least must be there.
            let most = (places * 10 / 29).min(LAGS);
            let correlations = grid.correlations((2 * most + 2).min(places * 7 / 10));
            let peak = first_high_peak(&correlations, most, places)?;
            Some(Peak { period: peak.period * size as f64 / n as f64, ..peak })
        });
        peaks.max_by(|a, b| a.worth.total_cmp(&b.worth))
    }

    /// Share of the variance that a mean cycle of twelve phases explains, less what chance explains.
    fn explained(&self, period: f64) -> f64 {
        const PHASES: usize = 12;
        let mut sums = [(0.0, 0.0); PHASES];
        let n = self.values.len();
        let phase = |index: usize| {
            let cycles = index as f64 / n as f64 / period;
            ((cycles.fract() * PHASES as f64) as usize).min(PHASES - 1)
        };
        for (index, (value, weight)) in self.values.iter().zip(&self.weights).enumerate() {
            if let Some((sum, count)) = sums.get_mut(phase(index)) {
                *sum += value;
                *count += weight;
            }
        }
        let total: f64 = self.values.iter().map(|y| y * y).sum();
        let seen: f64 = self.weights.iter().sum();
        let by_cycle: f64 =
            sums.iter().filter(|(_, count)| *count > 0.0).map(|(sum, count)| sum * sum / count).sum();
        let left = (total - by_cycle).max(0.0) / (seen - PHASES as f64).max(1.0);
        let share = 1.0 - left / (total / (seen - 1.0).max(1.0));
        if share.is_finite() { share.clamp(-1.0, 1.0) } else { 0.0 }
    }

    /// When the curve passes from its lower third to its upper, noise shorter than a tenth of a period smoothed away.
    fn passages(&self, period: f64) -> Vec<f64> {
        let n = self.values.len();
        let size = ((period * n as f64 / 10.0) as usize).max(1);
        let smoothed;
        let grid = if size == 1 {
            self
        } else {
            smoothed = self.coarser(size);
            &smoothed
        };
        let mut sorted: Vec<f64> = grid
            .values
            .iter()
            .zip(&grid.weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(y, _)| *y)
            .collect();
        let (low, high) = (quantile(&mut sorted, 0.03), quantile(&mut sorted, 0.97));
        let (enter, leave) = (low + 0.62 * (high - low), low + 0.38 * (high - low));
        let mut times = Vec::new();
        let mut is_high = true;
        for (index, &y) in grid.values.iter().enumerate() {
            if y >= enter && !is_high {
                times.push((index * size) as f64 / n as f64);
                is_high = true;
            } else if y <= leave {
                is_high = false;
            }
        }
        times
    }
}

/// The first peak that is nearly as high as the highest: multiples of a period peak as well.
fn first_high_peak(correlations: &[f64], most: usize, places: usize) -> Option<Peak> {
    let at = |lag: usize| correlations.get(lag).copied().unwrap_or(0.0);
    let mut lowest: f64 = 1.0;
    let mut peaks: Vec<Peak> = Vec::new();
    for lag in 2..=most {
        let height = at(lag);
        lowest = lowest.min(at(lag - 1));
        if height <= at(lag - 1) || height < at(lag + 1) {
            continue;
        }
        let shift = vertex(at(lag - 1), height, at(lag + 1));
        let (period, second) = by_multiples(correlations, lag as f64 + shift, height);
        let chance = 1.6 / ((places - lag) as f64).sqrt();
        peaks.push(Peak {
            period,
            height,
            prominence: height - lowest,
            second,
            worth: height.min(height - lowest) - chance,
        });
    }
    let best = peaks.iter().map(|peak| peak.worth).fold(f64::NEG_INFINITY, f64::max);
    peaks.into_iter().find(|peak| peak.worth >= best - 0.1 * best.abs())
}

/// A period, known better by its multiples as long as the series still resembles itself there; and the correlation
/// after two periods.
fn by_multiples(correlations: &[f64], period: f64, height: f64) -> (f64, f64) {
    let (mut period, mut second) = (period, 0.0);
    for multiple in 2..=24 {
        let times = f64::from(multiple);
        let Some((lag, found)) = vertex_near(correlations, times * period, (0.12 * period).max(1.0)) else {
            break;
        };
        if multiple == 2 {
            second = found;
        }
        if found < 0.5 * height {
            break;
        }
        period = lag / times;
    }
    (period, second)
}

/// The highest correlation within reach of a lag: where, between places, and how high.
fn vertex_near(correlations: &[f64], lag: f64, reach: f64) -> Option<(f64, f64)> {
    let (from, to) = ((lag - reach).max(1.0).round() as usize, (lag + reach).round() as usize);
    let near = correlations.get(from..=to)?;
    let (place, &height) = near.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let place = from + place;
    let shift = vertex(correlations.get(place - 1).copied()?, height, correlations.get(place + 1).copied()?);
    Some((place as f64 + shift, height))
}

/// Where between −½ and ½ the parabola through three even heights is highest.
fn vertex(before: f64, height: f64, after: f64) -> f64 {
    let bow = before - 2.0 * height + after;
    if bow < 0.0 { (0.5 * (before - after) / bow).clamp(-0.5, 0.5) } else { 0.0 }
}
