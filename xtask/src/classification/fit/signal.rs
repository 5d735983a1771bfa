//! The shape of a series below its noise, so noisy at most that it can still be told.

use std::f64::consts::{PI, TAU};

use super::dice::Dice;
use super::variations::{Noise, with_memory};

/// A shape of height 1 and what lies on it.
pub(super) struct Signal {
    pub(super) heights: Vec<f64>,
    pub(super) errors: Vec<f64>,
    /// Deviation of the errors.
    pub(super) level: f64,
}

/// A curve over 0..1.
type Curve = Box<dyn Fn(f64) -> f64>;

/// A signal of a class; `None` where chance made one whose class cannot be seen.
pub(super) fn signal(dice: &mut Dice, class: usize, times: &[f64], noise: Noise) -> Option<Signal> {
    let mut scene = Scene {
        level: if noise.is_absent { 0.0 } else { dice.log(0.003, 0.3) },
        // What noise of deviation 1 makes of a slope over the window.
        slope_error: (12.0 * noise.memory / times.len() as f64).sqrt().min(2.5),
        times,
        noise,
    };
    let heights = match class {
        0 => scene.growth(dice),
        1 => scene.staircase(dice)?,
        2 | 3 => scene.cycles(dice, class == 2)?,
        4 => scene.spike(dice)?,
        5 => scene.warmup(dice)?,
        6 => scene.steady(dice),
        _ => scene.decline(dice),
    };
    Some(Signal { heights, errors: scene.noise.errors, level: scene.level })
}

struct Scene<'a> {
    times: &'a [f64],
    noise: Noise,
    level: f64,
    slope_error: f64,
}

