//! From a series to an answer.

use super::{Circumstances, Growth, Judgement, Pattern, Samples, Verdict};

/// Fewer points say nothing.
const FEWEST_POINTS: usize = 8;

/// Judges a series.
pub fn judge(samples: &Samples, circumstances: &Circumstances) -> Judgement {
    let mut judgement = Judgement {
        verdict: Verdict::InsufficientData,
        pattern: None,
        confidence: 0.0,
        growth: None,
        since_s: None,
        eta_to_limit_s: None,
        evidence: Vec::new(),
        cause: None,
        advice: None,
    };
    if samples.len() < FEWEST_POINTS {
        return judgement;
    }
    let mut slopes = slopes(samples);
    slopes.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| slopes.get(((slopes.len() - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    let (low, rate, high) = (at(0.25), at(0.5), at(0.75));
    judgement.growth = Some(Growth { bytes_per_s: rate, ci95: (low, high) });
    let is_early = samples.span_s() < circumstances.patience_s;
    (judgement.verdict, judgement.pattern) = match (low > 0.0, high < 0.0) {
        (true, _) if is_early => (Verdict::Suspect, Some(Pattern::Linear)),
        (true, _) => (Verdict::Leak, Some(Pattern::Linear)),
        (_, true) => (Verdict::Bounded, Some(Pattern::Shrinking)),
        _ => (Verdict::Bounded, Some(Pattern::Steady)),
    };
    judgement.confidence = 0.5 * (1.0 - circumstances.loss_share.clamp(0.0, 1.0));
    judgement.eta_to_limit_s = circumstances.headroom_bytes.filter(|_| rate > 0.0).map(|left| left / rate);
    judgement
}

/// The slopes between points half the series apart.
fn slopes(samples: &Samples) -> Vec<f64> {
    let half = samples.len() / 2;
    let (times, bytes) = (samples.times(), samples.bytes());
    let early = times.iter().zip(bytes);
    let late = times.iter().zip(bytes).skip(half);
    early.zip(late).map(|((t0, y0), (t1, y1))| (y1 - y0) / (t1 - t0)).collect()
}
