//! Other people's detectors, as their authors describe them, for the same series. They say leak or no leak; patterns,
//! rates and confidence they do not have.

mod mann_kendall;
mod memlab;
mod memwatch;
mod ols;
mod precog;

/// A detector and where it comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name in tables.
    pub name: &'static str,
    /// Where it is described.
    pub source: &'static str,
    /// Whether it calls this series of seconds and bytes a leak.
    pub is_leak: fn(&[(f64, f64)]) -> bool,
}

/// All of them, in the order of tables.
pub const PEERS: [Peer; 5] = [ols::PEER, mann_kendall::PEER, memwatch::PEER, memlab::PEER, precog::PEER];

/// A straight line through points, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    slope: f64,
    /// Share of the variance that the line explains; 0 where there is none.
    r2: f64,
}

/// The line through these points; `None` with fewer than two times.
fn least_squares(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean_t = points.iter().map(|(t, _)| t).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let sums = points.iter().fold((0.0, 0.0, 0.0), |(tt, ty, yy), (t, y)| {
        let (dt, dy) = (t - mean_t, y - mean_y);
        (tt + dt * dt, ty + dt * dy, yy + dy * dy)
    });
    let (tt, ty, yy) = sums;
    let r2 = if yy > 0.0 { ty * ty / (tt * yy) } else { 0.0 };
    (tt > 0.0).then(|| Line { slope: ty / tt, r2 })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A series of these values, a second apart.
    pub(super) fn seconds(values: impl IntoIterator<Item = f64>) -> Vec<(f64, f64)> {
        values.into_iter().enumerate().map(|(i, y)| (i as f64, y)).collect()
    }

    #[test]
    fn a_line_is_found() {
        // By hand: means 1.5 and 2.5; tt = 5, ty = 4, yy = 5: slope 0.8, r² = 16 / 25.
        let line = least_squares(&seconds([1.0, 3.0, 2.0, 4.0])).unwrap();
        assert!((line.slope - 0.8).abs() < 1e-12 && (line.r2 - 0.64).abs() < 1e-12);
        assert_eq!(least_squares(&seconds([1.0])), None);
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
    }

    #[test]
    fn all_agree_on_a_clean_line_and_on_a_constant() {
        for peer in PEERS {
            assert!((peer.is_leak)(&seconds((0..60).map(|i| 1e6 + 1e4 * f64::from(i)))), "{}", peer.name);
            assert!(!(peer.is_leak)(&seconds([1e6; 60])), "{}", peer.name);
            assert!(!(peer.is_leak)(&[]), "{}", peer.name);
        }
    }
}
