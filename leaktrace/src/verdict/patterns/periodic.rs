//! Cycles: with rising low points a leak, with flat ones bounded.

use super::{Shape, evidence, ratio, squeeze};
use crate::verdict::judgement::{Evidence, Growth, Pattern, Verdict};
use crate::verdict::study::Study;

/// Cycles whose low points rise.
pub(super) struct Rising;

/// Cycles that come back to the same floor.
pub(super) struct Flat;

impl Shape for Rising {
    fn pattern(&self) -> Pattern {
        Pattern::Periodic
    }

    fn verdict(&self) -> Verdict {
        Verdict::Leak
    }

    fn is_possible(&self, study: &Study) -> bool {
        let cycles = &study.cycles;
        // A leak that may as well not be there is none: the means must rise beyond their error, the low points by more
        // than cycles differ by chance, and not because peaks do.
        let rises = cycles.mean_growth.slope > 1.6 * cycles.mean_growth.error;
        let shows = cycles.trough_growth > 0.12 * cycles.amplitude;
        cycles.count >= 2.0 && rises && shows && floor_to_mean(study) > 0.35
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let cycles = &study.cycles;
        let mean_t = cycles.mean_growth.slope / (cycles.mean_growth.error + 1e-3);
        let share = ratio(cycles.trough_growth, cycles.amplitude, 1e3);
        let weakest =
            [squeeze(cycles.rise() - 3.0, 2.0), squeeze(mean_t - 3.0, 2.0), squeeze(share - 0.2, 0.2)];
        vec![
            ("trough_t", squeeze(cycles.rise(), 4.0)),
            ("trough_growth", squeeze(share, 0.5)),
            ("trough_snr", squeeze(cycles.trough_growth / (cycles.trough_spread + 1e-3), 3.0)),
            ("floor_to_mean", floor_to_mean(study)),
            ("mean_t", squeeze(mean_t, 4.0)),
            ("troughs_rise", weakest.into_iter().fold(1.0, f64::min)),
        ]
    }

    fn growth(&self, study: &Study) -> Option<Growth> {
        Some(study.cycles.mean_growth.growth(&study.curve))
    }

    fn since(&self, _: &Study) -> Option<f64> {
        None
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        cycles_seen(study)
    }
}

impl Shape for Flat {
    fn pattern(&self) -> Pattern {
        Pattern::Periodic
    }

    fn verdict(&self) -> Verdict {
        Verdict::Bounded
    }

    fn is_possible(&self, study: &Study) -> bool {
        study.cycles.count >= 2.0
    }

    fn signs(&self, study: &Study) -> Vec<(&'static str, f64)> {
        let cycles = &study.cycles;
        let regular = squeeze(0.22 - cycles.jitter, 0.15);
        let alike = squeeze(cycles.likeness.min(cycles.prominence) - 0.45, 0.2);
        let counts = squeeze(cycles.count.min(cycles.passages) - 2.6, 1.0);
        let falls = squeeze(study.moves.falling() - 0.06, 0.06);
        vec![
            ("likeness", cycles.likeness),
            ("prominence", cycles.prominence),
            ("likeness_second", cycles.second),
            ("explained", cycles.explained),
            ("jitter", cycles.jitter),
            ("cycles", squeeze(cycles.count, 4.0)),
            ("passages", ratio(cycles.passages, cycles.count, 2.0)),
            ("falling", study.moves.falling()),
            ("amplitude", cycles.amplitude),
            ("amplitude_snr", squeeze(cycles.amplitude / (study.curve.noise + 1e-3), 6.0)),
            ("regular", regular),
            ("periodic", regular.max(alike).min(counts).min(falls)),
            ("periodic_strict", regular.min(alike).min(counts).min(falls)),
        ]
    }

    fn growth(&self, study: &Study) -> Option<Growth> {
        Some(study.cycles.floor_growth.growth(&study.curve))
    }

    fn since(&self, _: &Study) -> Option<f64> {
        None
    }

    fn evidence(&self, study: &Study) -> Vec<Evidence> {
        cycles_seen(study)
    }
}

/// How much low points rise for what the means of cycles rise: 1 if all rises alike, near 0 where only peaks do.
fn floor_to_mean(study: &Study) -> f64 {
    ratio(study.cycles.trough_growth, study.cycles.mean_growth.slope.abs(), 1.5)
}

fn cycles_seen(study: &Study) -> Vec<Evidence> {
    let cycles = &study.cycles;
    let period = cycles.period * study.curve.span_s;
    let share = ratio(cycles.trough_growth, cycles.amplitude, 1e6);
    let moved = if share < 0.0 { "fell" } else { "rose" };
    vec![
        evidence(
            "period",
            period,
            format!(
                "comes back every {period:.0} s: {} cycles, likeness of neighbours {:.2}",
                cycles.count, cycles.likeness
            ),
        ),
        evidence(
            "troughs",
            share,
            format!("low points {moved} by {:.2} × the height of a cycle over the window", share.abs()),
        ),
    ]
}
