//! No net growth: still, noisy, or with a spike that went away.

use super::{Shape, evidence, line_rate, squeeze};
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::study::Study;

pub(super) struct Steady;

impl Shape for Steady {
    fn pattern(&self) -> Pattern {
        Pattern::Steady
    }

    fn verdict(&self) -> Verdict {
        Verdict::Bounded
    }

    fn is_possible(&self, study: &Study) -> bool {
        !study.is_plain_growth()
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let smooth = &study.smooth;
        let best = smooth.least_criterion().min(smooth.sloped.score.criterion);
        vec![
            ("level_gain", squeeze(best - smooth.level.criterion, 8.0)),
            ("memory", smooth.level.noise.correlation),
            ("memory_left", smooth.line.score.noise.correlation),
            ("noise", squeeze(study.curve.noise, 0.1)),
            ("undecided", squeeze(study.moves.up + study.moves.down - 3.0 * study.moves.net.abs(), 1.0)),
            ("still", squeeze(0.25 - study.moves.net.abs(), 0.2)),
            ("blocks", squeeze(smooth.blocks as f64, 40.0)),
        ]
    }

    fn growth(&self, study: &Study) -> Option<Growth> {
        Some(line_rate(study).growth(&study.curve))
    }

    fn since(&self, _: &Study) -> Option<f64> {
        None
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        let kendall = study.smooth.kendall;
        let says = format!(
            "no trend that stands out: Mann-Kendall z {:.1}, tau {:.2}, corrected for memory",
            kendall.z, kendall.tau
        );
        vec![evidence("trend", kendall.z, says)]
    }
}
