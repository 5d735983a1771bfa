//! Location and scale that a few wild values do not move.

/// The value below which the share `q` of the values lies, interpolated; 0 without any. Reorders the values.
pub(in super::super) fn quantile(values: &mut [f64], q: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let place = q.clamp(0.0, 1.0) * last as f64;
    let index = (place as usize).min(last);
    let (_, &mut low, above) = values.select_nth_unstable_by(index, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(low);
    low + (high - low) * (place - index as f64)
}

/// The middle value; 0 without any. Reorders the values.
pub(in super::super) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}

/// Standard deviation by the median absolute deviation, right for normal values whatever half of them does not do.
/// Reorders the values.
pub(in super::super) fn deviation(values: &mut [f64]) -> f64 {
    /// 1 / the third quartile of the normal distribution.
    const NORMAL: f64 = 1.482_602_218_505_602;
    let middle = median(values);
    for value in &mut *values {
        *value = (*value - middle).abs();
    }
    NORMAL * median(values)
}

/// The arithmetic mean; 0 without any.
pub(in super::super) fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let is =
            |values: &mut [f64], q, expected: f64| assert!((quantile(values, q) - expected).abs() < 1e-12);
        is(&mut [], 0.5, 0.0);
        is(&mut [3.0], 0.9, 3.0);
        is(&mut [4.0, 1.0, 3.0, 2.0], 0.5, 2.5);
        is(&mut [10.0, 0.0], 0.25, 2.5);
        is(&mut [1.0, 2.0, 3.0], 1.0, 3.0);
    }

    #[test]
    fn half_of_the_values_do_not_move_the_deviation() {
        // 1..=9: median 5, absolute deviations 4 3 2 1 0 1 2 3 4, median 2.
        let mut values: Vec<f64> = (1..=9).map(f64::from).collect();
        assert!((deviation(&mut values) - 2.965_204).abs() < 1e-6);
        let mut values = [1.0, 1.0, 1.0, 1e12, -1e12];
        assert!(deviation(&mut values).abs() < 1e-12);
    }
}
