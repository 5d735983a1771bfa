//! Sustained growth: steady, accelerating, after a warm-up, from an instant on, under noise or load.
//!
//! Rule of the label: growth goes on to the end of the window, and an observer who knew the kind of noise would see it:
//! growth ÷ its standard error (of a straight fit to as many independent values as there are) is at least 4 over the
//! part that grows. A warm-up before it is over within the first quarter and at most three times as large as what
//! follows, and then growth is at least 12 standard errors. What lies on top in cycles is small (a regular sawtooth of
//! eight teeth or more, at most a tenth of the growth) or too slow to count four cycles (daily load: under two and a
//! half). Growth that slows down still goes on: the last third holds at least a fifth of it. The rate is that of the part
//! that grows; none when it accelerates, slows down or walks.

use std::f64::consts::TAU;

use crate::{
    clock::Clock,
    dice::{Dice, log_between},
    draft::Draft,
    labelled::Class,
    noise::Noise,
};

#[derive(Clone, Copy)]
enum Kind {
    Steady,
    Slow,
    Accelerating,
    Exponential,
    AfterWarmup,
    FromThen,
    UnderLoad,
    UnderSawtooth,
    Drifting,
    Uneven,
    Slowing,
    Walking,
}

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64) -> Option<Draft> {
    let kind = dice.pick(&[
        (0.20, Kind::Steady),
        (0.14, Kind::Slow),
        (0.08, Kind::Accelerating),
        (0.06, Kind::Exponential),
        (0.12, Kind::AfterWarmup),
        (0.08, Kind::FromThen),
        (0.06, Kind::UnderLoad),
        (0.08, Kind::UnderSawtooth),
        (0.06, Kind::Drifting),
        (0.06, Kind::Uneven),
        (0.04, Kind::Slowing),
        (0.04, Kind::Walking),
    ]);
    // How much of the window grows, and how strongly that shows against the noise.
    let (name, part, shape) = shape(dice, &clock, ease, kind)?;
    let strength = match kind {
        Kind::Slow => log_between(4.0, 20.0, ease),
        Kind::AfterWarmup => log_between(12.0, 1_000.0, ease),
        Kind::FromThen => log_between(8.0, 1_000.0, ease),
        _ => log_between(6.0, 1_000.0, ease),
    };
    let noise = Noise::draw(dice, &clock);
    let is_clean = clock.is_live_tick || (dice.chance(0.12) && !matches!(kind, Kind::Slow));
    let sd = if is_clean { 0.0 } else { (noise.independent * part / 12.0).sqrt() / strength };
    let rate = match kind {
        Kind::Accelerating | Kind::Exponential | Kind::Slowing | Kind::Walking => None,
        _ => Some(1.0 / part),
    };
    let noise = noise.values.iter().map(|v| v * sd).collect();
    Some(Draft { name, class: Class::Linear, clock, shape, noise, noise_sd: sd, rate, ease })
}

