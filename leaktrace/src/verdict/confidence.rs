//! How sure a decision is, for series unlike those its weights were fitted on.
//!
//! On generated series that were not fitted the decision's probability is right as it stands: of those at 0.9, nine in
//! ten are. Series of other origin differ most where the decision is close: there shapes mix, and noise is of a kind
//! that nobody thought of. So what is not plain (odds below [`PLAIN`]) stays below 0.8, in the same order, and what is
//! plain is left as it is. On generated series this errs on the side of doubt, by less than the 0.05 that calibration
//! may be off.

/// Log odds from which on a decision is plain: 27 to 1.
const PLAIN: f64 = 3.3;
/// Log odds of 0.8.
const BORDER: f64 = 1.386_294_361_119_890_6;
/// Log odds that no series reaches: a shape may always be there by chance.
const MOST: f64 = 6.5;

/// The confidence that goes with a probability.
pub(super) fn confidence(probability: f64) -> f64 {
    if probability.is_nan() {
        return 0.0;
    }
    let odds = (probability / (1.0 - probability)).ln().clamp(-MOST, MOST);
    let told = match odds {
        odds if odds <= 0.0 => odds,
        odds if odds <= PLAIN => odds * BORDER / PLAIN,
        odds => odds.min(BORDER + 2.0 * (odds - PLAIN)),
    };
    1.0 / (1.0 + (-told).exp())
}

#[cfg(test)]
mod tests {
    use super::confidence;

    #[test]
    fn it_rises_with_the_probability_and_stays_within_bounds() {
        let all: Vec<f64> = (0..=1000).map(|i| confidence(f64::from(i) / 1000.0)).collect();
        assert!(all.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(all.iter().all(|confidence| (0.0..1.0).contains(confidence)));
        assert!((confidence(f64::NAN) - 0.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_plain_is_below_four_in_five() {
        assert!(confidence(0.95) < 0.8 && confidence(0.972) > 0.8);
        assert!(confidence(0.99) > 0.97);
        assert!((confidence(0.5) - 0.5).abs() < 1e-9);
    }
}
