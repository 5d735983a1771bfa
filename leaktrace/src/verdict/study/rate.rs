//! A rate with the interval it lies in.

use crate::verdict::curve::{Curve, Point};
use crate::verdict::judgement::Growth;
use crate::verdict::statistics::{Noise, fit, quantile_975};

/// A slope, in ranges a window, and how well it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Rate {
    pub(in super::super) slope: f64,
    /// Its standard error.
    pub(in super::super) error: f64,
    /// Degrees of freedom of the error.
    pub(in super::super) degrees: f64,
    /// What may be wrong beside chance, such as where a step falls within the window: added to both sides.
    pub(in super::super) margin: f64,
}

impl Rate {
    /// A slope that was fitted to so many blocks with errors of a kind.
    pub(in super::super) fn of(slope: f64, error: f64, noise: Noise, blocks: usize) -> Self {
        // With a random walk around the line its differences are what is known independently of each other.
        let independent = if noise.correlation >= 1.0 { blocks as f64 } else { noise.effective(blocks) };
        // The kind of the errors is an estimate too, and blocks of a walk resemble each other more than its points.
        let error = error * (1.0 + 0.35 * noise.correlation * noise.correlation);
        Self { slope, error, degrees: (independent - 2.0).max(3.0), margin: 0.0 }
    }

    /// In bytes a second, with 95 % by Student's distribution.
    pub(in super::super) fn growth(self, curve: &Curve) -> Growth {
        // A byte up or down at both ends is no growth.
        let byte = if curve.range > 0.0 {
            1.0 / (curve.range * (curve.points.len().max(1) as f64).sqrt())
        } else {
            0.0
        };
        let rounding = 1e-6 * self.slope.abs();
        let half = quantile_975(self.degrees) * self.error + self.margin + byte.min(1.0) + rounding;
        let at = |slope: f64| curve.bytes_per_s(slope);
        Growth { bytes_per_s: at(self.slope), ci95: (at(self.slope - half), at(self.slope + half)) }
    }
}

/// The slope of a straight line and how well it is known.
pub(in super::super) fn straight(blocks: &[Point]) -> Rate {
    let shapes = |x: f64| [1.0, x];
    let Some(plain) = fit(blocks, Noise::WHITE, shapes) else { return Rate::default() };
    let noise = Noise::of(&plain.residuals(blocks, shapes), 2);
    let general = fit(blocks, noise, shapes).unwrap_or(plain);
    Rate::of(general.factors[1], general.errors[1], noise, blocks.len())
}
