//! Whether growth has come to rest at the end.

use crate::verdict::curve::Curve;
use crate::verdict::statistics::{Noise, fit, median};

/// The end of a curve.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Tail {
    /// How long the last level has not been left downwards: share of the window since the curve was clearly lower.
    pub(in super::super) rest: f64,
    /// The longest time it took before to gain a twentieth of its range.
    pub(in super::super) longest_pause: f64,
    /// Slope over the last third, ranges a window.
    pub(in super::super) slope: f64,
    /// Its standard error.
    pub(in super::super) error: f64,
    /// Slope over the first third.
    pub(in super::super) first_slope: f64,
}

/// A twentieth of the range is a gain.
const GAIN: f64 = 0.05;

impl Tail {
    pub(in super::super) fn new(curve: &Curve) -> Self {
        let points = &curve.points;
        let last = points.len().saturating_sub((points.len() / 16).clamp(1, 9));
        let mut end: Vec<f64> = points.iter().skip(last).map(|&(_, y)| y).collect();
        let end = median(&mut end);
        let margin = GAIN + 4.0 * curve.noise;
        let since = points.iter().rev().find(|&&(_, y)| y < end - margin).map_or(0.0, |&(x, _)| x);
        let (slope, error) = slope(&curve.blocks, 2.0 / 3.0, 1.0);
        let (first_slope, _) = self::slope(&curve.blocks, 0.0, 1.0 / 3.0);
        let longest_pause = longest_pause(points, margin, since);
        Self { rest: 1.0 - since, longest_pause, slope, error, first_slope }
    }
}

/// The longest time between two gains, each of the margin, up to a time.
fn longest_pause(points: &[(f64, f64)], margin: f64, until: f64) -> f64 {
    let mut longest: f64 = 0.0;
    let mut reached: Option<(f64, f64)> = None;
    for &(x, y) in points.iter().take_while(|&&(x, _)| x <= until) {
        match reached {
            None => reached = Some((x, y)),
            Some((since, level)) if y >= level + margin => {
                longest = longest.max(x - since);
                reached = Some((x, y));
            }
            Some(_) => {}
        }
    }
    longest
}

/// Slope and its error over a part of the window.
fn slope(blocks: &[(f64, f64)], from: f64, to: f64) -> (f64, f64) {
    let part: Vec<(f64, f64)> = blocks.iter().copied().filter(|&(x, _)| x >= from && x <= to).collect();
    let shapes = |x: f64| [1.0, x - from];
    let Some(plain) = fit(&part, Noise::WHITE, shapes).filter(|_| part.len() > 3) else { return (0.0, 1.0) };
    let noise = Noise::of(&plain.residuals(&part, shapes), 2);
    let general = fit(&part, noise, shapes).unwrap_or(plain);
    (general.factors[1], general.errors[1].max(plain.errors[1]))
}
