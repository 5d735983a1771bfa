//! Growth that saturates: a cache that fills, lazy initialisation.
//!
//! Rule of the label: it grows over at least eight points and a twentieth of the window, and is visibly saturating:
//! what the last third grows by is at most a seventh of the growth of all before it, and either bends (exponential,
//! hyperbolic, S-shaped, of two rates) or has stopped for at least three tenths of the window. Its height is at least 4.5
//! standard deviations of the noise, and 12 standard errors of the mean of a third of the window: that it is flat at the
//! end has to be seen.

use super::mean_within;
use crate::{
    clock::Clock,
    dice::{Dice, log_between},
    draft::Draft,
    labelled::Class,
    noise::Noise,
};

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64) -> Option<Draft> {
    let delay = if dice.chance(0.2) { dice.uniform(0.02, 0.2) } else { 0.0 };
    let (name, grown_at, curve) = curve(dice, ease);
    let shape: Vec<f64> = clock.share.iter().map(|&u| curve((u - delay).max(0.0))).collect();
    if clock.points_within(delay, delay + grown_at) < 8 || delay + grown_at > 0.75 {
        return None;
    }
    let end = mean_within(&clock, &shape, 0.95, 1.0).or_else(|| shape.last().copied())?;
    let before =
        clock.share.iter().zip(&shape).filter(|(u, _)| **u <= 2.0 / 3.0).map(|(_, v)| *v).next_back()?;
    if end - before > before / 7.0 {
        return None;
    }
    let noise = Noise::draw(dice, &clock);
    let known = (noise.independent / 3.0).sqrt() / 12.0;
    let is_clean = clock.is_live_tick || dice.chance(0.12);
    let noise_sd = if is_clean { 0.0 } else { end * (1.0 / log_between(4.5, 100.0, ease)).min(known) };
    let noise = noise.values.iter().map(|v| v * noise_sd).collect();
    Some(Draft { name, class: Class::Warmup, clock, shape, noise, noise_sd, rate: None, ease })
}

type Curve = Box<dyn Fn(f64) -> f64>;

/// Name, the share of the window by which nine tenths have grown, and the curve, 0 at 0 and about 1 at the end.
fn curve(dice: &mut Dice, ease: f64) -> (&'static str, f64, Curve) {
    match dice.whole(0, 99) {
        0..32 => {
            let folds = log_between(2.8, 14.0, (ease + dice.uniform(-0.2, 0.2)).clamp(0.0, 1.0));
            ("warmup/exponential", 2.3 / folds, Box::new(move |u| 1.0 - (-folds * u).exp()))
        }
        32..58 => {
            let knee = dice.uniform(0.06, log_between(0.7, 0.4, ease));
            ("warmup/straight_then_flat", 0.9 * knee, Box::new(move |u| (u / knee).min(1.0)))
        }
        58..66 => {
            let half = dice.uniform(0.01, 0.06);
            ("warmup/hyperbolic", 9.0 * half, Box::new(move |u| u / (u + half)))
        }
        66..75 => {
            let (middle, width) = (dice.uniform(0.15, 0.4), dice.uniform(0.03, 0.07));
            let logistic = move |u: f64| 1.0 / (1.0 + (-(u - middle) / width).exp());
            let low = logistic(0.0);
            ("warmup/s_shaped", middle + 2.2 * width, Box::new(move |u| (logistic(u) - low) / (1.0 - low)))
        }
        75..85 => {
            // What is asked for often is there at once, the rest comes by and by.
            let (fast, slow) = (dice.uniform(20.0, 80.0), dice.uniform(3.6, 7.0));
            let share = dice.uniform(0.3, 0.7);
            let filled = move |u: f64| 1.0 - share * (-fast * u).exp() - (1.0 - share) * (-slow * u).exp();
            ("warmup/two_rates", 1.6 / slow, Box::new(filled))
        }
        85..92 => {
            // Tables that are doubled on the way.
            let folds = log_between(3.6, 14.0, ease);
            let (first, second) = (dice.uniform(0.05, 0.3) / folds, dice.uniform(0.5, 1.5) / folds);
            let height = dice.uniform(0.06, 0.18);
            let doubled = move |u: f64, at: f64, height: f64| if u >= at { height } else { 0.0 };
            let filled = move |u: f64| {
                (1.0 - 1.5 * height) * (1.0 - (-folds * u).exp())
                    + doubled(u, first, 0.5 * height)
                    + doubled(u, second, height)
            };
            ("warmup/with_jumps", 2.3 / folds, Box::new(filled))
        }
        _ => {
            let (knee, share) = (dice.uniform(0.1, 0.25), dice.uniform(0.4, 0.7));
            let second = dice.uniform(0.3, 0.5);
            let stage = move |u: f64| share * (u / knee).min(1.0) + (1.0 - share) * (u / second).min(1.0);
            ("warmup/two_stages", 0.9 * second, Box::new(stage))
        }
    }
}
