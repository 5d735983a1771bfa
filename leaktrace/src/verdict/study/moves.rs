//! How far a curve goes up and down in all, small jitter left aside.

use crate::verdict::curve::Curve;

/// The ups and downs of a curve, as shares of its range.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Moves {
    /// Sum of all rises.
    pub(in super::super) up: f64,
    /// Sum of all falls.
    pub(in super::super) down: f64,
    /// Level of the last eighth less level of the first.
    pub(in super::super) net: f64,
}

impl Moves {
    pub(in super::super) fn new(curve: &Curve) -> Self {
        let threshold = (5.0 * curve.noise).clamp(0.01, 0.5);
        let mut moves = Self::default();
        let heights: Vec<f64> = curve.points.iter().map(|&(_, y)| y).collect();
        let Some(&first) = heights.first() else { return moves };
        // Turning points: a move counts once it is undone, or at the end, by at least the threshold.
        let (mut from, mut low, mut high) = (first, first, first);
        let mut rises = None;
        for &y in &heights {
            low = low.min(y);
            high = high.max(y);
            match rises {
                Some(true) if high - y > threshold => {
                    moves.up += high - from;
                    (from, low, rises) = (high, y, Some(false));
                }
                Some(false) if y - low > threshold => {
                    moves.down += from - low;
                    (from, high, rises) = (low, y, Some(true));
                }
                None if y - low > threshold => (from, high, rises) = (low, y, Some(true)),
                None if high - y > threshold => (from, low, rises) = (high, y, Some(false)),
                _ => {}
            }
        }
        match rises {
            Some(true) => moves.up += high - from,
            Some(false) => moves.down += from - low,
            None => {}
        }
        moves.net = net(&curve.even(curve.points.len().min(400)));
        moves
    }

    /// Share of the falls in all moves: 0 for what only rises, half for what comes back.
    pub(in super::super) fn falling(&self) -> f64 {
        let all = self.up + self.down;
        if all > 0.0 { self.down / all } else { 0.5 }
    }
}

fn net(points: &[(f64, f64)]) -> f64 {
    let eighth = (points.len() / 8).max(1);
    let level = |part: &[(f64, f64)]| {
        crate::verdict::statistics::median(&mut part.iter().map(|&(_, y)| y).collect::<Vec<_>>())
    };
    let first = points.get(..eighth).map_or(0.0, level);
    let last = points.len().checked_sub(eighth).and_then(|start| points.get(start..)).map_or(0.0, level);
    last - first
}
