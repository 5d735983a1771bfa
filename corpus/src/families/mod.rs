//! The families of series, one file a class (two for the cycles that share one).

mod linear;
mod periodic;
mod shrinking;
mod spike;
mod staircase;
mod steady;
mod walk;
mod warmup;

use crate::{
    clock::Clock,
    dice::{Dice, log_between},
    labelled::{Class, Labelled},
    noise::Noise,
};

/// Fewer points are left where gaps eat a short series; nobody could label that.
const FEWEST: usize = 12;

/// Draws series of this class until one is what its label says.
pub(crate) fn draw(dice: &mut Dice, class: Class) -> Labelled {
    loop {
        // More hard ones than easy ones: those are where detectors differ.
        let ease = dice.unit().powf(2.0);
        let clock = Clock::draw(dice);
        if clock.len() < FEWEST {
            continue;
        }
        let draft = match class {
            Class::Linear => linear::draw(dice, clock, ease),
            Class::Staircase => staircase::draw(dice, clock, ease),
            Class::PeriodicRising => periodic::draw(dice, clock, ease, true),
            Class::PeriodicFlat => periodic::draw(dice, clock, ease, false),
            Class::Spike => spike::draw(dice, clock, ease),
            Class::Warmup => warmup::draw(dice, clock, ease),
            Class::Steady => steady::draw(dice, clock, ease),
            Class::Shrinking => shrinking::draw(dice, clock, ease),
        };
        if let Some(draft) = draft {
            return draft.finish(dice);
        }
    }
}

/// Noise under jumps or cycles of this height: at its hardest this many standard deviations high, twice as many where
/// neighbours of the noise agree.
fn noise_under(dice: &mut Dice, clock: &Clock, height: f64, hardest: f64, ease: f64) -> (Vec<f64>, f64) {
    if clock.is_live_tick || dice.chance(0.12) {
        return (vec![0.0; clock.len()], 0.0);
    }
    let (noise, least) = if dice.chance(0.25) {
        (Noise::draw(dice, clock), 2.0 * hardest)
    } else {
        (Noise::draw_independent(dice, clock), hardest)
    };
    let sd = height / log_between(least, 200.0, ease);
    (noise.values.iter().map(|v| v * sd).collect(), sd)
}

/// Mean of the values whose instants lie in from..to; `None` with fewer than three.
fn mean_within(clock: &Clock, values: &[f64], from: f64, to: f64) -> Option<f64> {
    let inside = clock.share.iter().zip(values).filter(|(u, _)| **u >= from && **u <= to);
    let (count, sum) = inside.fold((0_u32, 0.0), |(count, sum), (_, v)| (count + 1, sum + v));
    (count >= 3).then(|| sum / f64::from(count))
}

/// From the mean of the first third to that of the last.
fn net_rise(clock: &Clock, values: &[f64]) -> Option<f64> {
    Some(mean_within(clock, values, 2.0 / 3.0, 1.0)? - mean_within(clock, values, 0.0, 1.0 / 3.0)?)
}
