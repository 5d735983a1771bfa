//! When a series is sampled.

use crate::dice::Dice;

/// Instants of a window, as seconds, and the same as a share of the window in 0..=1.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) seconds: Vec<f64>,
    pub(crate) share: Vec<f64>,
    /// Whether this is the live tick: regular seconds, without noise.
    pub(crate) is_live_tick: bool,
}

#[derive(Clone, Copy)]
enum Manner {
    Regular,
    Jittered,
    Random,
    Gaps,
    History,
    LiveTick,
}

impl Clock {
    /// Draws one of 30 to 2,000 points, rarely fewer, over seconds to weeks.
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        let count =
            if dice.chance(0.02) { dice.whole(12, 29) } else { dice.log_uniform(30.0, 2_000.9) as usize };
        let any = dice.log_uniform(0.05, 3_600.0);
        let step = dice.pick(&[(0.3, 1.0), (0.1, 10.0), (0.1, 60.0), (0.5, any)]);
        let manner = dice.pick(&[
            (0.44, Manner::Regular),
            (0.16, Manner::Jittered),
            (0.10, Manner::Random),
            (0.12, Manner::Gaps),
            (0.10, Manner::History),
            (0.08, Manner::LiveTick),
        ]);
        Self::of(dice, manner, count, step)
    }

    fn of(dice: &mut Dice, manner: Manner, count: usize, step: f64) -> Self {
        let is_live_tick = matches!(manner, Manner::LiveTick);
        let step = if is_live_tick { 1.0 } else { step };
        let origin = dice.pick(&[(0.6, 0.0), (0.3, step * 17.0), (0.1, 1_700_000_000.0)]);
        let regular = |count: usize| (0..count).map(|i| i as f64 * step).collect::<Vec<_>>();
        let seconds: Vec<f64> = match manner {
            Manner::Regular | Manner::LiveTick => regular(count),
            Manner::Jittered => (0..count).map(|i| (i as f64 + dice.uniform(-0.4, 0.4)) * step).collect(),
            Manner::Random => running_sum((0..count).map(|_| (0.02 + dice.exponential()) * step)),
            Manner::Gaps => with_gaps(dice, &regular(count)),
            Manner::History => history(dice, count, step),
        };
        let first = seconds.first().copied().unwrap_or(0.0);
        let span = seconds.last().map_or(1.0, |last| last - first).max(f64::MIN_POSITIVE);
        let share = seconds.iter().map(|t| (t - first) / span).collect();
        // As files have them; the smallest step is 1 ms (a fiftieth of 50 ms), thus times still ascend.
        let seconds = seconds.iter().map(|t| ((t - first + origin) * 1e4).round() / 1e4).collect();
        Self { seconds, share, is_live_tick }
    }

    pub(crate) const fn len(&self) -> usize {
        self.share.len()
    }

    /// How many instants lie in from..to, as shares of the window.
    pub(crate) fn points_within(&self, from: f64, to: f64) -> usize {
        self.share.iter().filter(|&&u| u >= from && u < to).count()
    }
}

fn running_sum(steps: impl Iterator<Item = f64>) -> Vec<f64> {
    steps
        .scan(0.0, |sum, step| {
            *sum += step;
            Some(*sum)
        })
        .collect()
}

/// One to three holes of 3 to 15 % of the window each.
fn with_gaps(dice: &mut Dice, seconds: &[f64]) -> Vec<f64> {
    let span = seconds.last().copied().unwrap_or(0.0);
    let holes: Vec<(f64, f64)> = (0..dice.whole(1, 3))
        .map(|_| {
            let from = dice.uniform(0.05, 0.8);
            (from * span, (from + dice.uniform(0.03, 0.15)) * span)
        })
        .collect();
    seconds.iter().copied().filter(|t| !holes.iter().any(|(from, to)| t > from && t < to)).collect()
}

/// What a tracer with fixed memory keeps: the recent past fine, each older stretch two or four times coarser. The first
/// stretch is as long as two of the others, as it is in leaktrace's own history.
fn history(dice: &mut Dice, count: usize, step: f64) -> Vec<f64> {
    let coarser = dice.pick(&[(0.4, 2.0), (0.6, 4.0)]);
    let stretch = count.div_ceil(dice.whole(3, 6)).max(4);
    let mut ages = Vec::with_capacity(count);
    let (mut age, mut step_of_tier) = (0.0, step);
    for i in 0..count {
        if i > stretch && i % stretch == 0 {
            step_of_tier *= coarser;
        }
        ages.push(age);
        age += step_of_tier;
    }
    ages.iter().rev().map(|age| -age).collect()
}
