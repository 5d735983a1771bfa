//! What is known beside the series, put together with what its shape says.
//!
//! In this order:
//! 1. Losses and sampling: confidence × (1 − loss share) × (0.8 + 0.2 × share of allocations seen).
//! 2. Growth that the resident set does not follow (agreement below one half): confidence × (0.75 + 0.5 × agreement).
//! 3. What became of the blocks of a site that grows. Where old blocks all die, it is turnover under rising load: at
//!    most `suspect`. Otherwise the odds of the confidence are multiplied by 2^(2 × share that stays alive − 1): doubled
//!    where nothing dies, halved where nearly everything does; and by 2^(0.5 − frees ÷ allocations).
//! 4. Growth of a resident set of which the traced blocks account for less than half: at most `suspect`. It may be
//!    fragmentation, pages of old blocks that are touched late, or a heap that is not traced.
//! 5. Growth that the traced blocks do not explain: never `bounded`, but `suspect` with at most 0.5.
//! 6. Growth of no more than the noise of its subject is at most `suspect`, with at most 0.5.
//! 7. Patience: growth younger than that is at most `suspect`, in its own pattern; until twice that age at most 0.79.

use super::circumstances::{Circumstances, SiteFacts};
use super::judgement::{Evidence, Judgement, Verdict};

/// Below this share of survivors everything old is taken for dead.
const ALL_DIE: f64 = 0.1;
/// Name of the evidence that hardly any of the growth is accounted for.
pub(super) const ACCOUNTED_FOR: &str = "accounted";
/// Name of the evidence that growth is within what the subject does by itself.
pub(crate) const SMALL_GROWTH: &str = "small_growth";
/// Growth of a resident set is a leak only where so much of it is known to be held by somebody.
const ACCOUNTED: f64 = 0.5;
/// Confidence of what may well be nothing.
const DOUBTFUL: f64 = 0.5;
/// Confidence of growth that a cache which fills would show as well.
const STILL_YOUNG: f64 = 0.79;

/// Applies the rules; `age_s` is how long the growth has been seen.
pub(super) fn apply(judgement: &mut Judgement, age_s: f64, circumstances: &Circumstances) {
    if judgement.verdict == Verdict::InsufficientData {
        return;
    }
    lower_by_losses(judgement, circumstances);
    let grows = matches!(judgement.verdict, Verdict::Leak | Verdict::Suspect);
    if grows {
        lower_by_resident_set(judgement, circumstances);
        ask_who_holds_it(judgement, circumstances.accounted_share);
        if let Some(site) = &circumstances.site {
            weigh_blocks(judgement, site);
        }
    }
    if circumstances.has_unexplained_growth && judgement.verdict == Verdict::Bounded {
        judgement.verdict = Verdict::Suspect;
        judgement.confidence = judgement.confidence.min(DOUBTFUL);
        let says = "memory grows that the traced blocks do not explain".to_owned();
        judgement.evidence.insert(0, Evidence { name: "unexplained_growth".to_owned(), value: 1.0, says });
    }
    widen_by_sampling(judgement, age_s, circumstances.error_bytes);
    widen_by_pace(judgement, circumstances.pace);
    doubt_the_small(judgement, age_s, circumstances.noise_bytes);
    be_patient(judgement, age_s, circumstances.patience_s);
    judgement.confidence =
        if judgement.confidence.is_nan() { 0.0 } else { judgement.confidence.clamp(0.0, 1.0) };
}

/// Where values are estimated, their growth is, too: by the error of the last value over the time that it took. A leak
/// whose interval reaches down to no growth is a suspect.
fn widen_by_sampling(judgement: &mut Judgement, age_s: f64, error_bytes: f64) {
    const Z: f64 = 1.96;
    let by_sampling = Z * error_bytes / age_s;
    let is_estimated = by_sampling > 0.0 && by_sampling < f64::MAX.sqrt();
    let Some(growth) = judgement.growth.as_mut().filter(|_| is_estimated) else { return };
    let (low, high) = growth.ci95;
    let widened = |half: f64| half.max(0.0).hypot(by_sampling);
    growth.ci95 = (
        growth.bytes_per_s - widened(growth.bytes_per_s - low),
        growth.bytes_per_s + widened(high - growth.bytes_per_s),
    );
    let says = format!("estimated from samples: {:.0} KiB of it may be chance", Z * error_bytes / 1024.0);
    if growth.ci95.0 <= 0.0 && judgement.verdict == Verdict::Leak {
        judgement.verdict = Verdict::Suspect;
        judgement.confidence = judgement.confidence.min(0.5);
    }
    judgement.evidence.push(Evidence { name: "sampling".to_owned(), value: error_bytes, says });
}

