//! One abrupt large jump that stays.

use super::{Shape, evidence, ratio, squeeze};
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::study::Study;

pub(super) struct Spike;

impl Shape for Spike {
    fn pattern(&self) -> Pattern {
        Pattern::Spike
    }

    fn verdict(&self) -> Verdict {
        Verdict::Suspect
    }

    fn is_possible(&self, study: &Study) -> bool {
        // Without a level before it, a jump is how everything begins.
        let leap = &study.leap;
        let has_before = leap.at >= 0.05 && leap.at * study.curve.points.len() as f64 >= 3.0;
        leap.height > 0.0 && leap.drift < 0.8 && has_before
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let leap = &study.leap;
        let snr = leap.height / (leap.spread + 1e-3);
        let weakest = [
            squeeze(leap.share - 0.7, 0.15),
            squeeze(leap.abrupt - 0.6, 0.2),
            squeeze(0.3 - leap.drift, 0.15),
            squeeze(snr - 4.0, 2.0),
            squeeze(leap.stays - 0.6, 0.15),
        ];
        vec![
            ("leap", leap.height),
            ("leap_share", leap.share),
            ("leap_abrupt", leap.abrupt),
            ("leap_drift", leap.drift),
            ("leap_stays", leap.stays),
            ("leap_snr", squeeze(snr, 5.0)),
            ("leap_early", squeeze(0.05 - leap.at, 0.05)),
            ("leap_alone", ratio(leap.height, study.moves.up, 1.0)),
            ("spike", weakest.into_iter().fold(1.0, f64::min)),
        ]
    }

    fn growth(&self, _: &Study) -> Option<Growth> {
        None
    }

    fn since(&self, study: &Study) -> Option<f64> {
        Some(study.leap.at)
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        let leap = &study.leap;
        let bytes = leap.height * study.curve.range;
        vec![
            evidence(
                "jump",
                bytes,
                format!("one jump of {bytes:.0} bytes, {:.2} of all movement", leap.share),
            ),
            evidence(
                "drift",
                leap.drift,
                format!("level before and after: drift {:.2} of the jump", leap.drift),
            ),
        ]
    }
}
