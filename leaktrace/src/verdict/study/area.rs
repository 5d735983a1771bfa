//! The area below a curve.

use crate::verdict::curve::Point;

/// The area below a curve, straight between its points: so the mean of a whole cycle does not depend on where within it
/// the points lie.
pub(super) struct Area<'a> {
    points: &'a [Point],
    /// From the first point up to each.
    sums: Vec<f64>,
}

impl<'a> Area<'a> {
    pub(super) fn new(points: &'a [Point]) -> Self {
        let parts = points.iter().zip(points.iter().skip(1)).map(|(a, b)| 0.5 * (a.1 + b.1) * (b.0 - a.0));
        let sums = std::iter::once(0.0).chain(parts.scan(0.0, |sum, part| {
            *sum += part;
            Some(*sum)
        }));
        Self { points, sums: sums.collect() }
    }

    fn until(&self, x: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 <= x).clamp(1, self.points.len().max(2) - 1);
        let ends = self.points.get(after - 1).zip(self.points.get(after)).zip(self.sums.get(after - 1));
        ends.map_or(0.0, |((a, b), sum)| {
            let height = a.1 + (b.1 - a.1) * ratio(x - a.0, b.0 - a.0);
            sum + 0.5 * (a.1 + height) * (x - a.0)
        })
    }

    /// Mean height between two times.
    pub(super) fn mean(&self, from: f64, to: f64) -> f64 {
        ratio(self.until(to) - self.until(from), to - from)
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::Area;

    #[test]
    fn means_do_not_depend_on_where_points_lie() {
        let points = [(0.0, 0.0), (0.1, 1.0), (0.5, 5.0), (1.0, 10.0)];
        let area = Area::new(&points);
        assert!((area.mean(0.0, 1.0) - 5.0).abs() < 1e-12);
        assert!((area.mean(0.2, 0.4) - 3.0).abs() < 1e-12);
        assert!(area.mean(0.4, 0.4).abs() < 1e-12 && Area::new(&[]).mean(0.0, 1.0).abs() < 1e-12);
    }
}
