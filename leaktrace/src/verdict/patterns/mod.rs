//! The shapes that a series can have: one file each, and what each looks at to recognise itself.

mod linear;
mod periodic;
mod shrinking;
mod spike;
mod staircase;
mod steady;
mod warmup;

use super::judgement::{Evidence, Growth, Pattern, Verdict};
use super::study::{Rate, Study};

/// A shape that a series can have.
pub(super) trait Shape: Sync {
    /// Its name.
    fn pattern(&self) -> Pattern;

    /// What it means when nothing else is known.
    fn verdict(&self) -> Verdict;

    /// Whether it has what it cannot do without, whatever its signs weigh.
    fn is_possible(&self, study: &Study) -> bool;

    /// What it looks at: figures of −1..1 (some up to 2), 0 where there is nothing to see. The decision weighs the
    /// signs of all shapes for each of them.
    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)>;

    /// How fast it grows; `None` where no rate can be given.
    fn growth(&self, study: &Study) -> Option<Growth>;

    /// Since when it moves as it does now, 0..1 of the window; `None` where it always did.
    fn since(&self, study: &Study) -> Option<f64>;

    /// What of its signs people should see.
    fn evidence(&self, study: &Study) -> Vec<Evidence>;
}

/// All shapes, in the order of the decision's weights.
pub(super) const SHAPES: [&dyn Shape; 8] = [
    &linear::Linear,
    &staircase::Staircase,
    &periodic::Rising,
    &periodic::Flat,
    &spike::Spike,
    &warmup::Warmup,
    &steady::Steady,
    &shrinking::Shrinking,
];

/// All signs of all shapes, in order.
pub(super) fn signs(study: &Study) -> Vec<(&'static str, f64)> {
    let all = SHAPES.iter().flat_map(|shape| shape.signs(study));
    all.map(|(name, value)| (name, if value.is_finite() { value.clamp(-2.0, 2.0) } else { 0.0 })).collect()
}

/// Squeezes any figure into −1..1; `half` becomes one half. So a figure that is far beyond all that matters, as in a
/// series without any noise, does not outweigh all others.
fn squeeze(figure: f64, half: f64) -> f64 {
    if figure.is_nan() { 0.0 } else { figure.clamp(-1e12, 1e12) / (half + figure.abs().min(1e12)) }
}

/// The slope of the straight line through all.
fn line_rate(study: &Study) -> Rate {
    let line = &study.smooth.line;
    Rate::of(line.slope, line.error, line.score.noise, study.smooth.blocks)
}

/// One thing to see.
fn evidence(name: &str, value: f64, says: String) -> Evidence {
    Evidence { name: name.to_owned(), value: if value.is_finite() { value } else { 0.0 }, says }
}

/// A ratio within −limit..limit; 0 without a denominator.
fn ratio(numerator: f64, denominator: f64, limit: f64) -> f64 {
    let ratio = numerator / denominator;
    if ratio.is_finite() { ratio.clamp(-limit, limit) } else { 0.0 }
}
