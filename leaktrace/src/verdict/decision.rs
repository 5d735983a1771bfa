//! From signs to a shape, and how likely it is the right one.
//!
//! A multinomial logistic regression: each shape has a weight for each sign, the shape with the largest sum wins, and
//! the sums, as exponents, give the probabilities. Its weights are fitted on generated series (see [`super::weights`]); what
//! a shape cannot do without is not left to weights but vetoed.

use super::Verdict;
use super::patterns::{SHAPES, Shape, signs};
use super::study::Study;
use super::weights::WEIGHTS;

/// A leak has to be this much likelier, in log odds, than what is bounded: a false alarm costs more than one that comes
/// a little later.
const CAUTION: f64 = 1.0;

/// A shape and its probability.
pub(super) struct Decision {
    pub(super) shape: &'static dyn Shape,
    pub(super) probability: f64,
}

/// Decides on the shape of a curve.
pub(super) fn decide(study: &Study) -> Decision {
    let signs = signs(study);
    let score = |weights: &[i32]| -> f64 {
        let constant = weights.last().copied().map_or(0.0, f64::from);
        let weighed = weights.iter().zip(&signs).map(|(&weight, (_, sign))| f64::from(weight) * sign);
        (constant + weighed.sum::<f64>()) / 1000.0
    };
    let scores: Vec<_> =
        SHAPES.iter().zip(&WEIGHTS).map(|(&shape, weights)| (shape, score(weights))).collect();
    let highest = scores.iter().map(|&(_, score)| score).fold(f64::NEG_INFINITY, f64::max);
    // What a veto keeps from being chosen is still doubt.
    let total: f64 = scores.iter().map(|&(_, score)| (score - highest).exp()).sum();
    let cautious = |&(shape, score): &(&dyn Shape, f64)| match shape.verdict() {
        Verdict::Leak => score - CAUTION,
        _ => score,
    };
    let possible = scores.iter().filter(|(shape, _)| shape.is_possible(study));
    let best = possible.max_by(|a, b| cautious(a).total_cmp(&cautious(b)));
    let (shape, score) = best.or(scores.first()).copied().unwrap_or((SHAPES[0], highest));
    Decision { shape, probability: ((score - highest).exp() / total).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::super::{Samples, signs, weights};

    #[test]
    fn the_weights_are_those_of_the_signs() {
        let points = (0..40).map(|i| (f64::from(i), f64::from(i * i % 17)));
        let names: Vec<&str> = signs(&Samples::new(points)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, weights::NAMES, "fit them again: cargo xtask classification fit");
    }
}
