//! No net growth: constant, noise of any kind, walks that stay, load that comes and goes, spikes that return.
//!
//! Rule of the label: the process behind it has no trend, and none shows by chance: the last third lies at most 2.2
//! standard errors off the first, for walks and load at most 0.22 of the range, and a walk does not end at its edge.
//! No four cycles of like length: a sawtooth of garbage collection is irregular here (else it is `periodic`), daily
//! load shows less than three cycles, returning spikes are at most three.

use std::f64::consts::TAU;

use super::{mean_within, net_rise, walk};
use crate::{
    clock::Clock,
    dice::Dice,
    draft::{Draft, range},
    labelled::Class,
    noise::Noise,
};

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64) -> Option<Draft> {
    let kind = dice.whole(0, 99);
    let flat = |clock: &Clock| vec![0.0; clock.len()];
    let (name, shape, sd, rate) = match kind {
        0..6 => ("steady/constant", vec![1.0; clock.len()], 0.0, Some(0.0)),
        6..44 => ("steady/noise", flat(&clock), 1.0, Some(0.0)),
        44..56 => ("steady/reflected_walk", walk::reflected(dice, &clock), 0.0, None),
        56..66 => ("steady/walk", walk::free(dice, &clock), 0.0, None),
        66..76 => ("steady/load", load(dice, &clock), dice.uniform(0.0, 0.15), None),
        76..90 => ("steady/returning", returning(dice, &clock)?, dice.uniform(0.0, 0.1), Some(0.0)),
        _ => ("steady/bursts", bursts(dice, &clock)?, dice.uniform(0.0, 0.1), Some(0.0)),
    };
    let is_wandering = matches!(kind, 44..76);
    if is_wandering && walk::moves_visibly(&clock, &shape) {
        return None;
    }
    let sd = if clock.is_live_tick && kind >= 44 { 0.0 } else { sd };
    let noise = Noise::draw(dice, &clock);
    let values: Vec<f64> = noise.values.iter().map(|v| v * sd).collect();
    let error = sd * (6.0 / noise.independent).sqrt();
    let all: Vec<f64> = shape.iter().zip(&values).map(|(s, e)| s + e).collect();
    if !is_wandering && !matches!(kind, 76..100) && net_rise(&clock, &all)?.abs() > 2.2 * error {
        return None;
    }
    Some(Draft { name, class: Class::Steady, clock, shape, noise: values, noise_sd: sd, rate, ease })
}

/// One or two days of load, and a bit.
fn load(dice: &mut Dice, clock: &Clock) -> Vec<f64> {
    let (cycles, phase, bend) = (dice.uniform(1.2, 2.7), dice.unit(), dice.uniform(1.0, 3.0));
    let day = |u: f64| (0.5 - 0.5 * (TAU * (cycles * u + phase)).cos()).powf(bend);
    clock.share.iter().map(|&u| day(u)).collect()
}

/// One to three spikes, or dips, that come back, each over at least one point and at most a third of the window.
fn returning(dice: &mut Dice, clock: &Clock) -> Option<Vec<f64>> {
    let mut values = vec![0.0; clock.len()];
    for _ in 0..dice.pick(&[(0.6, 1), (0.2, 2), (0.2, 3)]) {
        let (from, length, height) =
            (dice.uniform(0.03, 0.9), dice.log_uniform(0.01, 0.35), dice.uniform(0.6, 1.0));
        let is_abrupt = dice.chance(0.7);
        for (value, u) in values.iter_mut().zip(&clock.share) {
            let within = (u - from) / length;
            if (0.0..1.0).contains(&within) {
                *value = if is_abrupt { height } else { height * (TAU * 0.5 * within).sin() };
            }
        }
    }
    let sign = if dice.chance(0.2) { -1.0 } else { 1.0 };
    came_back(clock, &values).then(|| values.iter().map(|v| v * sign).collect())
}

/// Bursts at random instants, that last a few points.
fn bursts(dice: &mut Dice, clock: &Clock) -> Option<Vec<f64>> {
    let mean_gap = dice.uniform(0.03, 0.15);
    let mut values = vec![0.0; clock.len()];
    let mut at = mean_gap * dice.exponential();
    while at < 0.93 {
        let (length, height) = (mean_gap * dice.uniform(0.05, 0.3), dice.uniform(0.2, 1.0));
        for (value, u) in values.iter_mut().zip(&clock.share) {
            if *u >= at && *u < at + length {
                *value = height;
            }
        }
        at += length + mean_gap * (0.05 + dice.exponential());
    }
    came_back(clock, &values).then_some(values)
}

/// Whether something was seen and the end is where the start was.
fn came_back(clock: &Clock, values: &[f64]) -> bool {
    let (low, high) = range(values);
    let end = mean_within(clock, values, 0.96, 1.0).or(values.last().copied());
    high > low && end.is_some_and(|end| end == 0.0) && values.first() == Some(&0.0)
}
