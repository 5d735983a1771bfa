//! The one jump that would explain most.

use crate::verdict::curve::{Curve, Point, thin};
use crate::verdict::statistics::{deviation, median, theil_sen};

/// Most points that are looked at.
const MOST_POINTS: usize = 700;

/// A single jump upwards, and what there is before and after it.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Leap {
    /// When, 0..1.
    pub(in super::super) at: f64,
    /// Level after less level before, in ranges; 0 if it goes down.
    pub(in super::super) height: f64,
    /// The jump as share of the way from the lowest to the highest level of an eighth of the window, 0..1.
    pub(in super::super) share: f64,
    /// Share of it that happens within two points.
    pub(in super::super) abrupt: f64,
    /// What drift before and after adds up to, as share of the jump.
    pub(in super::super) drift: f64,
    /// How much of it is left at the end: 1 if it stays.
    pub(in super::super) stays: f64,
    /// Standard deviation around both levels.
    pub(in super::super) spread: f64,
}

impl Leap {
    pub(in super::super) fn new(curve: &Curve) -> Self {
        let points = &curve.even(curve.points.len().min(MOST_POINTS));
        let Some(place) = best_place(points) else { return Self::default() };
        let (before, after) = points.split_at(place);
        let (low, high) = (level(before), level(after));
        let height = (high - low).max(0.0);
        let near = |part: &[Point]| level(part);
        let last = near(before.get(before.len().saturating_sub(3)..).unwrap_or_default());
        // A jump may take a point or two.
        let first = near(after.get(1..after.len().min(5)).filter(|part| !part.is_empty()).unwrap_or(after));
        let drift = drift(before).abs() + drift(after).abs();
        let mut strays: Vec<f64> =
            before.iter().map(|p| p.1 - low).chain(after.iter().map(|p| p.1 - high)).collect();
        let (lowest, highest) = levels(points);
        let over = |value: f64| if height > 0.0 { value / height } else { 0.0 };
        Self {
            at: after.first().map_or(1.0, |point| point.0),
            height,
            share: (height / (highest - lowest).max(1e-9)).min(1.0),
            abrupt: over((first - last).clamp(0.0, height)),
            stays: over(
                (level(
                    points
                        .get(points.len() - (points.len() / 16).max(2).min(points.len())..)
                        .unwrap_or(after),
                ) - low)
                    .max(-height),
            )
            .min(2.0),
            drift: if height > 0.0 { (drift / height).min(2.0) } else { 2.0 },
            spread: deviation(&mut strays),
        }
    }
}

/// The first index of the second part when both parts lie closest to their means.
fn best_place(points: &[Point]) -> Option<usize> {
    let total: f64 = points.iter().map(|point| point.1).sum();
    let n = points.len() as f64;
    let mut sum = 0.0;
    let mut best = None;
    let mut most = 0.0;
    for (index, point) in points.iter().enumerate().take(points.len().saturating_sub(2)) {
        sum += point.1;
        let (left, right) = ((index + 1) as f64, n - (index + 1) as f64);
        let gain = sum * sum / left + (total - sum).powi(2) / right;
        if index >= 1 && (best.is_none() || gain > most) {
            (best, most) = (Some(index + 1), gain);
        }
    }
    best
}

fn level(part: &[Point]) -> f64 {
    median(&mut part.iter().map(|point| point.1).collect::<Vec<_>>())
}

/// What the slope of a part adds up to over its length.
fn drift(part: &[Point]) -> f64 {
    let length = part.last().zip(part.first()).map_or(0.0, |(last, first)| last.0 - first.0);
    if part.len() < 4 { 0.0 } else { theil_sen(&thin(part.to_vec(), 60)) * length }
}

/// The lowest and the highest level of an eighth.
fn levels(points: &[Point]) -> (f64, f64) {
    let levels = points.chunks(points.len().div_ceil(8).max(1)).map(level);
    levels.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), level| (low.min(level), high.max(level)))
}
