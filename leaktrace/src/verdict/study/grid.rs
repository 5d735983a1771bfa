//! Autocorrelation: the most regular cycle of a curve, at any scale of time.

use crate::verdict::curve::Curve;
use crate::verdict::statistics::{median, quantile};

use super::smooth::Smooth;

/// Most places of the even grid on which cycles are looked for.
const MOST_PLACES: usize = 1024;

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
pub(super) struct Peak {
    pub(super) period: f64,
    pub(super) height: f64,
    pub(super) prominence: f64,
    pub(super) second: f64,
    /// Height less what chance makes of so few pairs.
    worth: f64,
}

/// The curve without its trend on an even grid, with a weight of 0 where there were no points.
pub(super) struct Grid {
    values: Vec<f64>,
    weights: Vec<f64>,
}

impl Grid {
    pub(super) fn new(curve: &Curve, smooth: &Smooth) -> Self {
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
    pub(super) fn best_peak(&self) -> Option<Peak> {
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
    pub(super) fn explained(&self, period: f64) -> f64 {
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
    pub(super) fn passages(&self, period: f64) -> Vec<f64> {
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
