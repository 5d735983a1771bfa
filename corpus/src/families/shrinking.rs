//! Less and less: straight, decaying, in steps, from an instant on.
//!
//! Rule of the label: it falls over the window by at least 4.5 standard errors of a fit of that very shape, and by at
//! least one standard deviation of the noise (in steps: by 4). It never turns up again.

use crate::{
    clock::Clock,
    dice::{Dice, log_between},
    draft::Draft,
    labelled::Class,
    noise::Noise,
};

pub(super) fn draw(dice: &mut Dice, clock: Clock, ease: f64) -> Option<Draft> {
    let (name, shape, is_straight, is_stepped) = match dice.whole(0, 99) {
        0..45 => ("shrinking/straight", clock.share.iter().map(|u| 1.0 - u).collect(), true, false),
        45..70 => {
            let folds = dice.uniform(1.0, 8.0);
            ("shrinking/decay", clock.share.iter().map(|u| (-folds * u).exp()).collect(), false, false)
        }
        70..90 => ("shrinking/steps", steps(dice, &clock)?, false, true),
        _ => {
            let onset = dice.uniform(0.1, 0.5);
            let fall = |u: &f64| 1.0 - ((u - onset) / (1.0 - onset)).max(0.0);
            ("shrinking/from_then", clock.share.iter().map(fall).collect::<Vec<f64>>(), false, false)
        }
    };
    let noise = Noise::draw(dice, &clock);
    let by_fit = spread(&shape) * noise.independent.sqrt() / log_between(4.5, 500.0, ease);
    let least = if is_stepped { 4.0 } else { 1.0 };
    let is_clean = clock.is_live_tick || dice.chance(0.12);
    let sd = if is_clean { 0.0 } else { by_fit.min(1.0 / least) };
    let rate = is_straight.then_some(-1.0);
    let noise = noise.values.iter().map(|v| v * sd).collect();
    Some(Draft { name, class: Class::Shrinking, clock, shape, noise, noise_sd: sd, rate, ease })
}

/// Standard deviation of the shape: what a fit of it has to go by.
fn spread(shape: &[f64]) -> f64 {
    let mean = shape.iter().sum::<f64>() / shape.len() as f64;
    (shape.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / shape.len() as f64).sqrt()
}

/// One to eight steps down to nothing, each tread of three points or more.
fn steps(dice: &mut Dice, clock: &Clock) -> Option<Vec<f64>> {
    let count = dice.whole(1, 8);
    let mut edges: Vec<f64> = (0..count).map(|_| dice.uniform(0.05, 0.95)).collect();
    edges.sort_by(f64::total_cmp);
    let borders = [&[0.0], edges.as_slice(), &[1.1]].concat();
    if borders.windows(2).any(|pair| clock.points_within(pair[0], pair[1]) < 3) {
        return None;
    }
    let level = |u: &f64| 1.0 - edges.iter().filter(|edge| u >= *edge).count() as f64 / count as f64;
    Some(clock.share.iter().map(level).collect())
}