impl Scene<'_> {
    fn count(&self) -> usize {
        self.times.len()
    }

    fn draw(&self, curve: impl Fn(f64) -> f64) -> Vec<f64> {
        self.times.iter().map(|&x| curve(x)).collect()
    }

    fn within(&self, from: f64, to: f64) -> usize {
        self.times.iter().filter(|&&x| x >= from && x < to).count()
    }

    fn growth(&mut self, dice: &mut Dice) -> Vec<f64> {
        self.level = self.level.min((1.0 / (5.0 * self.slope_error)).min(0.6));
        match dice.below(10) {
            0..=3 => {
                if dice.chance(0.4) {
                    self.noise.errors = (0..self.count()).map(|_| dice.normal()).collect();
                }
                self.draw(|x| x)
            }
            4 => {
                let power = dice.range(1.2, 3.0);
                self.draw(|x| x.powf(power))
            }
            5 | 8 => {
                let late = dice.range(0.6, 0.94);
                let is_late = dice.chance(0.5) && self.within(late, 1.1) >= 8;
                let start = if is_late { late } else { dice.range(0.1, 0.6) };
                self.level = self.level.min((1.0 - start).powf(1.5) / (5.0 * self.slope_error)).min(0.25);
                self.draw(|x| ((x - start) / (1.0 - start)).max(0.0))
            }
            6 | 7 => {
                let (curve, settled) = loop {
                    let candidate = saturating(dice);
                    if candidate.1 <= 0.5 {
                        break candidate;
                    }
                };
                let height = dice.log(0.3, 3.0);
                let visible = (1.0 - settled).powf(1.5) / (5.0 * self.slope_error);
                self.level = self.level.min(visible).min(0.15 * (1.0 + height));
                self.draw(|x| (curve(x) * height + x) / (1.0 + height))
            }
            _ if dice.chance(0.5) => {
                let blocks = dice.range(60.0, 500.0).max(self.count() as f64 / 2.0);
                let mut births: Vec<f64> = (0..blocks as usize).map(|_| dice.unit()).collect();
                births.sort_unstable_by(f64::total_cmp);
                self.draw(|x| births.partition_point(|&birth| birth <= x) as f64 / blocks)
            }
            _ => {
                let bow = dice.range(0.2, 0.9);
                self.draw(|x| (1.0 - (-bow * x).exp()) / (1.0 - (-bow).exp()))
            }
        }
    }

    fn staircase(&mut self, dice: &mut Dice) -> Option<Vec<f64>> {
        let most = (self.count() / 5).min(if dice.chance(0.85) { 12 } else { 24 });
        let steps = 4 + dice.below(most.checked_sub(3)?);
        let (phase, manner) = (dice.range(0.15, 0.95), dice.below(3));
        let mut edges: Vec<f64> = (0..steps)
            .map(|index| match manner {
                0 => (index as f64 + phase) / steps as f64,
                1 => (index as f64 + 0.55 + dice.range(-0.3, 0.3)) / steps as f64,
                _ => dice.range(0.03, 0.97),
            })
            .collect();
        edges.sort_unstable_by(f64::total_cmp);
        let treads = || edges.iter().zip(edges.iter().skip(1));
        let is_resolved =
            treads().all(|(from, to)| to - from > 4.0 / self.count() as f64 && self.within(*from, *to) >= 3);
        if !is_resolved || edges.last().is_none_or(|&last| last < 0.6) {
            return None;
        }
        let spread = if dice.chance(0.5) { 0.0 } else { dice.range(0.1, 0.5) };
        let heights: Vec<f64> = (0..steps).map(|_| (spread * dice.normal()).exp()).collect();
        let total: f64 = heights.iter().sum();
        let largest = heights.iter().copied().fold(0.0, f64::max) / total;
        let smallest = heights.iter().copied().fold(f64::INFINITY, f64::min) / total;
        if largest > 0.55 {
            return None;
        }
        let ramp = if dice.chance(0.2) { dice.range(0.05, 0.2) / steps as f64 } else { 1e-9 };
        let (tread, memory) = (self.count() as f64 / steps as f64, self.noise.memory);
        let visible = smallest * (tread / memory.min(8.0)).sqrt() / 5.0;
        let usual = 0.28 / steps as f64 / memory.min(4.0).sqrt();
        self.level = self.level.min(visible).min(usual).min(smallest / 3.0);
        let risen = |x: f64, edge: f64| ((x - edge) / ramp).clamp(0.0, 1.0);
        Some(self.draw(|x| {
            edges.iter().zip(&heights).map(|(&edge, height)| height / total * risen(x, edge)).sum()
        }))
    }

    fn cycles(&mut self, dice: &mut Dice, is_rising: bool) -> Option<Vec<f64>> {
        let fewest_points = if dice.chance(0.3) { 4.8 } else { 7.0 };
        let most = (self.count() as f64 / fewest_points).min(if dice.chance(0.7) { 12.0 } else { 50.0 });
        if most < 4.2 {
            return None;
        }
        let cycles = dice.log(4.1, most);
        let wave = wave(dice);
        let jitter = if dice.chance(0.4) { dice.range(0.0, 0.1) } else { 0.0 };
        let unevenness = if dice.chance(0.4) { dice.range(0.0, 0.25) } else { 0.0 };
        let mut edges = vec![-dice.unit() / cycles];
        let mut heights = Vec::new();
        while let Some(&last) = edges.last().filter(|&&last| last < 1.05) {
            edges.push(last + (1.0 + jitter * dice.normal()).max(0.4) / cycles);
            heights.push((1.0 + unevenness * dice.normal()).max(0.3));
        }
        let inner = edges.iter().zip(edges.iter().skip(1)).filter(|(from, to)| **from >= 0.0 && **to <= 1.0);
        if inner.filter(|(from, to)| self.within(**from, **to) < 4).count() as f64 > 0.3 * cycles {
            return None;
        }
        self.level = self.level.min(if self.noise.is_sawtooth { 0.05 } else { 0.2 });
        let least = 6.0 * self.level * self.slope_error;
        let growth = if is_rising { dice.log(least.max(0.3), 6.0_f64.max(1.4 * least)) } else { 0.0 };
        self.level /= 1.0 + growth;
        Some(self.draw(|x| {
            let index = edges.partition_point(|&edge| edge <= x).clamp(1, heights.len()) - 1;
            let phase = ((x - edges[index]) / (edges[index + 1] - edges[index])).clamp(0.0, 0.999_999);
            (wave(phase) * heights[index] + growth * x) / (1.0 + growth)
        }))
    }

    fn spike(&mut self, dice: &mut Dice) -> Option<Vec<f64>> {
        let at = dice.range(0.12, 0.85);
        self.level = self.level.min(0.18);
        let ramp = if dice.chance(0.3) { 1.5 / self.count() as f64 } else { 1e-9 };
        let overshoot = if dice.chance(0.2) { dice.range(0.0, 0.4) } else { 0.0 };
        let is_seen = self.within(0.0, at) >= 5 && self.within(at + ramp, 1.1) >= 6;
        is_seen.then(|| {
            self.draw(|x| match x - at {
                before if before < 0.0 => 0.0,
                during if during < ramp => during / ramp,
                after => 1.0 + overshoot * (-after / 0.03).exp(),
            })
        })
    }

    fn warmup(&mut self, dice: &mut Dice) -> Option<Vec<f64>> {
        let (curve, settled) = saturating(dice);
        let heights = self.draw(&curve);
        let top = curve(1.0);
        let rising = heights.iter().filter(|&&height| height > 0.1 * top && height < 0.9 * top).count();
        self.level = self.level.min(0.2).min(0.1 / self.slope_error);
        (settled <= 0.92 && rising >= 4).then_some(heights)
    }

    fn steady(&mut self, dice: &mut Dice) -> Vec<f64> {
        let quiet = if self.noise.is_absent { 0.0 } else { dice.log(0.005, 0.25) };
        let count = self.count();
        self.level = 0.0;
        match dice.below(11) {
            0 => {
                let grain = if dice.chance(0.5) { 0.0 } else { dice.range(0.1, 1.5) };
                let mut place = 0.0;
                let scale = (count as f64).sqrt();
                (0..count)
                    .map(|_| {
                        place += dice.normal();
                        (place + grain * dice.normal()) / scale
                    })
                    .collect()
            }
            1 => {
                let (at, width, decays) = (dice.range(0.1, 0.7), dice.log(0.01, 0.2), dice.chance(0.4));
                self.level = quiet;
                self.draw(|x| match x - at {
                    before if before < 0.0 => 0.0,
                    after if decays => (-after / (width * 0.4)).exp(),
                    after => f64::from(u8::from(after < width)),
                })
            }
            2 => {
                let correlation = dice.range(0.9, 0.995);
                with_memory(dice, count, correlation)
            }
            3 => {
                let (cycles, phase) = (dice.range(1.5, 2.6), dice.unit());
                self.level = quiet;
                self.draw(|x| 0.5 * (TAU * (cycles * x + phase)).sin())
            }
            4 => (0..count).map(|_| dice.range(0.0, 3.0).floor()).collect(),
            _ if self.noise.is_absent => (0..count).map(|_| 1e-9 * dice.normal()).collect(),
            _ => {
                self.level = 1.0;
                vec![0.0; count]
            }
        }
    }

    fn decline(&mut self, dice: &mut Dice) -> Vec<f64> {
        self.level = self.level.min((1.0 / (5.0 * self.slope_error)).min(0.5));
        match dice.below(6) {
            0..=2 => self.draw(|x| 1.0 - x),
            3 => {
                let scale = dice.range(0.1, 0.6);
                self.draw(|x| (-x / scale).exp())
            }
            4 => {
                let steps = 3.0 + dice.below(6) as f64;
                self.level = self.level.min(0.3 / steps);
                self.draw(|x| 1.0 - (x * steps).floor() / steps)
            }
            _ => self.draw(|x| 1.0 - x.powf(1.7)),
        }
    }
}

