//! What confidence means.

use super::ratio;

/// Answers of like confidence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// How many there are.
    pub count: usize,
    /// How many of them are right.
    pub right: usize,
    /// Sum of their confidence.
    total_confidence: f64,
}

impl Bin {
    /// Share that is right; 0 of none.
    pub fn accuracy(&self) -> f64 {
        ratio(self.right, self.count)
    }

    /// Mean confidence; 0 of none.
    pub fn confidence(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total_confidence / self.count as f64 }
    }
}

/// How confidence and being right go together.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Ten bins of a tenth each: 0..0.1, 0.1..0.2, …, 0.9..=1.
    pub bins: [Bin; 10],
    /// Chance that a right answer is surer than a wrong one; `None` without one of either.
    pub auc: Option<f64>,
    /// Share of answers with a confidence of 0.8 or more.
    pub sure: f64,
    count: usize,
}

impl Calibration {
    /// Of pairs of confidence and whether it was right.
    pub fn of(pairs: impl Iterator<Item = (f64, bool)>) -> Self {
        let pairs: Vec<_> = pairs.collect();
        let mut bins = [Bin::default(); 10];
        for &(confidence, is_right) in &pairs {
            let bin = &mut bins[((confidence * 10.0) as usize).min(9)];
            bin.count += 1;
            bin.right += usize::from(is_right);
            bin.total_confidence += confidence;
        }
        let sure = pairs.iter().filter(|(confidence, _)| *confidence >= 0.8).count();
        Self { bins, auc: auc(&pairs), sure: ratio(sure, pairs.len()), count: pairs.len() }
    }

    /// Expected calibration error: mean distance of accuracy from confidence, over the bins.
    pub fn expected_error(&self) -> f64 {
        let off = |bin: &Bin| bin.count as f64 * (bin.accuracy() - bin.confidence()).abs();
        self.bins.iter().map(off).sum::<f64>() / self.count.max(1) as f64
    }
}

/// Area under the curve by ranks (Mann–Whitney), ties counting half.
fn auc(pairs: &[(f64, bool)]) -> Option<f64> {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wrong_below, mut won) = (0.0, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let right = tied.iter().filter(|(_, is_right)| *is_right).count() as f64;
        let wrong = tied.len() as f64 - right;
        won += right * (wrong_below + 0.5 * wrong);
        wrong_below += wrong;
    }
    let right = pairs.len() as f64 - wrong_below;
    (right > 0.0 && wrong_below > 0.0).then(|| won / (right * wrong_below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_by_hand() {
        let pairs = [(0.95, true), (0.95, true), (0.85, false), (0.85, true), (0.3, false)];
        let calibration = Calibration::of(pairs.into_iter());
        // Bins: 2 × |1 − 0.95| + 2 × |0.5 − 0.85| + 1 × |0 − 0.3|, over 5.
        assert!((calibration.expected_error() - (0.1 + 0.7 + 0.3) / 5.0).abs() < 1e-12);
        // Right answers 0.95, 0.95, 0.85 against wrong ones 0.85, 0.3: 5.5 of 6.
        assert!((calibration.auc.unwrap() - 5.5 / 6.0).abs() < 1e-12);
        assert!((calibration.sure - 0.8).abs() < 1e-12);
        assert_eq!((calibration.bins[8].accuracy(), calibration.bins[8].confidence()), (0.5, 0.85));
    }

    #[test]
    fn certainty_is_in_the_last_bin_and_all_right_has_no_auc() {
        let calibration = Calibration::of([(1.0, true), (0.0, true)].into_iter());
        assert_eq!((calibration.bins[9].count, calibration.bins[0].count, calibration.auc), (1, 1, None));
    }
}
