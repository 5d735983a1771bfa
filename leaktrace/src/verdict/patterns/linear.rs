//! Sustained growth, steady or accelerating; also after a warm-up, and below noise or an irregular sawtooth.

use super::{Shape, evidence, line_rate, ratio, squeeze};
use crate::verdict::curve::blocks;
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::study::{Rate, Study, straight};

pub(super) struct Linear;

impl Shape for Linear {
    fn pattern(&self) -> Pattern {
        Pattern::Linear
    }

    fn verdict(&self) -> Verdict {
        Verdict::Leak
    }

    fn is_possible(&self, study: &Study) -> bool {
        study.moves.net > 0.0 && study.smooth.line.slope > 0.0
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let line = &study.smooth.line;
        let tail = &study.tail;
        let gain = study.smooth.level.criterion - line.score.criterion;
        vec![
            ("line_t", squeeze(line.t, 4.0)),
            ("line_t_wide", squeeze(line.t, 20.0)),
            ("line_snr", squeeze(line.slope / (line.score.spread + 1e-3), 3.0)),
            ("line_gain", squeeze(gain, 8.0)),
            ("kendall", squeeze(study.smooth.kendall.z, 3.0)),
            ("tau", study.smooth.kendall.tau),
            ("net", study.moves.net),
            ("tail_ratio", ratio(tail.slope, line.slope.abs().max(0.05), 1.5)),
            ("tail_t", squeeze(tail.slope / (tail.error + 1e-3), 3.0)),
            ("grows_on", grows_on(study)),
        ]
    }

    fn growth(&self, study: &Study) -> Option<Growth> {
        let phase = Phase::of(study);
        Some(phase.rate(study).growth(&study.curve))
    }

    fn since(&self, study: &Study) -> Option<f64> {
        match Phase::of(study) {
            Phase::Whole => None,
            Phase::AfterBend => Some(study.smooth.bend.place),
            Phase::AfterWarmup => Some(study.smooth.sloped.kernel.settled()),
        }
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        let kendall = study.smooth.kendall;
        let trend = evidence(
            "trend",
            kendall.z,
            format!(
                "rises throughout: Mann-Kendall z {:.1}, tau {:.2}, corrected for memory",
                kendall.z, kendall.tau
            ),
        );
        let share = ratio(study.tail.slope, study.smooth.line.slope, 10.0);
        let tail = evidence(
            "tail",
            share,
            format!("does not slow down to a halt: its last third grows at {share:.2} of the mean rate"),
        );
        vec![trend, tail]
    }
}

/// Whether growth is there, and is there still at the end: the weaker of both.
fn grows_on(study: &Study) -> f64 {
    let line = &study.smooth.line;
    let overall = squeeze(line.t - 3.0, 3.0);
    let still = squeeze((study.tail.slope - 2.0 * study.tail.error) / line.slope.abs().max(0.05), 0.5);
    overall.min(still)
}

/// Which part of the window the growth that counts fills.
enum Phase {
    /// All of it.
    Whole,
    /// It begins, or slows down to its lasting rate, at a bend.
    AfterBend,
    /// It goes on once a warm-up is over.
    AfterWarmup,
}

impl Phase {
    fn of(study: &Study) -> Self {
        /// What the criterion must gain for a curve of two phases.
        const CLEAR: f64 = 10.0;
        /// The same for a beginning that was flat, which is the simpler explanation of growth that came to be.
        const LIKELY: f64 = 4.0;
        let smooth = &study.smooth;
        let (line, bend, sloped) = (&smooth.line, &smooth.bend, &smooth.sloped);
        let bent = bend.score.criterion;
        let bowed = smooth.parabola.score.criterion;
        let begins = bend.after > 2.0 * bend.after_error && bend.before < 0.35 * bend.after;
        let slows = bend.after > 0.0 && bend.before > 3.0 * bend.after;
        let goes_on = sloped.slope > 2.0 * sloped.slope_error && sloped.height > 0.1;
        if goes_on && sloped.score.criterion + CLEAR < line.score.criterion.min(bowed) {
            Self::AfterWarmup
        } else if begins && bent + LIKELY < line.score.criterion.min(bowed + 2.0 * LIKELY)
            || slows && bent + CLEAR < line.score.criterion.min(bowed)
        {
            Self::AfterBend
        } else {
            Self::Whole
        }
    }

    /// The rate of this part, by a line through it alone: what came before has no say.
    fn rate(&self, study: &Study) -> Rate {
        let smooth = &study.smooth;
        let (from, rest) = match self {
            Self::Whole => return line_rate(study),
            Self::AfterBend => (smooth.bend.place + 0.02, 0.0),
            // A hundredth of what the warm-up adds is still to come, and may be.
            Self::AfterWarmup => {
                (smooth.sloped.kernel.all_but(0.01) + 0.02, 0.01 * smooth.sloped.height.abs())
            }
        };
        let part: Vec<(f64, f64)> = study.curve.points.iter().copied().filter(|&(x, _)| x >= from).collect();
        if part.len() < 6 || from > 0.8 {
            let sloped = &smooth.sloped;
            return Rate::of(sloped.slope, sloped.slope_error, sloped.score.noise, smooth.blocks);
        }
        Rate { margin: rest / (1.0 - from), ..straight(&blocks(&part)) }
    }
}
