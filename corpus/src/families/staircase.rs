//! Jumps with flat treads, never back down.
//!
//! Rule of the label: at least four jumps. Each takes at most a tenth of the mean tread or two points, each tread (also
//! the first and the last) has at least three points, the mean tread six; a jump is at least 3.2 standard deviations of
//! the noise high (twice that where neighbours of the noise agree), and of like size (a fifth to five times the mean). It has not
//! visibly stopped: the second half of the window holds 0.3 to 0.7 of the way up, the last tread is at most one and a
//! half times the longest before it. The rate is that of the whole way up over the
//! window, for regular steps only; with steps that come as they like a window says little about the long run.

use super::noise_under;
use crate::{
    clock::Clock,
    dice::{Dice, log_between},
    draft::Draft,
    labelled::Class,
};

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64) -> Option<Draft> {
    let most = (clock.len() / 6).min(40);
    if most < 4 {
        return None;
    }
    let steps = if dice.chance(0.5) { dice.whole(4, most.min(8)) } else { dice.whole(4, most) };
    let is_regular = dice.chance(0.45);
    let spread =
        if is_regular { dice.uniform(0.0, 0.06) } else { dice.uniform(0.15, log_between(0.9, 0.4, ease)) };
    let treads: Vec<f64> = (0..=steps).map(|_| dice.around_one(spread)).collect();
    let total: f64 = treads.iter().sum();
    let slope = if dice.chance(0.3) { dice.uniform(0.0, 0.1) / total } else { 0.0 };
    let unevenness = if is_regular { dice.uniform(0.0, 0.1) } else { dice.uniform(0.0, 0.6) };
    let heights: Vec<f64> = (0..steps).map(|_| dice.around_one(unevenness).clamp(0.2, 5.0)).collect();
    let edges: Vec<f64> = treads[..steps]
        .iter()
        .scan(0.0, |at, tread| {
            *at += tread / total;
            Some(*at)
        })
        .collect();
    if !has_points(&clock, &edges) {
        return None;
    }
    let at = |u: f64| -> f64 {
        edges.iter().zip(&heights).map(|(edge, height)| height * ramp(u - edge, slope)).sum()
    };
    let second_half = 1.0 - at(0.5) / heights.iter().sum::<f64>();
    let longest = treads[..steps].iter().copied().fold(0.0, f64::max);
    if !(0.3..=0.7).contains(&second_half) || treads[steps] > 1.5 * longest {
        return None;
    }
    let shape: Vec<f64> = clock.share.iter().map(|&u| at(u)).collect();
    let lowest = heights.iter().copied().fold(f64::INFINITY, f64::min);
    let (noise, noise_sd) = noise_under(dice, &clock, lowest, 3.2, ease);
    let rate = is_regular.then(|| heights.iter().sum::<f64>() * (steps + 1) as f64 / steps as f64);
    // The first tread may be cut short: whoever attaches does so at any phase. Here treads count in full, and so the
    // rate is a step's height over a tread's length.
    let name = if is_regular { "staircase/regular" } else { "staircase/irregular" };
    Some(Draft { name, class: Class::Staircase, clock, shape, noise, noise_sd, rate, ease })
}

/// 0 before the edge, 1 after it, straight for `length` in between.
fn ramp(past: f64, length: f64) -> f64 {
    if length > 0.0 { (past / length).clamp(0.0, 1.0) } else { f64::from(u8::from(past >= 0.0)) }
}

/// Whether each tread has three points or more.
fn has_points(clock: &Clock, edges: &[f64]) -> bool {
    let mut from = 0.0;
    edges.iter().chain(&[1.1]).all(|&to| {
        let count = clock.points_within(from, to);
        from = to;
        count >= 3
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_goes_from_nothing_to_all() {
        assert_eq!((ramp(-0.1, 0.0), ramp(0.0, 0.0)), (0.0, 1.0));
        assert_eq!((ramp(-0.1, 0.2), ramp(0.1, 0.2), ramp(0.3, 0.2)), (0.0, 0.5, 1.0));
    }
}
