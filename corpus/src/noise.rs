//! What lies over a series.

use crate::{clock::Clock, dice::Dice};

/// Noise with a standard deviation of 1, and how many independent values it is worth.
#[derive(Clone, Debug)]
pub(crate) struct Noise {
    pub(crate) values: Vec<f64>,
    /// Of a mean over the window: the number of points for white noise, less where neighbours agree.
    pub(crate) independent: f64,
}

#[derive(Clone, Copy)]
enum Kind {
    White,
    Correlated,
    Heavy,
    Sawtooth,
    Uniform,
}

impl Noise {
    /// Draws white noise, AR(1), heavy tails, flat noise, or an irregular sawtooth as garbage collection makes it.
    pub(crate) fn draw(dice: &mut Dice, clock: &Clock) -> Self {
        let kind = dice.pick(&[
            (0.34, Kind::White),
            (0.30, Kind::Correlated),
            (0.15, Kind::Heavy),
            (0.13, Kind::Sawtooth),
            (0.08, Kind::Uniform),
        ]);
        Self::of(dice, clock, kind)
    }

    /// Draws noise whose neighbours say nothing about each other.
    pub(crate) fn draw_independent(dice: &mut Dice, clock: &Clock) -> Self {
        let kind = dice.pick(&[(0.6, Kind::White), (0.25, Kind::Heavy), (0.15, Kind::Uniform)]);
        Self::of(dice, clock, kind)
    }

    fn of(dice: &mut Dice, clock: &Clock, kind: Kind) -> Self {
        let count = clock.len();
        let all = count as f64;
        match kind {
            Kind::White => Self { values: (0..count).map(|_| dice.normal()).collect(), independent: all },
            Kind::Heavy => Self { values: (0..count).map(|_| dice.heavy()).collect(), independent: all },
            Kind::Uniform => {
                let half = 3.0_f64.sqrt();
                Self { values: (0..count).map(|_| dice.uniform(-half, half)).collect(), independent: all }
            }
            Kind::Correlated => correlated(dice, count),
            Kind::Sawtooth => sawtooth(dice, count),
        }
    }
}

/// AR(1), never so slow that the window holds less than ten independent values: that would be a trend to anyone.
fn correlated(dice: &mut Dice, count: usize) -> Noise {
    let least = (10.0 / count as f64).max(0.02);
    let slowest = ((1.0 - least) / (1.0 + least)).max(0.1);
    let phi = dice.uniform(0.2_f64.min(slowest), slowest.min(0.96));
    let mut value = dice.normal();
    let values = (0..count).map(|_| {
        value = phi * value + (1.0 - phi * phi).sqrt() * dice.normal();
        value
    });
    Noise { values: values.collect(), independent: count as f64 * (1.0 - phi) / (1.0 + phi) }
}

/// Rises and falls again, at lengths and heights that vary so much that no period is there. A window holds sixteen teeth
/// or more: a few long ones would be cycles, or bends, to anyone.
fn sawtooth(dice: &mut Dice, count: usize) -> Noise {
    let length = dice.log_uniform(4.0, (count as f64 / 16.0).max(5.0));
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let points = (length * (0.15 + 1.2 * dice.exponential())).max(2.0);
        let height = dice.uniform(0.5, 1.5);
        values.extend((0..points as usize).map(|i| height * i as f64 / points));
    }
    values.truncate(count);
    let mean = values.iter().sum::<f64>() / count as f64;
    let sd = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count as f64).sqrt().max(1e-9);
    let values = values.iter().map(|v| (v - mean) / sd).collect();
    Noise { values, independent: (count as f64 / length).max(4.0) }
}
