//! Cycles, with rising low points (a leak) or with flat ones (bounded).
//!
//! Rule of the label: at least four whole cycles, four of which (and four of five of all) have at least five points
//! each; lengths of cycles vary by at most a fifth; from low to high is at least 3.5 standard deviations of the noise
//! (7 where its neighbours agree).
//! Rising: over the window the low points rise by at least 0.22 of a cycle's height and 4 standard deviations of the
//! noise, but by no more than half its height within one cycle, so that there are low points to be seen. Flat: every
//! cycle comes back to the same floor, whatever its height.

use std::f64::consts::TAU;

use super::noise_under;
use crate::{
    clock::Clock,
    dice::{Dice, log_between},
    draft::Draft,
    labelled::Class,
};

#[derive(Clone, Copy)]
enum Wave {
    Sine,
    Sawtooth,
    Decay,
    Square,
    Burst,
    Triangle,
    Dip,
    Fill,
}

/// Where a cycle begins and ends as shares of the window, how high it is, and the floor under it.
struct Cycle {
    from: f64,
    to: f64,
    height: f64,
}

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64, is_rising: bool) -> Option<Draft> {
    let most = (clock.len() / 7).min(60);
    if most < 4 {
        return None;
    }
    let count = if dice.chance(0.5) { dice.whole(4, most.min(8)) } else { dice.whole(4, most) };
    let cycles = cycles(dice, count, ease, is_rising);
    let (wave_name, wave) = dice.pick(&[
        (0.2, ("sine", Wave::Sine)),
        (0.22, ("sawtooth", Wave::Sawtooth)),
        (0.06, ("dip", Wave::Dip)),
        (0.06, ("fill", Wave::Fill)),
        (0.1, ("decay", Wave::Decay)),
        (0.16, ("square", Wave::Square)),
        (0.16, ("burst", Wave::Burst)),
        (0.1, ("triangle", Wave::Triangle)),
    ]);
    let busy = match wave {
        Wave::Burst => dice.uniform(0.12, 0.3),
        Wave::Dip => dice.uniform(0.15, 0.35),
        Wave::Square => dice.uniform(0.3, 0.7),
        _ => 1.0,
    };
    if !is_sampled(&clock, &cycles, busy) {
        return None;
    }
    let (noise, noise_sd) = noise_under(dice, &clock, 1.0, 3.5, ease);
    let rise = if is_rising { rise(dice, count, noise_sd, ease)? } else { 0.0 };
    let is_stepped = is_rising && dice.chance(0.35);
    let shape = clock.share.iter().map(|&u| {
        let Some(index) = cycles.iter().position(|c| u < c.to) else { return rise };
        let cycle = &cycles[index];
        let within = ((u - cycle.from) / (cycle.to - cycle.from)).clamp(0.0, 1.0);
        let floor = if is_stepped { index as f64 / (count - 1) as f64 } else { u };
        rise * floor + cycle.height * wave_at(wave, within, busy)
    });
    let shape = shape.collect();
    // A floor that rises at the end of each cycle does so once less than there are cycles.
    let rate = if is_stepped { rise * count as f64 / (count - 1) as f64 } else { rise };
    let class = if is_rising { Class::PeriodicRising } else { Class::PeriodicFlat };
    let name = names(is_rising, wave_name);
    Some(Draft { name, class, clock, shape, noise, noise_sd, rate: Some(rate), ease })
}

/// Cycles that fill the window; the first may have begun before it, the last may end after it.
fn cycles(dice: &mut Dice, count: usize, ease: f64, is_rising: bool) -> Vec<Cycle> {
    let jitter = if dice.chance(0.4) { 0.0 } else { dice.uniform(0.0, log_between(0.2, 0.05, ease)) };
    let unevenness = if dice.chance(0.5) { 0.0 } else { dice.uniform(0.0, 0.2) };
    // Peaks that grow over a floor that does not: only the floor tells.
    let swell = if !is_rising && dice.chance(0.12) { dice.uniform(-0.6, 1.5) } else { 0.0 };
    let lengths: Vec<f64> = (0..=count).map(|_| dice.around_one(jitter)).collect();
    // As many whole cycles as `count`, and a piece of another.
    let piece = dice.unit() * lengths[count];
    let total: f64 = lengths[..count].iter().sum::<f64>() + piece;
    let lead = dice.unit() * piece;
    let mut from = -lead / total;
    let mut all = Vec::with_capacity(count + 2);
    for (index, length) in lengths.iter().enumerate() {
        let to = from + length / total;
        let height = dice.around_one(unevenness) * (1.0 + swell * index as f64 / count as f64);
        all.push(Cycle { from, to, height });
        from = to;
    }
    if from < 1.0 {
        all.push(Cycle { from, to: from + 1.0 / total, height: 1.0 + swell });
    }
    all
}

/// How far low points rise over the window, in heights of a cycle.
fn rise(dice: &mut Dice, count: usize, noise_sd: f64, ease: f64) -> Option<f64> {
    let least = log_between(0.22, 0.6, ease).max(4.0 * noise_sd);
    let most = (0.5 * count as f64).min(5.0);
    (least < most).then(|| dice.log_uniform(least, most))
}

/// Whether cycles, and the busy part of each, have enough points to be seen.
fn is_sampled(clock: &Clock, cycles: &[Cycle], busy: f64) -> bool {
    let inside: Vec<&Cycle> = cycles.iter().filter(|c| c.from >= 0.0 && c.to <= 1.0).collect();
    let is_seen = |c: &&&Cycle| {
        let middle = c.from + (c.to - c.from) * busy;
        clock.points_within(c.from, c.to) >= 5 && clock.points_within(c.from, middle) >= 2
    };
    let seen = inside.iter().filter(is_seen).count();
    seen >= 4 && seen * 5 >= inside.len() * 4
}

/// Height of a wave at a share of its cycle, 0..=1; 0 where it begins.
fn wave_at(wave: Wave, within: f64, busy: f64) -> f64 {
    match wave {
        Wave::Sine => 0.5 - 0.5 * (TAU * within).cos(),
        Wave::Sawtooth => within,
        Wave::Decay => (-4.0 * within).exp(),
        Wave::Square => f64::from(u8::from(within < busy)),
        Wave::Burst if within < busy => (TAU * 0.5 * within / busy).sin(),
        Wave::Burst => 0.0,
        // Where nothing is kept for long, but something nearly always is.
        Wave::Dip => f64::from(u8::from(within >= busy)),
        // A cache that fills, and is cleared.
        Wave::Fill => 1.0 - (-5.0 * within).exp(),
        Wave::Triangle => 1.0 - (2.0 * within - 1.0).abs(),
    }
}

fn names(is_rising: bool, wave: &str) -> &'static str {
    match (is_rising, wave) {
        (true, "sine") => "periodic_rising/sine",
        (true, "sawtooth") => "periodic_rising/sawtooth",
        (true, "decay") => "periodic_rising/decay",
        (true, "square") => "periodic_rising/square",
        (true, "burst") => "periodic_rising/burst",
        (true, "dip") => "periodic_rising/dip",
        (true, "fill") => "periodic_rising/fill",
        (true, _) => "periodic_rising/triangle",
        (false, "sine") => "periodic_flat/sine",
        (false, "sawtooth") => "periodic_flat/sawtooth",
        (false, "decay") => "periodic_flat/decay",
        (false, "square") => "periodic_flat/square",
        (false, "burst") => "periodic_flat/burst",
        (false, "dip") => "periodic_flat/dip",
        (false, "fill") => "periodic_flat/fill",
        (false, _) => "periodic_flat/triangle",
    }
}