/// Name, share of the window that grows, and the shape with a growth of 1 over that share.
fn shape(dice: &mut Dice, clock: &Clock, ease: f64, kind: Kind) -> Option<(&'static str, f64, Vec<f64>)> {
    let along = |f: &dyn Fn(f64) -> f64| clock.share.iter().map(|&u| f(u)).collect::<Vec<_>>();
    Some(match kind {
        Kind::Steady => ("linear/steady", 1.0, along(&|u| u)),
        Kind::Slow => ("linear/slow", 1.0, along(&|u| u)),
        Kind::Accelerating => {
            let bend = dice.uniform(0.3, 1.0);
            ("linear/accelerating", 1.0, along(&|u| (1.0 - bend) * u + bend * u * u))
        }
        Kind::Exponential => {
            let folds = dice.uniform(1.0, 4.0);
            ("linear/exponential", 1.0, along(&|u| ((folds * u).exp() - 1.0) / (folds.exp() - 1.0)))
        }
        Kind::AfterWarmup => {
            let height = dice.uniform(0.2, log_between(3.0, 0.7, ease));
            let end = dice.uniform(0.06, 0.25);
            let is_curve = dice.chance(0.6);
            if clock.points_within(0.0, end) < 4 {
                return None;
            }
            let warm = |u: f64| if is_curve { 1.0 - (-5.0 * u / end).exp() } else { (u / end).min(1.0) };
            ("linear/after_warmup", 1.0, along(&|u| u + height * warm(u)))
        }
        Kind::FromThen => {
            let onset = dice.uniform(0.1, log_between(0.6, 0.25, ease));
            if clock.points_within(onset, 1.0) < 12 {
                return None;
            }
            ("linear/from_then", 1.0 - onset, along(&|u| ((u - onset) / (1.0 - onset)).max(0.0)))
        }
        Kind::UnderLoad => {
            let (cycles, phase) = (dice.uniform(1.0, 2.4), dice.unit());
            let height = dice.uniform(0.03, log_between(0.12, 0.06, ease));
            let from = (TAU * phase).sin();
            ("linear/under_load", 1.0, along(&|u| u + height * ((TAU * (cycles * u + phase)).sin() - from)))
        }
        Kind::UnderSawtooth => {
            let cycles = dice.uniform(8.0, (clock.len() as f64 / 4.0).clamp(9.0, 120.0));
            let height = dice.uniform(0.02, 0.1);
            ("linear/under_sawtooth", 1.0, along(&|u| u + height * (cycles * u).fract()))
        }
        Kind::Drifting => ("linear/drifting", 1.0, drifting(dice, clock)?),
        Kind::Uneven => {
            let (pieces, depth) = (dice.whole(2, 4), dice.uniform(0.1, 0.6));
            ("linear/uneven", 1.0, uneven(dice, clock, pieces, depth))
        }
        Kind::Slowing => {
            let power = dice.uniform(0.65, 0.9);
            ("linear/slowing", 1.0, along(&|u| u.powf(power)))
        }
        Kind::Walking => ("linear/walking", 1.0, walking(dice, clock, log_between(5.0, 40.0, ease))),
    })
}

/// Growth by many small allocations at random instants: never down. The rate is what was allocated in the window, not
/// what would have been in a thousand of them.
fn drifting(dice: &mut Dice, clock: &Clock) -> Option<Vec<f64>> {
    let per_point = dice.log_uniform(0.5, 20.0);
    let mut values = vec![0.0];
    for pair in clock.share.windows(2) {
        let mean = (pair[1] - pair[0]) * per_point * clock.len() as f64;
        let sd = mean.sqrt();
        let step = if mean < 5.0 { poisson(dice, mean) } else { (mean + sd * dice.normal()).max(0.0) };
        values.push(values.last()? + step);
    }
    let total = *values.last()?;
    // Under forty allocations it would be a staircase.
    (total >= 40.0).then(|| values.iter().map(|v| v / total).collect())
}

/// A walk whose drift over the window is this many times the standard deviation of where it ends.
fn walking(dice: &mut Dice, clock: &Clock, strength: f64) -> Vec<f64> {
    let mut value = 0.0;
    let mut before = 0.0;
    let mut next = |u: f64| {
        let passed: f64 = u - before;
        value += passed + passed.sqrt() / strength * dice.normal();
        before = u;
        value
    };
    clock.share.iter().map(|&u| next(u)).collect()
}

fn poisson(dice: &mut Dice, mean: f64) -> f64 {
    let (mut left, mut count) = (mean - dice.exponential(), 0.0);
    while left > 0.0 {
        left -= dice.exponential();
        count += 1.0;
    }
    count
}

/// Growth whose speed changes a few times, each time by at most `depth` of the mean; the whole grows by 1.
fn uneven(dice: &mut Dice, clock: &Clock, pieces: usize, depth: f64) -> Vec<f64> {
    let speeds: Vec<f64> = (0..pieces).map(|_| 1.0 + dice.uniform(-depth, depth)).collect();
    let total = speeds.iter().sum::<f64>() / pieces as f64;
    let at = |u: f64| {
        let position = u * pieces as f64;
        let done = (position as usize).min(pieces - 1);
        (speeds[..done].iter().sum::<f64>() + speeds[done] * (position - done as f64)) / pieces as f64 / total
    };
    clock.share.iter().map(|&u| at(u)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uneven_growth_ends_at_one() {
        let mut dice = Dice::new(1);
        let clock = Clock::draw(&mut dice);
        let values = uneven(&mut dice, &clock, 3, 0.4);
        assert!((values[values.len() - 1] - 1.0).abs() < 1e-9 && values[0] == 0.0);
    }
}
