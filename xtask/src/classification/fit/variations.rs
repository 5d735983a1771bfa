//! Labelled series beside the corpus: when they are sampled, what noise lies on them, how large they are.

use super::dice::Dice;
use super::signal::{Signal, signal};

/// The noise of a series.
pub(super) struct Noise {
    /// Errors of deviation about 1, one for each point.
    pub(super) errors: Vec<f64>,
    /// How many points one independent error spans.
    pub(super) memory: f64,
    /// Whether they are an irregular sawtooth.
    pub(super) is_sawtooth: bool,
    /// Whether there are none.
    pub(super) is_absent: bool,
}

/// A series of a class, by its place among the classes: seconds and bytes.
pub(super) fn variation(dice: &mut Dice, class: usize) -> Vec<(f64, f64)> {
    loop {
        let count = match dice.below(10) {
            0 => dice.range(10.0, 40.0),
            1..=3 => dice.range(30.0, 100.0),
            4..=7 => dice.log(60.0, 600.0),
            _ => dice.log(300.0, 2000.0),
        };
        let times = times(dice, count as usize);
        let noise = noise(dice, count as usize);
        if let Some(signal) = signal(dice, class, &times, noise) {
            return scaled(dice, &times, &signal);
        }
    }
}

/// Bytes: 10 KB to 10 GB on a floor or none, over seconds to weeks, with single wild points or coarse grain at times.
fn scaled(dice: &mut Dice, times: &[f64], signal: &Signal) -> Vec<(f64, f64)> {
    let scale = dice.log(1e4, 1e10);
    let span = dice.log(20.0, 1e6);
    let floor = if dice.chance(0.3) { 0.0 } else { scale * dice.log(0.05, 8.0) };
    let wild = if dice.chance(0.15) { dice.range(0.003, 0.02) } else { 0.0 };
    let grain = if dice.chance(0.1) { scale / dice.range(40.0, 400.0) } else { 1.0 };
    let heights =
        || signal.heights.iter().zip(&signal.errors).map(|(height, error)| height + signal.level * error);
    let lowest = heights().fold(f64::INFINITY, f64::min);
    let floor = floor.max(-lowest * scale);
    let points = times.iter().zip(heights()).map(|(&share, height)| {
        let stray = if dice.chance(wild) { scale * dice.range(-2.0, 4.0) } else { 0.0 };
        let bytes = floor + scale * height + stray;
        (share * span, ((bytes / grain).round() * grain).max(0.0))
    });
    points.collect()
}

/// Times from 0 to 1: even, jittered, at random, with a gap, or finer for the recent past.
fn times(dice: &mut Dice, count: usize) -> Vec<f64> {
    let running = |steps: &mut dyn FnMut(usize) -> f64| {
        let mut sum = 0.0;
        (0..count)
            .map(|index| {
                sum += steps(index);
                sum
            })
            .collect::<Vec<f64>>()
    };
    let times: Vec<f64> = match dice.below(8) {
        0 => running(&mut |_| dice.exponential() + 0.1),
        1 => (0..count).map(|index| index as f64 + dice.range(-0.3, 0.3)).collect(),
        2 => {
            let gap = dice.range(0.1, 0.8) * count as f64;
            let width = dice.range(0.05, 0.2) * count as f64;
            running(&mut |index| {
                if index as f64 > gap && index as f64 <= gap + 1.0 { 1.0 + width } else { 1.0 }
            })
        }
        3 => running(&mut |index| 2.0_f64.powi(((count - 1 - index) * 4 / count) as i32 - 1).max(1.0)),
        _ => running(&mut |_| 1.0),
    };
    let first = times.first().copied().unwrap_or(0.0);
    let span = times.last().map_or(1.0, |last| last - first);
    times.into_iter().map(|t| (t - first) / span).collect()
}

/// Noise: normal, even, with memory, an irregular sawtooth, with heavy tails, or none.
fn noise(dice: &mut Dice, count: usize) -> Noise {
    let kind = dice.below(7);
    let mut memory = 1.0;
    let errors: Vec<f64> = match kind {
        0 => (0..count).map(|_| dice.normal()).collect(),
        1 => (0..count).map(|_| dice.range(-1.7, 1.7)).collect(),
        2 => {
            let correlation = [0.3, 0.5, 0.7, 0.8, 0.9, 0.95][dice.below(6)];
            memory = (1.0 + correlation) / (1.0 - correlation);
            with_memory(dice, count, correlation)
        }
        3 => {
            memory = 2.0;
            sawtooth(dice, count)
        }
        4 => (0..count).map(|_| dice.normal() * if dice.chance(0.05) { 4.0 } else { 1.0 }).collect(),
        _ => vec![0.0; count],
    };
    Noise { errors, memory, is_sawtooth: kind == 3, is_absent: kind > 4 }
}

/// A first-order autoregression of deviation 1.
pub(super) fn with_memory(dice: &mut Dice, count: usize, correlation: f64) -> Vec<f64> {
    let fresh = (1.0 - correlation * correlation).sqrt();
    let mut error = dice.normal();
    (0..count)
        .map(|_| {
            error = correlation * error + fresh * dice.normal();
            error
        })
        .collect()
}

/// Teeth of random length and height.
fn sawtooth(dice: &mut Dice, count: usize) -> Vec<f64> {
    let usual = dice.range(4.0, (count as f64 / 6.0).max(5.0));
    let spread = dice.range(0.3, 0.9);
    let (mut left, mut length, mut height) = (0.0, 1.0, 1.0);
    (0..count)
        .map(|_| {
            if left <= 0.0 {
                length = (usual * (spread * dice.normal()).exp()).max(2.0);
                height = dice.range(0.5, 1.5);
                left = length;
            }
            left -= 1.0;
            (1.0 - left / length) * height * 3.4 - 1.7
        })
        .collect()
}
