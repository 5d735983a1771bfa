//! Student's distribution.

/// The value that a variable of Student's distribution stays below with 97.5 %, so that ± it holds 95 %. Cornish and
/// Fisher's expansion (1937): within 1 % from 3 degrees of freedom on; below that the exact values of 1 and 2.
pub(in super::super) fn quantile_975(degrees: f64) -> f64 {
    const NORMAL: f64 = 1.959_963_984_540_054;
    if degrees < 1.5 {
        return 12.706;
    }
    if degrees < 2.5 {
        return 4.303;
    }
    let z = NORMAL;
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    let first = (z3 + z) / 4.0;
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / 96.0;
    let third = (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / 384.0;
    z + first / degrees + second / degrees.powi(2) + third / degrees.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_the_tables() {
        for (degrees, expected) in [
            (1.0, 12.706),
            (2.0, 4.303),
            (3.0, 3.182),
            (5.0, 2.571),
            (10.0, 2.228),
            (30.0, 2.042),
            (1e9, 1.960),
        ] {
            let got = quantile_975(degrees);
            assert!((got / expected - 1.0).abs() < 0.01, "{degrees}: {got} instead of {expected}");
        }
    }
}
