//! Whether a series tends up or down, whatever its shape and distribution.

use super::autocorrelation::autocorrelation;

/// What Mann and Kendall's test says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in super::super) struct Trend {
    /// Kendall's tau-a: share of pairs that ascend less the share that descends, -1..1.
    pub(in super::super) tau: f64,
    /// Standard score of the same: beyond ±1.96 in one of twenty series without a trend.
    pub(in super::super) z: f64,
}

/// Mann and Kendall's test (Mann 1945, Kendall 1975). Neighbours that resemble each other make any series look like a
/// trend, so its variance is raised as Hamed and Rao (1998) do: by the autocorrelation of the ranks of `residuals`,
/// the same values without their trend. Takes n² steps: the caller bounds n.
pub(in super::super) fn mann_kendall(values: &[f64], residuals: &[f64]) -> Trend {
    let n = values.len() as f64;
    if values.len() < 3 {
        return Trend::default();
    }
    let mut ascending = 0.0;
    let mut tied = 0.0;
    for (index, early) in values.iter().enumerate() {
        for late in values.iter().skip(index + 1) {
            match late.total_cmp(early) {
                std::cmp::Ordering::Greater => ascending += 1.0,
                std::cmp::Ordering::Less => ascending -= 1.0,
                std::cmp::Ordering::Equal => tied += 1.0,
            }
        }
    }
    let pairs = n * (n - 1.0) / 2.0;
    // Of the correction for ties only its main part: pairs that are tied carry no information.
    let variance = n * (n - 1.0) * (2.0 * n + 5.0) / 18.0 * (1.0 - tied / pairs).max(1.0 / pairs);
    let score: f64 = if ascending == 0.0 { 0.0 } else { ascending - f64::signum(ascending) };
    Trend { tau: ascending / pairs, z: score / (variance * inflation(residuals)).sqrt() }
}

/// By how much resemblance of neighbours raises the variance; at least 1, as an estimate below it would make a weak
/// trend look like a strong one.
fn inflation(residuals: &[f64]) -> f64 {
    let n = residuals.len() as f64;
    let ranks = ranks(residuals);
    let lags = residuals.len() / 3;
    let significant = 1.96 / n.sqrt();
    let mut sum = 0.0;
    for lag in 1..=lags {
        let correlation = autocorrelation(&ranks, lag);
        // Only what stands out of chance counts, as the paper says; beyond the first that does not, it is chance.
        if correlation < significant {
            break;
        }
        let left = n - lag as f64;
        sum += left * (left - 1.0) * (left - 2.0) * correlation;
    }
    (1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0)) * sum).max(1.0)
}

/// The place of each value among all; values that are equal share the mean of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = values.iter().copied().enumerate().collect();
    order.sort_unstable_by(|a, b| a.1.total_cmp(&b.1));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for group in order.chunk_by(|a, b| a.1.total_cmp(&b.1).is_eq()) {
        let rank = first as f64 + (group.len() - 1) as f64 / 2.0;
        for &(index, _) in group {
            if let Some(slot) = ranks.get_mut(index) {
                *slot = rank;
            }
        }
        first += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_by_hand() {
        // 1 2 3 5 4: of ten pairs nine ascend, one descends: S = 8, variance 5·4·15/18, z = 7 / sqrt of it.
        let values = [1.0, 2.0, 3.0, 5.0, 4.0];
        let trend = mann_kendall(&values, &[0.0; 5]);
        assert!((trend.tau - 0.8).abs() < 1e-12);
        assert!((trend.z - 7.0 / (5.0_f64 * 4.0 * 15.0 / 18.0).sqrt()).abs() < 1e-9, "{}", trend.z);
    }

    #[test]
    fn neighbours_that_resemble_lower_the_score() {
        let slow: Vec<f64> = (0..60).map(|i| f64::from(i) / 8.0).map(f64::sin).collect();
        let values: Vec<f64> = slow.iter().enumerate().map(|(i, y)| y + i as f64 / 30.0).collect();
        let naive = mann_kendall(&values, &[]);
        let corrected = mann_kendall(&values, &slow);
        assert!(corrected.z < 0.6 * naive.z, "{} against {}", corrected.z, naive.z);
        assert!((corrected.tau - naive.tau).abs() < 1e-12);
    }

    #[test]
    fn ties_and_short_series_are_no_trend() {
        assert_eq!(mann_kendall(&[1.0, 2.0], &[]), Trend::default());
        assert_eq!(mann_kendall(&[7.0; 20], &[0.0; 20]), Trend::default());
    }
}
