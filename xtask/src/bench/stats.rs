//! The little statistics that a bench needs.

/// The middle of some measurements (the mean of the two middle ones of an even number); `None` of nothing.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    values.get(middle.checked_sub(1)?).map(|lower| f64::midpoint(*lower, upper))
}

/// Mean of some measurements, and the 95 % interval that holds the true one, by Student's t.
pub(super) fn interval95(values: &[f64]) -> Option<(f64, f64, f64)> {
    // Two-sided 97.5 % quantiles for 1 to 15 degrees of freedom; beyond that the last is a little too wide.
    const T: [f64; 15] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
        2.131,
    ];
    let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
    let t = T.get(freedom - 1).or(T.last())?;
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / freedom as f64;
    let half = t * (variance / values.len() as f64).sqrt();
    Some((mean, mean - half, mean + half))
}

#[cfg(test)]
mod tests {
    use super::{interval95, median};

    #[test]
    fn intervals() {
        assert_eq!(interval95(&[1.0]), None);
        let (mean, low, high) = interval95(&[1.0, 2.0, 3.0]).unwrap();
        assert!((mean - 2.0).abs() < 1e-12 && (low + 0.484).abs() < 1e-3 && (high - 4.484).abs() < 1e-3);
    }

    #[test]
    fn medians() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0]), Some(3.0));
        assert_eq!(median([9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 100.0]), Some(3.0));
        assert_eq!(median([f64::NAN, 1.0]), Some(1.0));
    }
}
