//! Fits whose errors resemble their neighbours.
//!
//! Least squares with the errors taken as a first-order autoregression of a known correlation: of each point what its
//! predecessor foretells is taken away (Cochrane and Orcutt 1949; the first point by Prais and Winsten 1954). With a
//! correlation of 1, a random walk, that is a fit of the differences. Perron and Yabu (2009) show that a test of a
//! slope holds its level for both kinds of errors if a correlation near 1 is taken for 1.

use super::autocorrelation::lag_one;

/// Of what kind the errors around a curve are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Noise {
    /// Correlation of neighbours, 0..=1; 1 is a random walk.
    pub(in super::super) correlation: f64,
}

impl Noise {
    /// Errors that know nothing of each other.
    pub(in super::super) const WHITE: Self = Self { correlation: 0.0 };

    /// Estimated from the residuals of a fit with so many parameters.
    pub(in super::super) fn of(residuals: &[f64], parameters: usize) -> Self {
        let n = residuals.len().max(1) as f64;
        let correlation = lag_one(residuals, parameters);
        let is_walk = correlation > 1.0 - 1.0 / n.sqrt();
        Self { correlation: if is_walk { 1.0 } else { correlation.max(0.0) } }
    }

    /// How many independent points n points of this kind are worth, at least 2.
    pub(in super::super) fn effective(self, n: usize) -> f64 {
        let n = n as f64;
        (n * (1.0 - self.correlation) / (1.0 + self.correlation)).clamp(2.0_f64.min(n), n)
    }
}

/// A curve that is a sum of `K` given shapes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Fit<const K: usize> {
    /// The factor of each shape.
    pub(in super::super) factors: [f64; K],
    /// Standard error of each factor.
    pub(in super::super) errors: [f64; K],
    /// Sum of the squared residuals of the points themselves.
    pub(in super::super) squares: f64,
    /// Sum of the squares of what the errors before do not foretell.
    pub(in super::super) innovations: f64,
}

/// Fits points (time, value) by the shapes that `shapes` gives at a time. `None` where the points do not tell the
/// shapes apart. A constant shape, if there is one, must be the first.
pub(in super::super) fn fit<const K: usize>(
    points: &[(f64, f64)],
    noise: Noise,
    shapes: impl Fn(f64) -> [f64; K],
) -> Option<Fit<K>> {
    let mut system = Normal::<K>::default();
    let mut previous: Option<(f64, [f64; K], f64)> = None;
    let phi = noise.correlation;
    let step = if phi > 0.0 { typical_step(points) } else { 1.0 };
    for &(t, y) in points {
        let row = shapes(t);
        match previous {
            Some((t0, row0, y0)) if phi > 0.0 => {
                let steps = ((t - t0) / step).max(0.2);
                let (memory, weight) = transition(phi, steps);
                let whitened = std::array::from_fn(|k| weight * (at(&row, k) - memory * at(&row0, k)));
                system.add(&whitened, weight * (y - memory * y0));
            }
            None if phi > 0.0 => {
                // A random walk may start anywhere: its first point says nothing but where.
                let weight = (1.0 - phi * phi).sqrt().max(1e-4);
                system.add(&row.map(|value| weight * value), weight * y);
            }
            _ => system.add(&row, y),
        }
        previous = Some((t, row, y));
    }
    let (factors, inverse) = system.solve()?;
    let degrees = (points.len() as f64 - K as f64).max(1.0);
    let innovations = system.squares_left(&factors).max(0.0);
    let variance = innovations / degrees;
    let errors = inverse.map(|diagonal| (variance * diagonal).max(0.0).sqrt());
    let squares = points.iter().map(|&(t, y)| (y - value(&factors, &shapes(t))).powi(2)).sum();
    Some(Fit { factors, errors, squares, innovations })
}

impl<const K: usize> Fit<K> {
    /// What of the points the fit does not explain.
    pub(in super::super) fn residuals(
        &self,
        points: &[(f64, f64)],
        shapes: impl Fn(f64) -> [f64; K],
    ) -> Vec<f64> {
        points.iter().map(|&(t, y)| y - value(&self.factors, &shapes(t))).collect()
    }
}

fn value<const K: usize>(factors: &[f64; K], row: &[f64; K]) -> f64 {
    factors.iter().zip(row).map(|(factor, shape)| factor * shape).sum()
}

fn at<const K: usize>(row: &[f64; K], k: usize) -> f64 {
    row.get(k).copied().unwrap_or(0.0)
}

/// How much of an error is left after so many steps, and the weight of what is new.
fn transition(phi: f64, steps: f64) -> (f64, f64) {
    if phi >= 1.0 {
        return (1.0, (1.0 / steps).sqrt());
    }
    let memory = phi.powf(steps);
    (memory, ((1.0 - phi * phi) / (1.0 - memory * memory)).sqrt())
}

fn typical_step(points: &[(f64, f64)]) -> f64 {
    let mut steps: Vec<f64> = points.iter().zip(points.iter().skip(1)).map(|(a, b)| b.0 - a.0).collect();
    super::robust::median(&mut steps).max(f64::MIN_POSITIVE)
}

