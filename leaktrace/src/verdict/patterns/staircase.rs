//! Jumps with flat treads, never back down.

use super::{Shape, evidence, ratio, squeeze};
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::statistics::{Noise, fit};
use crate::verdict::study::{Rate, Study};

pub(super) struct Staircase;

impl Shape for Staircase {
    fn pattern(&self) -> Pattern {
        Pattern::Staircase
    }

    fn verdict(&self) -> Verdict {
        Verdict::Leak
    }

    fn is_possible(&self, study: &Study) -> bool {
        study.steps.count() >= 3
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let steps = &study.steps;
        let (up, down) = steps.totals();
        let count = steps.count() as f64;
        let largest = steps.largest().map_or(0.0, |jump| jump.height);
        let falls = ratio(down, up + down, 1.0);
        // Either way of asking may fail: few points do not bear to be halved, many steps cost many parameters.
        let explains = squeeze(steps.gain, 0.2).max(squeeze(steps.fresh.gain, 0.1));
        let slope = steps.tread_slope.max(steps.fresh.tread_slope);
        let weakest = [
            squeeze(count - 2.5, 1.0),
            squeeze(steps.abrupt - 0.6, 0.2),
            squeeze(0.4 - steps.tread_slope, 0.2),
            squeeze(0.15 - falls, 0.1),
            squeeze(0.7 - ratio(largest, up, 1.0), 0.2),
            squeeze(steps.tread_points - 2.5, 1.0),
            explains,
        ];
        vec![
            ("steps", squeeze(count, 3.0)),
            ("steps_several", f64::from(u8::from(count >= 3.0))),
            ("steps_abrupt", steps.abrupt),
            ("tread_slope", steps.tread_slope.clamp(-1.0, 1.5)),
            ("step_falls", falls),
            ("step_gain", squeeze(steps.gain, 0.3)),
            ("step_gain_all", squeeze(steps.gain * study.curve.points.len() as f64, 15.0)),
            ("step_fresh", squeeze(steps.fresh.gain, 0.15)),
            ("tread_slope_fresh", steps.fresh.tread_slope.clamp(-1.0, 1.5)),
            ("step_explains", explains),
            ("tread_slope_worst", slope.clamp(-1.0, 1.5)),
            ("step_edge", squeeze(steps.edge, 3.0)),
            ("step_rise", ratio(up, study.moves.net.abs().max(0.1), 2.0)),
            ("tread_points", squeeze(steps.tread_points, 5.0)),
            ("step_largest", ratio(largest, up, 1.0)),
            ("step_snr", squeeze(largest / (steps.spread + 1e-3), 5.0)),
            ("staircase", weakest.into_iter().fold(1.0, f64::min)),
        ]
    }

    fn growth(&self, study: &Study) -> Option<Growth> {
        rate(study).map(|rate| rate.growth(&study.curve))
    }

    fn since(&self, study: &Study) -> Option<f64> {
        // Before its first step it was flat as a tread is; only a longer wait is another state.
        let first = study.steps.up().next()?.at;
        study.steps.interval().filter(|interval| first > 2.5 * interval).map(|_| first)
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        let steps = &study.steps;
        let count = steps.count() as f64;
        let interval = steps.interval().unwrap_or(0.0) * study.curve.span_s;
        let height = steps.usual_height() * study.curve.range;
        vec![
            evidence("steps", count, format!("{count} steps up, of about {height:.0} bytes each")),
            evidence("step_interval", interval, format!("a step about every {interval:.0} s")),
            evidence(
                "treads",
                steps.tread_slope,
                format!("between steps it stays: the slope there is {:.2} of the whole", steps.tread_slope),
            ),
        ]
    }
}

/// The line through the middles of the jumps. A step comes when a job runs: both the time to the next and its height
/// may vary, and what varies adds up, so that the error is that of a random walk.
fn rate(study: &Study) -> Option<Rate> {
    let middles: Vec<(f64, f64)> =
        study.steps.up().map(|jump| (jump.at, jump.from + 0.5 * jump.height)).collect();
    let count = middles.len() as f64;
    let walk = fit(&middles, Noise { correlation: 1.0 }, |x| [1.0, x])?;
    let plain = fit(&middles, Noise::WHITE, |x| [1.0, x])?;
    let slope = plain.factors[1];
    // Where the first and the last step fall within the window is chance: half a step of all.
    let margin = 0.5 * slope.abs() / count.max(1.0);
    Some(Rate { slope, error: walk.errors[1].max(plain.errors[1]), degrees: (count - 2.0).max(3.0), margin })
}
