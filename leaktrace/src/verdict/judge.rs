//! From a series to an answer.

use super::confidence::confidence;
use super::curve::Curve;
use super::decision::{Decision, decide};
use super::judgement::Evidence;
use super::study::Study;
use super::words::say;
use super::{Circumstances, Growth, Judgement, Pattern, Samples, Verdict, rules};

/// Fewer points say nothing.
const FEWEST_POINTS: usize = 8;

/// Judges a series.
///
/// The series is brought to at most 1024 points, wild ones are left out, and time and height are scaled to 0..1; then it
/// is studied (trend, bends, saturation, jumps, cycles), each shape of `patterns` contributes its signs, the decision
/// weighs them, and the circumstances have their say. Where growth accelerates, its rate is the mean over the window;
/// where it follows a warm-up or begins late, the rate is that of the lasting part, which `since_s` begins.
pub fn judge(samples: &Samples, circumstances: &Circumstances) -> Judgement {
    let curve = Curve::new(samples).filter(|_| samples.len() >= FEWEST_POINTS);
    let Some(curve) = curve else { return insufficient(samples.len()) };
    let (mut judgement, age_s, study) = if curve.range > 0.0 { judge_curve(curve) } else { constant(&curve) };
    rules::apply(&mut judgement, age_s, circumstances);
    judgement.eta_to_limit_s = eta(&judgement, circumstances.headroom_bytes);
    (judgement.cause, judgement.advice) = say(&judgement, study.as_ref());
    judgement
}

/// The judgement by shape alone, for how long it has moved so, and what it rests on.
fn judge_curve(curve: Curve) -> (Judgement, f64, Option<Study>) {
    let study = Study::new(curve);
    let Decision { shape, probability } = decide(&study);
    let (verdict, pattern) = (shape.verdict(), shape.pattern());
    let since = shape.since(&study);
    let judgement = Judgement {
        verdict,
        pattern: Some(pattern),
        confidence: confidence(probability),
        growth: shape.growth(&study),
        since_s: since.map(|since| study.curve.seconds(since)),
        eta_to_limit_s: None,
        evidence: shape.evidence(&study),
        cause: None,
        advice: None,
    };
    let age_s = study.curve.span_s * (1.0 - since.unwrap_or(0.0));
    (judgement, age_s, Some(study))
}

/// A value that never changes; the more often it was looked at, the surer.
fn constant(curve: &Curve) -> (Judgement, f64, Option<Study>) {
    let count = curve.count as f64;
    let evidence = Evidence { name: "trend".to_owned(), value: 0.0, says: "it never changes".to_owned() };
    let judgement = Judgement {
        verdict: Verdict::Bounded,
        pattern: Some(Pattern::Steady),
        confidence: count / (count + 1.0),
        growth: Some(Growth { bytes_per_s: 0.0, ci95: (0.0, 0.0) }),
        since_s: None,
        eta_to_limit_s: None,
        evidence: vec![evidence],
        cause: None,
        advice: None,
    };
    (judgement, curve.span_s, None)
}

fn insufficient(count: usize) -> Judgement {
    let says = format!("{count} points are too few, or they are all of one moment");
    Judgement {
        verdict: Verdict::InsufficientData,
        pattern: None,
        confidence: 0.0,
        growth: None,
        since_s: None,
        eta_to_limit_s: None,
        evidence: vec![Evidence { name: "points".to_owned(), value: count as f64, says }],
        cause: None,
        advice: None,
    }
}

/// Seconds until the headroom is used up, where it grows.
fn eta(judgement: &Judgement, headroom_bytes: Option<f64>) -> Option<f64> {
    let grows = matches!(judgement.verdict, Verdict::Leak | Verdict::Suspect);
    let rate = judgement.growth?.bytes_per_s;
    let eta = headroom_bytes.filter(|_| grows && rate > 0.0)?.max(0.0) / rate;
    eta.is_finite().then_some(eta)
}
