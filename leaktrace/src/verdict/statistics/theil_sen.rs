//! The slope that outliers do not move.

use super::robust::median;

/// The median of the slopes between all pairs of points (Theil 1950, Sen 1968): up to 29 % of the points may be wild.
/// 0 where no two points differ in time. Takes n²/2 steps: the caller bounds n.
pub(in super::super) fn theil_sen(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, &(t0, y0)) in points.iter().enumerate() {
        let later = points.iter().skip(index + 1).filter(|&&(t, _)| t > t0);
        slopes.extend(later.map(|&(t, y)| (y - y0) / (t - t0)));
    }
    median(&mut slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sens_slope_of_a_small_table() {
        // Slopes 1, 4, 7/3; 7, 3; -1: in order -1, 1, 7/3, 3, 4, 7.
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, 9.0), (3.0, 8.0)];
        assert!((theil_sen(&points) - 8.0 / 3.0).abs() < 1e-12);
        assert_eq!((theil_sen(&[]), theil_sen(&[(1.0, 5.0), (1.0, 9.0)])), (0.0, 0.0));
    }

    #[test]
    fn a_quarter_of_wild_points_changes_nothing() {
        let wild = |i: usize| if i.is_multiple_of(4) { 1e9 } else { 0.0 };
        let points: Vec<(f64, f64)> = (0..40).map(|i| (i as f64, 3.0 * i as f64 + wild(i))).collect();
        assert!((theil_sen(&points) - 3.0).abs() < 1e-9);
    }
}
