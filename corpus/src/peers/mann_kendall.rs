//! The Mann–Kendall test alone, one-sided at 5 %, with ties corrected and nothing done about autocorrelation.

use std::cmp::Ordering;

use super::Peer;

/// One-sided 5 % of the standard normal.
const CRITICAL: f64 = 1.645;

pub(super) const PEER: Peer = Peer {
    name: "Mann–Kendall alone",
    source: "Mann, Econometrica 13 (1945); Kendall, Rank Correlation Methods (1975)",
    is_leak,
};

fn is_leak(points: &[(f64, f64)]) -> bool {
    score(points) > CRITICAL
}

/// The test's statistic in standard deviations, with continuity correction.
fn score(points: &[(f64, f64)]) -> f64 {
    let values: Vec<f64> = points.iter().map(|(_, y)| *y).collect();
    let mut s = 0_i64;
    for (i, early) in values.iter().enumerate() {
        for late in &values[i + 1..] {
            s += late.partial_cmp(early).map_or(0, |order| order as i64);
        }
    }
    let variance = (term(values.len()) - ties(&values)) / 18.0;
    let pulled_to_zero = match s.cmp(&0) {
        Ordering::Greater => s - 1,
        Ordering::Equal => 0,
        Ordering::Less => s + 1,
    };
    if variance > 0.0 { pulled_to_zero as f64 / variance.sqrt() } else { 0.0 }
}

/// What values that occur several times take from the variance.
fn ties(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a.total_cmp(b).is_eq()).map(|tied| term(tied.len())).sum()
}

fn term(count: usize) -> f64 {
    let n = count as f64;
    n * (n - 1.0) * (2.0 * n + 5.0)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::seconds, *};

    #[test]
    fn the_statistic_is_kendalls() {
        // By hand: S = 4 of 6 pairs (5 up, 1 down); variance 4 × 3 × 13 / 18; (4 − 1) / √8.667 = 1.019.
        assert!((score(&seconds([1.0, 3.0, 2.0, 4.0])) - 1.019).abs() < 1e-3);
        // With a tie: S = 5; variance (156 − 2 × 1 × 9) / 18 = 7.667; 4 / 2.769 = 1.445.
        assert!((score(&seconds([1.0, 2.0, 2.0, 4.0])) - 1.445).abs() < 1e-3);
        let (down, up) = (score(&seconds([4.0, 3.0, 2.0, 1.0])), score(&seconds([1.0, 2.0, 3.0, 4.0])));
        assert!((down + up).abs() < 1e-12 && up > 0.0);
    }
}
