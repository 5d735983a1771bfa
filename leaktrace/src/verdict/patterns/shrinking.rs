//! Less and less.

use super::{Shape, evidence, line_rate, squeeze};
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::study::Study;

pub(super) struct Shrinking;

impl Shape for Shrinking {
    fn pattern(&self) -> Pattern {
        Pattern::Shrinking
    }

    fn verdict(&self) -> Verdict {
        Verdict::Bounded
    }

    fn is_possible(&self, study: &Study) -> bool {
        study.moves.net < 0.0
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let line = &study.smooth.line;
        let falls = squeeze(-line.t - 3.0, 3.0).min(squeeze(-study.moves.net - 0.3, 0.2));
        let settles =
            squeeze(-study.smooth.saturation.height - 0.4, 0.2).min(squeeze(-study.moves.net - 0.3, 0.2));
        vec![("falls", falls), ("settles_lower", settles)]
    }

    fn growth(&self, study: &Study) -> Option<Growth> {
        Some(line_rate(study).growth(&study.curve))
    }

    fn since(&self, _: &Study) -> Option<f64> {
        None
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        let kendall = study.smooth.kendall;
        let says =
            format!("falls: Mann-Kendall z {:.1}, tau {:.2}, corrected for memory", kendall.z, kendall.tau);
        vec![evidence("trend", kendall.z, says)]
    }
}
