//! One abrupt large jump that stays.
//!
//! Rule of the label: one jump, within two points or 2 % of the window, between levels that do not move; five points or
//! more and a twelfth of the window on either side; at least 5 standard deviations of the noise high (10
//! where its neighbours agree). What was reached
//! may fall back by up to a quarter right after the jump, and then stays.

use super::noise_under;
use crate::{clock::Clock, dice::Dice, draft::Draft, labelled::Class};

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64) -> Option<Draft> {
    let at = dice.uniform(0.09, 0.91);
    if clock.points_within(0.0, at) < 5 || clock.points_within(at, 1.1) < 5 {
        return None;
    }
    let length = if dice.chance(0.3) { dice.uniform(0.0, 0.02) } else { 0.0 };
    let overshoot = if dice.chance(0.15) { dice.uniform(0.05, 0.25) } else { 0.0 };
    let back_within = dice.uniform(0.01, 0.05);
    let shape = clock.share.iter().map(|&u| {
        let past = u - at;
        let rise =
            if length > 0.0 { (past / length).clamp(0.0, 1.0) } else { f64::from(u8::from(past >= 0.0)) };
        rise * (1.0 + overshoot * (-(past - length).max(0.0) / back_within).exp())
    });
    let shape = shape.collect();
    let (noise, noise_sd) = noise_under(dice, &clock, 1.0, 5.0, ease);
    let name = match (overshoot > 0.0, length > 0.0) {
        (true, _) => "spike/overshooting",
        (false, true) => "spike/ramp",
        (false, false) => "spike/abrupt",
    };
    Some(Draft { name, class: Class::Spike, clock, shape, noise, noise_sd, rate: None, ease })
}
