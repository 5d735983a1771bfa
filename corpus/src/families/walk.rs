//! Random walks that stay.

use super::net_rise;
use crate::{clock::Clock, dice::Dice, draft::range};

/// A walk between walls one apart.
pub(super) fn reflected(dice: &mut Dice, clock: &Clock) -> Vec<f64> {
    let step = dice.log_uniform(0.03, 0.3);
    let mut value = dice.unit();
    let mut next = || {
        value += step * dice.normal();
        // Mirrored at both walls, however far it went.
        let folded = value.rem_euclid(2.0);
        value = if folded > 1.0 { 2.0 - folded } else { folded };
        value
    };
    (0..clock.len()).map(|_| next()).collect()
}

/// A walk that is pulled back to its mean, or one that is not, of a range of 1.
pub(super) fn free(dice: &mut Dice, clock: &Clock) -> Vec<f64> {
    let pull = if dice.chance(0.5) { 0.0 } else { dice.log_uniform(0.02, 0.2) };
    let mut value = 0.0;
    let mut next = || {
        value = (1.0 - pull) * value + dice.normal();
        value
    };
    let values: Vec<f64> = (0..clock.len()).map(|_| next()).collect();
    let (low, high) = range(&values);
    values.iter().map(|v| (v - low) / (high - low).max(1e-9)).collect()
}

/// Whether a walk visibly rises or falls: the last third lies a quarter of the range off the first, its end lies above
/// (below) nearly all it has been, or an hour of flight from its lowest goes to its end.
pub(super) fn moves_visibly(clock: &Clock, values: &[f64]) -> bool {
    let (low, high) = range(values);
    let Some(rise) = net_rise(clock, values) else { return true };
    let last =
        values.iter().rev().take(values.len().div_ceil(20)).sum::<f64>() / values.len().div_ceil(20) as f64;
    let position = (last - low) / (high - low).max(1e-9);
    rise.abs() > 0.22 * (high - low) || !(0.12..=0.85).contains(&position)
}
