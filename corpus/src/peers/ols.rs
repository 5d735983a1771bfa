//! Ordinary least squares: what a dashboard's trend line does.

use super::{Peer, least_squares};

/// Share of variance from which on a line counts as a trend; Jindal and others use 0.8 (arXiv 2106.08938, section on
/// linear backward regression).
const LEAST_R2: f64 = 0.8;

pub(super) const PEER: Peer = Peer {
    name: "OLS, R² ≥ 0.8",
    source: "least squares over the whole window; threshold of arXiv 2106.08938",
    is_leak,
};

fn is_leak(points: &[(f64, f64)]) -> bool {
    least_squares(points).is_some_and(|line| line.slope > 0.0 && line.r2 >= LEAST_R2)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::seconds, *};

    #[test]
    fn a_line_that_explains_too_little_is_no_trend() {
        assert!(!is_leak(&seconds([1.0, 3.0, 2.0, 4.0])), "r² is 0.64");
        assert!(!is_leak(&seconds([4.0, 3.0, 2.0, 1.0])), "it falls");
        assert!(is_leak(&seconds([1.0, 2.0, 3.0, 4.0])));
    }
}
