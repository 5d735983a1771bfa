//! Growth that saturates: exponentially, or at a constant rate until it is full.

use super::{Shape, evidence, ratio, squeeze};
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::study::Study;

pub(super) struct Warmup;

impl Shape for Warmup {
    fn pattern(&self) -> Pattern {
        Pattern::Warmup
    }

    fn verdict(&self) -> Verdict {
        Verdict::Bounded
    }

    fn is_possible(&self, study: &Study) -> bool {
        study.moves.net > 0.0
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let smooth = &study.smooth;
        let (saturation, sloped, bend) = (&smooth.saturation, &smooth.sloped, &smooth.bend);
        let line = smooth.line.score.criterion;
        let tail = &study.tail;
        let mean_slope = study.moves.net.abs().max(0.1);
        let rising = saturation.height.signum();
        let better = (line - saturation.score.criterion).max(line - bend.score.criterion);
        let flat_end = [
            squeeze(0.35 - saturation.kernel.end_slope(), 0.2),
            squeeze(0.3 - (tail.slope - tail.error) / mean_slope, 0.2),
        ];
        let weakest =
            [squeeze(better, 8.0), flat_end[0].max(flat_end[1]), squeeze(saturation.height - 0.4, 0.2)];
        vec![
            ("saturation_gain", squeeze(line - saturation.score.criterion, 8.0)),
            ("saturation_gain_wide", squeeze(line - saturation.score.criterion, 60.0)),
            ("end_slope", rising * (1.0 - saturation.kernel.end_slope().min(1.5))),
            ("saturation_height", saturation.height.clamp(-1.0, 1.0)),
            ("slope_beside", ratio(sloped.slope, mean_slope, 1.5)),
            ("slope_beside_t", squeeze(sloped.slope / (sloped.slope_error + 1e-3), 3.0)),
            ("slope_needed", squeeze(saturation.score.criterion - sloped.score.criterion, 6.0)),
            ("bend_gain", squeeze(line - bend.score.criterion, 8.0)),
            ("bend_after", ratio(bend.after, mean_slope, 1.5)),
            ("bend_before", ratio(bend.before, mean_slope, 2.0)),
            ("bend_after_t", squeeze(bend.after / (bend.after_error + 1e-3), 3.0)),
            ("bow", squeeze(smooth.parabola.t, 4.0)),
            ("rest", tail.rest),
            ("rest_unusual", squeeze((tail.rest / (tail.longest_pause + 0.02)).ln(), 0.7)),
            ("late_share", ratio(tail.slope, tail.first_slope.abs().max(0.1), 1.5)),
            ("warmup", weakest.into_iter().fold(1.0, f64::min)),
        ]
    }

    fn growth(&self, _: &Study) -> Option<Growth> {
        None
    }

    fn since(&self, study: &Study) -> Option<f64> {
        Some(study.smooth.saturation.kernel.settled())
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        let kernel = study.smooth.saturation.kernel;
        let settled = kernel.settled() * study.curve.span_s;
        let end = kernel.end_slope();
        vec![
            evidence(
                "saturation",
                settled,
                format!("nine tenths of the growth were there after {settled:.0} s"),
            ),
            evidence("tail", end, format!("slows down: its end grows at {end:.2} of the mean rate")),
        ]
    }
}