/// The normal equations.
struct Normal<const K: usize> {
    products: [[f64; K]; K],
    with_y: [f64; K],
    y_squared: f64,
}

impl<const K: usize> Default for Normal<K> {
    fn default() -> Self {
        Self { products: [[0.0; K]; K], with_y: [0.0; K], y_squared: 0.0 }
    }
}

impl<const K: usize> Normal<K> {
    fn add(&mut self, row: &[f64; K], y: f64) {
        for ((products, with_y), a) in self.products.iter_mut().zip(&mut self.with_y).zip(row) {
            for (product, b) in products.iter_mut().zip(row) {
                *product += a * b;
            }
            *with_y += a * y;
        }
        self.y_squared += y * y;
    }

    fn squares_left(&self, factors: &[f64; K]) -> f64 {
        self.y_squared - value(factors, &self.with_y)
    }

    /// The factors, and the diagonal of the inverse: Gauss and Jordan with the largest pivot.
    fn solve(&self) -> Option<([f64; K], [f64; K])> {
        let mut left = self.products;
        let mut inverse: [[f64; K]; K] =
            std::array::from_fn(|i| std::array::from_fn(|j| f64::from(u8::from(i == j))));
        let size = left.iter().enumerate().map(|(i, row)| at(row, i)).fold(0.0, f64::max);
        for column in 0..K {
            let pivot =
                (column..K).max_by(|&a, &b| entry(&left, a, column).total_cmp(&entry(&left, b, column)))?;
            left.swap(column, pivot);
            inverse.swap(column, pivot);
            let divisor = left.get(column)?.get(column).copied()?;
            if divisor.abs() <= 1e-11 * size || !divisor.is_finite() {
                return None;
            }
            let (base, base_inverse) = (*left.get(column)?, *inverse.get(column)?);
            for (index, (row, row_inverse)) in left.iter_mut().zip(&mut inverse).enumerate() {
                let factor = if index == column { 1.0 - 1.0 / divisor } else { at(row, column) / divisor };
                for (value, from) in row.iter_mut().zip(&base) {
                    *value -= factor * from;
                }
                for (value, from) in row_inverse.iter_mut().zip(&base_inverse) {
                    *value -= factor * from;
                }
            }
        }
        let factors = inverse.map(|row| value(&row, &self.with_y));
        let diagonal = std::array::from_fn(|k| inverse.get(k).map_or(0.0, |row| at(row, k)));
        factors.iter().all(|factor| factor.is_finite()).then_some((factors, diagonal))
    }
}

fn entry<const K: usize>(rows: &[[f64; K]; K], row: usize, column: usize) -> f64 {
    rows.get(row).map_or(0.0, |row| at(row, column).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(t: f64) -> [f64; 2] {
        [1.0, t]
    }

    #[test]
    fn the_textbook_line() {
        // x 1..5, y 2 4 5 4 5: slope 0.6, intercept 2.2, residual squares 2.4, error of the slope √(0.8/10).
        let points = [(1.0, 2.0), (2.0, 4.0), (3.0, 5.0), (4.0, 4.0), (5.0, 5.0)];
        let fit = fit(&points, Noise::WHITE, line).unwrap();
        assert!((fit.factors[0] - 2.2).abs() < 1e-9 && (fit.factors[1] - 0.6).abs() < 1e-9);
        assert!((fit.squares - 2.4).abs() < 1e-9);
        assert!((fit.errors[1] - 0.08_f64.sqrt()).abs() < 1e-9);
        let residuals = fit.residuals(&points, line);
        assert!((residuals[1] - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_walk_is_fitted_by_its_differences() {
        // Differences 3 1 1 3: mean 2, deviation √(4/3), error of the mean that / √4.
        let points = [(0.0, 0.0), (1.0, 3.0), (2.0, 4.0), (3.0, 5.0), (4.0, 8.0)];
        let fit = fit(&points, Noise { correlation: 1.0 }, line).unwrap();
        assert!((fit.factors[1] - 2.0).abs() < 1e-6);
        assert!((fit.errors[1] - (4.0_f64 / 3.0).sqrt() / 2.0).abs() < 1e-4, "{:?}", fit.errors);
    }

    #[test]
    fn shapes_that_are_the_same_are_refused() {
        let points = [(0.0, 0.0), (1.0, 3.0), (2.0, 4.0)];
        assert!(fit(&points, Noise::WHITE, |t| [t, 2.0 * t]).is_none());
        assert!(fit(&[], Noise::WHITE, line).is_none());
    }

    #[test]
    fn the_kind_of_noise_is_found() {
        assert_eq!(Noise::of(&[0.0; 20], 2), Noise::WHITE);
        let slow: Vec<f64> = (0..40).map(|i| (f64::from(i) / 10.0).cos()).collect();
        assert_eq!(Noise::of(&slow, 2), Noise { correlation: 1.0 });
        assert!((Noise { correlation: 0.5 }.effective(30) - 10.0).abs() < 1e-9);
        assert!((Noise { correlation: 1.0 }.effective(30) - 2.0).abs() < 1e-9);
    }
}