/// Growth that saturates, and when it has.
fn saturating(dice: &mut Dice) -> (Curve, f64) {
    let start = if dice.chance(0.6) { 0.0 } else { dice.range(0.0, 0.4) };
    let left = 1.0 - start;
    match dice.below(5) {
        0 | 1 => {
            let scale = left * dice.log(0.03, 0.3);
            (Box::new(move |x| 1.0 - (-(x - start).max(0.0) / scale).exp()), start + 3.0 * scale)
        }
        2 | 3 => {
            let length = left * if dice.chance(0.25) { dice.log(0.03, 0.1) } else { dice.range(0.1, 0.72) };
            (Box::new(move |x| ((x - start) / length).clamp(0.0, 1.0)), start + length)
        }
        _ => {
            let (middle, scale) = (start + left * dice.range(0.2, 0.45), dice.range(0.03, 0.07));
            (Box::new(move |x| 1.0 / (1.0 + (-(x - middle) / scale).exp())), middle + 3.0 * scale)
        }
    }
}

/// One cycle: phase 0..1 to height 0..1.
fn wave(dice: &mut Dice) -> Curve {
    match dice.below(8) {
        0 | 1 => Box::new(|phase| 0.5 - 0.5 * (TAU * phase).cos()),
        2 => Box::new(|phase| phase),
        kind @ (3 | 4) => {
            let duty = if kind == 3 { dice.range(0.2, 0.8) } else { dice.range(0.08, 0.25) };
            Box::new(move |phase| f64::from(u8::from(phase < duty)))
        }
        5 => {
            let top = dice.range(0.2, 0.9);
            Box::new(move |phase| if phase < top { phase / top } else { (1.0 - phase) / (1.0 - top) })
        }
        6 => Box::new(|phase| (PI * phase).sin()),
        _ => {
            let second = dice.range(0.2, 0.6);
            Box::new(move |phase| {
                let low = |angle: f64| 0.5 - 0.5 * angle.cos();
                low(TAU * phase) * (1.0 - second) + second * low(2.0 * TAU * phase + 0.7)
            })
        }
    }
}