/// What is slowed while it is looked at may grow faster than it seems, by a factor that is known to be within bounds.
fn widen_by_pace(judgement: &mut Judgement, pace: Option<(f64, f64)>) {
    let is_sound = |(least, most): &(f64, f64)| (1e-3..=1.0).contains(least) && (1.0..=1e3).contains(most);
    let Some((least, most)) = pace.filter(is_sound) else { return };
    let Some(growth) = judgement.growth.as_mut().filter(|growth| growth.bytes_per_s > 0.0) else { return };
    let (low, high) = growth.ci95;
    growth.ci95 = (if low > 0.0 { low * least } else { low }, (high * most).min(f64::MAX));
    let (slowest, fastest) = (growth.ci95.0 / 1024.0, growth.ci95.1 / 1024.0);
    let says = format!(
        "looked at in slices of time, and slowed meanwhile: it may be {slowest:.0} to {fastest:.0} KiB/s"
    );
    judgement.evidence.push(Evidence { name: "slices".to_owned(), value: most / least, says });
}

fn lower_by_losses(judgement: &mut Judgement, circumstances: &Circumstances) {
    let (loss, seen) = (share(circumstances.loss_share, 1.0), share(circumstances.sampled_share, 0.0));
    judgement.confidence *= (1.0 - loss) * (0.8 + 0.2 * seen);
    if loss > 0.0 {
        let says = format!("{:.1} % of events were lost", loss * 100.0);
        judgement.evidence.push(Evidence { name: "losses".to_owned(), value: loss, says });
    }
}

fn lower_by_resident_set(judgement: &mut Judgement, circumstances: &Circumstances) {
    let Some(agreement) = circumstances.rss_agreement.filter(|agreement| agreement.is_finite()) else {
        return;
    };
    if agreement < 0.5 {
        judgement.confidence *= 0.75 + 0.5 * agreement.max(0.0);
        let says = format!("the resident set grew by {:.0} % of that only", agreement * 100.0);
        judgement.evidence.push(Evidence { name: "rss_agreement".to_owned(), value: agreement, says });
    }
}

fn ask_who_holds_it(judgement: &mut Judgement, accounted_share: Option<f64>) {
    let Some(accounted) = accounted_share.filter(|share| share.is_finite() && *share < ACCOUNTED) else {
        return;
    };
    if judgement.verdict == Verdict::Leak {
        judgement.verdict = Verdict::Suspect;
    }
    let says = format!("traced blocks account for {:.0} % of it", accounted.max(0.0) * 100.0);
    judgement.evidence.insert(0, Evidence { name: ACCOUNTED_FOR.to_owned(), value: accounted, says });
}

fn weigh_blocks(judgement: &mut Judgement, site: &SiteFacts) {
    let known =
        |value: Option<f64>| value.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0));
    let (survival, old) = (known(site.survival), known(site.old_cohort_alive));
    let alive = match (survival, old) {
        (Some(survival), Some(old)) => Some(0.5 * (survival + old)),
        (survival, old) => survival.or(old),
    };
    if let Some(alive) = alive {
        raise_odds(judgement, (2.0 * alive - 1.0).exp2());
        let says = if alive < ALL_DIE {
            format!("turnover: old blocks die, {:.0} % of them still live", alive * 100.0)
        } else {
            format!("{:.0} % of old blocks still live", alive * 100.0)
        };
        judgement.evidence.insert(0, Evidence { name: "survival".to_owned(), value: alive, says });
        if alive < ALL_DIE && judgement.verdict == Verdict::Leak {
            judgement.verdict = Verdict::Suspect;
        }
    }
    if site.allocs > 0 {
        let freed = (site.frees as f64 / site.allocs as f64).clamp(0.0, 1.0);
        raise_odds(judgement, (0.5 - freed).exp2());
        let says = format!("{:.1} % of its blocks were freed", freed * 100.0);
        judgement.evidence.push(Evidence { name: "free_ratio".to_owned(), value: freed, says });
    }
}

fn doubt_the_small(judgement: &mut Judgement, age_s: f64, noise_bytes: f64) {
    let grown = judgement.growth.map_or(0.0, |growth| growth.bytes_per_s * age_s);
    if judgement.verdict != Verdict::Leak || grown.is_nan() || grown >= noise_bytes {
        return;
    }
    judgement.verdict = Verdict::Suspect;
    judgement.confidence = judgement.confidence.min(DOUBTFUL);
    let says = format!("it grew by {:.0} KiB only, as it may by itself", grown / 1024.0);
    judgement.evidence.insert(0, Evidence { name: SMALL_GROWTH.to_owned(), value: grown, says });
}

fn be_patient(judgement: &mut Judgement, age_s: f64, patience_s: f64) {
    if judgement.verdict != Verdict::Leak || patience_s.is_nan() || patience_s <= 0.0 {
        return;
    }
    if age_s < patience_s {
        judgement.verdict = Verdict::Suspect;
    }
    if age_s < 2.0 * patience_s {
        judgement.confidence = judgement.confidence.min(STILL_YOUNG);
    }
}

/// Multiplies the odds of the confidence.
fn raise_odds(judgement: &mut Judgement, factor: f64) {
    let raised = judgement.confidence * factor;
    judgement.confidence = raised / (1.0 - judgement.confidence + raised);
}

/// A share of 0..1, with a value for what is no number.
const fn share(value: f64, otherwise: f64) -> f64 {
    if value.is_nan() { otherwise } else { value.clamp(0.0, 1.0) }
}
