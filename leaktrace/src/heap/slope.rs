//! The slope of a line of points.

/// The median of the slopes between points half the line apart, so that a spike does not count; `None` with fewer than
/// three points of (time, value). Times may ascend or descend, but no two may be the same.
///
/// Theil and Sen take all pairs: 496 of 32 points, for each of thousands of sites at each tick. These 16 are the ones
/// that noise disturbs least.
pub(super) fn median_slope(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let apart = points.len() / 2;
    let pairs = points.iter().zip(points.iter().skip(apart));
    let mut slopes: Vec<f64> = pairs.map(|(from, to)| (to.1 - from.1) / (to.0 - from.0)).collect();
    let middle = slopes.len() / 2;
    let even = slopes.len().is_multiple_of(2);
    let (below, &mut median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(if even { f64::midpoint(lower, median) } else { median })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_needs_three_points() {
        assert_eq!(median_slope(&[(0.0, 0.0), (1.0, 5.0)]), None);
        assert_eq!(median_slope(&[(0.0, 0.0), (1.0, 5.0), (2.0, 6.0)]), Some(3.0));
        assert_eq!(median_slope(&[(2.0, 6.0), (1.0, 5.0), (0.0, 0.0)]), Some(3.0));
    }

    proptest! {
        #[test]
        fn it_lies_between_the_smallest_and_largest_step(values in prop::collection::vec(0_u64..1 << 50, 3..40)) {
            let points: Vec<_> =
                values.iter().enumerate().map(|(second, &value)| (second as f64, value as f64)).collect();
            let steps: Vec<_> = points.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
            let slope = median_slope(&points).unwrap();
            let (above, below) = (|&step: &f64| step <= slope + 1.0, |&step: &f64| step >= slope - 1.0);
            prop_assert!(steps.iter().any(above) && steps.iter().any(below));
        }
    }
}
