//! How much a series resembles itself later.

/// Correlation of a series with itself `lag` places later, -1..1; 0 for a constant one.
pub(in super::super) fn autocorrelation(values: &[f64], lag: usize) -> f64 {
    let n = values.len();
    if lag >= n {
        return 0.0;
    }
    let mean = super::robust::mean(values);
    let total: f64 = values.iter().map(|y| (y - mean).powi(2)).sum();
    let pairs = values.iter().zip(values.iter().skip(lag));
    let shared: f64 = pairs.map(|(a, b)| (a - mean) * (b - mean)).sum();
    // Both sums have their own number of terms: without that, long lags look unlike.
    let ratio = shared / total * n as f64 / (n - lag) as f64;
    if ratio.is_finite() { ratio.clamp(-1.0, 1.0) } else { 0.0 }
}

/// The autocorrelation of neighbours of which these values are the residuals of a fit with `parameters` parameters:
/// the plain figure is too low by about (p + (3 + p/…)·φ) / n (Kendall 1954, Marriott and Pope 1954), which is undone.
pub(in super::super) fn lag_one(residuals: &[f64], parameters: usize) -> f64 {
    let n = residuals.len() as f64;
    if n < 4.0 {
        return 0.0;
    }
    let total: f64 = residuals.iter().map(|r| r * r).sum();
    let shared: f64 = residuals.iter().zip(residuals.iter().skip(1)).map(|(a, b)| a * b).sum();
    let plain = shared / total;
    if !plain.is_finite() {
        return 0.0;
    }
    // Bias −(p + (2p + …)φ)/n: −(1 + 3φ)/n with a mean alone, −(2 + 4φ)/n with a slope as well.
    let p = parameters as f64;
    ((plain + p / n) / (1.0 - (p + 2.0).min(n / 2.0) / n)).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_resembles_itself_after_its_period() {
        let wave: Vec<f64> = (0..120).map(|i| (f64::from(i) * std::f64::consts::TAU / 12.0).sin()).collect();
        assert!((autocorrelation(&wave, 12) - 1.0).abs() < 0.01);
        assert!((autocorrelation(&wave, 6) + 1.0).abs() < 0.01);
        assert_eq!((autocorrelation(&[5.0; 9], 1), autocorrelation(&wave, 500)), (0.0, 0.0));
    }

    #[test]
    fn short_series_do_not_hide_their_memory() {
        // Alternating signs resemble the opposite of themselves; a slow wave resembles itself nearly fully.
        let alternating: Vec<f64> = (0..40).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert!(lag_one(&alternating, 1) < -0.9);
        let slow: Vec<f64> = (0..40).map(|i| (f64::from(i) / 10.0).cos()).collect();
        assert!(lag_one(&slow, 2) > 0.95);
        assert_eq!((lag_one(&[0.0; 10], 2), lag_one(&[1.0; 3], 1)), (0.0, 0.0));
    }
}
