//! From a shape in units of its own to bytes.

use crate::{
    clock::Clock,
    dice::Dice,
    labelled::{Class, Labelled},
};

/// A series whose amplitude is about 1, before it is scaled to bytes.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// How it was made.
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) clock: Clock,
    /// What would be seen without noise.
    pub(crate) shape: Vec<f64>,
    /// What is put on top.
    pub(crate) noise: Vec<f64>,
    /// Standard deviation of the noise.
    pub(crate) noise_sd: f64,
    /// True growth per window, where there is one rate.
    pub(crate) rate: Option<f64>,
    pub(crate) ease: f64,
}

impl Draft {
    /// Scales to 10 KB..10 GB of whole bytes, and adds what instruments add: rounding, ratchets, wrong readings.
    pub(crate) fn finish(self, dice: &mut Dice) -> Labelled {
        let is_ratchet = self.may_be_ratchet() && dice.chance(0.15);
        let mut values: Vec<f64> = self.shape.iter().zip(&self.noise).map(|(s, e)| s + e).collect();
        if is_ratchet {
            ratchet(&mut values);
        }
        if !is_ratchet && self.noise_sd > 0.0 && dice.chance(0.2) {
            self.outliers(dice, &mut values);
        }
        let (low, high) = range(&values);
        let drawn = if dice.chance(0.3) { 0.0 } else { dice.log_uniform(0.02, 50.0) };
        let floor = drawn.max(-low);
        let peak = dice.log_uniform(1e4, 1e10);
        let scale = peak / (floor + high).max(1e-9);
        let grain = grain(dice, scale, is_ratchet);
        let to_bytes = |value: f64| ((floor + value).max(0.0) * scale / grain).round() * grain;
        let points = self.clock.seconds.iter().zip(&values).map(|(&t, &v)| (t, to_bytes(v) as u64)).collect();
        let mut labelled = Labelled {
            name: self.name.to_owned(),
            class: self.class,
            rate: None,
            noise_sd: self.noise_sd * scale,
            may_be_insufficient: self.clock.len() < 30,
            ease: self.ease,
            points,
        };
        labelled.rate = self.rate.map(|rate| rate * scale / labelled.span_s().max(f64::MIN_POSITIVE));
        labelled
    }

    /// A ratchet over noise makes treads. They must not be seen where the shape has none: in straight growth they may
    /// last two points.
    fn may_be_ratchet(&self) -> bool {
        match self.class {
            Class::Linear => self.noise_sd * (self.clock.len() as f64) < 1.0,
            Class::Staircase | Class::Spike => self.noise_sd < 0.05,
            Class::Warmup => self.noise_sd < 0.02,
            _ => false,
        }
    }

    /// Single readings far off, up to 2 % of all: never two in a row, so that no step can be seen in them.
    fn outliers(&self, dice: &mut Dice, values: &mut [f64]) {
        let share = dice.log_uniform(0.002, 0.02);
        let (low, high) = range(&self.shape);
        let far = (self.noise_sd * dice.uniform(6.0, 15.0)).max(0.3 * (high - low) * dice.unit());
        let is_upwards = dice.chance(0.8);
        let mut was_hit = true;
        for value in values {
            was_hit = !was_hit && dice.chance(share);
            if was_hit {
                *value += if is_upwards { far } else { -far } * dice.uniform(0.6, 1.4);
            }
        }
    }
}

/// The resident set of an allocator that gives nothing back: the highest so far.
fn ratchet(values: &mut [f64]) {
    let mut highest = f64::NEG_INFINITY;
    for value in values {
        highest = highest.max(*value);
        *value = highest;
    }
}

/// Bytes to which values are rounded: one, a size class, or a page; never so coarse that a shape turns into steps.
fn grain(dice: &mut Dice, bytes_per_amplitude: f64, is_ratchet: bool) -> f64 {
    let wanted = if is_ratchet { 4096.0 } else { dice.pick(&[(0.75, 1.0), (0.1, 16.0), (0.15, 4096.0)]) };
    if bytes_per_amplitude > 400.0 * wanted { wanted } else { 1.0 }
}

pub(crate) fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)))
}
