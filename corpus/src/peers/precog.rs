//! Backward regression with change points, the detector behind Precog: from the last point back, from change point to
//! change point, the longest stretch on which a rising line fits well.
//!
//! Left out is what a bare series cannot give: the share of the machine's memory that is used, the time until all of it
//! is, and a history of harmless trends to compare with.

use super::{Peer, least_squares, median};

/// Defaults of the authors' program.
const LEAST_R2: f64 = 0.8;
const TOLERANCE: f64 = 0.05;
const OUTLYING: f64 = 3.5;
/// The authors smooth over an hour of five-minute readings, and look at no trend shorter than six hours.
const SMOOTHED: usize = 12;
const SHORTEST: usize = 10;

pub(super) const PEER: Peer = Peer {
    name: "Precog: backward regression, change points",
    source: "arXiv 2101.09799 and 2106.08938; ansjin/memory_leak_detection, algo_based_on_change_points.py",
    is_leak,
};

fn is_leak(points: &[(f64, f64)]) -> bool {
    let smooth = smoothed(points);
    let mut best = LEAST_R2;
    let mut is_leak = false;
    for start in change_points(&smooth).into_iter().rev() {
        let Some(line) = least_squares(&smooth[start..]) else { continue };
        if line.slope > 0.0 && line.r2 >= best - TOLERANCE {
            best = line.r2;
            is_leak = true;
        }
    }
    is_leak
}

/// The running median of the points before, for series that have enough of them.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let width = SMOOTHED.min(points.len() / SHORTEST).max(1);
    let before =
        |i: usize| median(points[(i + 1).saturating_sub(width)..=i].iter().map(|(_, y)| *y).collect());
    points.iter().enumerate().map(|(i, (t, _))| (*t, before(i))).collect()
}

/// Where the difference to the point before is out of the ordinary (modified z-score), and the beginning; not in the
/// last points.
fn change_points(points: &[(f64, f64)]) -> Vec<usize> {
    let differences: Vec<f64> = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).collect();
    let middle = median(differences.clone());
    let deviation = median(differences.iter().map(|d| (d - middle).abs()).collect());
    let is_outlying = |d: f64| 0.6745 * (d - middle).abs() > OUTLYING * deviation;
    let last = points.len().saturating_sub(SHORTEST);
    let found = differences.iter().enumerate().filter(|(_, d)| is_outlying(**d)).map(|(i, _)| i + 1);
    std::iter::once(0).filter(|_| !points.is_empty()).chain(found.filter(|&i| i < last)).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests::seconds, *};

    #[test]
    fn it_looks_back_to_the_last_change() {
        let points = seconds((0..80).map(|i| if i < 40 { 500.0 } else { 10.0 * f64::from(i - 40) }));
        assert!(change_points(&points).contains(&40), "{:?}", change_points(&points));
        assert!(is_leak(&points), "flat, then a fall, then straight up");
        let still = seconds((0..80).map(|i| if i < 40 { 10.0 * f64::from(i) } else { 100.0 }));
        assert!(!is_leak(&still), "straight up, then flat");
    }
}
