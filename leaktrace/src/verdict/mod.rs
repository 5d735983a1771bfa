//! What a series of bytes over time is: a leak, perhaps one, bounded, or too short to say; in which pattern it moves,
//! how fast, and how sure that is.
//!
//! [`judge`] is a pure function: no clock, no /proc, no aya. It sees the [`Samples`] and what is known beside them
//! ([`Circumstances`]), and gives a [`Judgement`]. The same engine judges call sites, processes and V8 heaps of a live
//! trace, and any CSV file given to `leaktrace classify`.

mod circumstances;
mod confidence;
mod curve;
mod decision;
mod judge;
mod judgement;
mod patterns;
mod rules;
mod samples;
mod statistics;
mod study;
mod weights;
mod words;

pub use circumstances::{Circumstances, SiteFacts};
pub use judge::judge;
pub use judgement::{Evidence, Growth, Judgement, Pattern, Verdict};
pub(crate) use rules::SMALL_GROWTH;
pub use samples::Samples;

/// The signs of a series by name, for the fit of the decision's weights; empty for what is not judged by them.
#[doc(hidden)]
pub fn signs(samples: &Samples) -> Vec<(&'static str, f64)> {
    let study = curve::Curve::new(samples).filter(|curve| curve.range > 0.0).map(study::Study::new);
    study.map(|study| patterns::signs(&study)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
