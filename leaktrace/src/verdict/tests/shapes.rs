//! Each shape as anyone would draw it.

use rstest::rstest;

use super::*;
use crate::verdict::Pattern;

const MB: f64 = 1e6;

#[rstest]
#[case::constant(|_| 5.0 * MB, Verdict::Bounded, Pattern::Steady)]
#[case::line(|x| 5.0 * MB + 3.0 * MB * x, Verdict::Leak, Pattern::Linear)]
#[case::accelerating(|x: f64| MB * (1.0 + 5.0 * x * x), Verdict::Leak, Pattern::Linear)]
#[case::falling(|x| 5.0 * MB - 3.0 * MB * x, Verdict::Bounded, Pattern::Shrinking)]
#[case::five_steps(|x: f64| MB * (1.0 + (5.99 * x).floor()), Verdict::Leak, Pattern::Staircase)]
#[case::one_step(|x| if x < 0.4 { 2.0 * MB } else { 9.0 * MB }, Verdict::Suspect, Pattern::Spike)]
#[case::cache(|x: f64| MB * (1.0 - (-x / 0.12).exp()), Verdict::Bounded, Pattern::Warmup)]
#[case::fills_and_stops(|x: f64| MB * x.min(0.5), Verdict::Bounded, Pattern::Warmup)]
#[case::sawtooth(|x: f64| MB * (2.0 + (7.3 * x).fract()), Verdict::Bounded, Pattern::Periodic)]
#[case::rising_sawtooth(|x: f64| MB * ((7.3 * x).fract() + 3.0 * x), Verdict::Leak, Pattern::Periodic)]
#[case::daily(|x: f64| MB * (3.0 + (44.0 * x).sin()), Verdict::Bounded, Pattern::Periodic)]
#[case::daily_and_leak(|x: f64| MB * (3.0 + (44.0 * x).sin() + 4.0 * x), Verdict::Leak, Pattern::Periodic)]
#[case::comes_back(|x| if (0.4..0.5).contains(&x) { 9.0 * MB } else { MB }, Verdict::Bounded, Pattern::Steady)]
#[case::warm_then_leak(|x: f64| MB * (1.0 - (-x / 0.08).exp() + 1.5 * x), Verdict::Leak, Pattern::Linear)]
fn without_noise(
    #[case] shape: impl Fn(f64) -> f64,
    #[case] verdict: Verdict,
    #[case] pattern: Pattern,
    #[values(40, 150, 600, 2000)] count: usize,
    #[values(1e-3, 1.0, 1e4)] scale: f64,
) {
    let judgement = judge_shape(count, |x| (shape(x) * scale).round());
    assert_eq!((judgement.verdict, judgement.pattern), (verdict, Some(pattern)), "{judgement:?}");
    assert!(judgement.confidence > 0.5, "{judgement:?}");
}

#[rstest]
#[case::steady(|_| 5.0, Verdict::Bounded, Pattern::Steady)]
#[case::line(|x| 5.0 + x, Verdict::Leak, Pattern::Linear)]
#[case::five_steps(|x: f64| (5.99 * x).floor() / 2.5, Verdict::Leak, Pattern::Staircase)]
#[case::one_step(|x| if x < 0.6 { 2.0 } else { 3.0 }, Verdict::Suspect, Pattern::Spike)]
#[case::cache(|x: f64| 1.0 - (-x / 0.1).exp(), Verdict::Bounded, Pattern::Warmup)]
#[case::cycles(|x: f64| 3.0 + 0.5 * (50.0 * x).sin(), Verdict::Bounded, Pattern::Periodic)]
#[case::falling(|x| 5.0 - x, Verdict::Bounded, Pattern::Shrinking)]
fn with_noise(
    #[case] shape: impl Fn(f64) -> f64,
    #[case] verdict: Verdict,
    #[case] pattern: Pattern,
    #[values(1, 2, 3, 4)] seed: u64,
) {
    let mut noise = noise(seed);
    let heights: Vec<f64> = (0..250).map(|_| 0.05 * noise()).collect();
    let at = |x: f64| heights.get((x * 249.0).round() as usize).copied().unwrap_or(0.0);
    let judgement = judge_shape(250, |x| 1e8 * (2.0 + shape(x) + at(x)));
    assert_eq!((judgement.verdict, judgement.pattern), (verdict, Some(pattern)), "{judgement:?}");
}

#[test]
fn plain_cases_are_told_with_confidence() {
    let line = judge_shape(30, |x| 1e6 + 1e5 * x);
    assert!(line.verdict == Verdict::Leak && line.confidence > 0.9, "{line:?}");
    let constant = judge_shape(30, |_| 1e6);
    assert!(constant.verdict == Verdict::Bounded && constant.confidence > 0.95, "{constant:?}");
}

#[test]
fn the_rate_of_a_line_is_its_slope() {
    let judgement = judge_shape(100, |x| 1e6 + 99.0 * 60.0 * 500.0 * x);
    let growth = judgement.growth.unwrap();
    assert!((growth.bytes_per_s - 500.0).abs() < 0.1, "{growth:?}");
    assert!(growth.ci95.0 <= 500.0 && 500.0 <= growth.ci95.1, "{growth:?}");
    assert_eq!(judgement.since_s, None);
}

#[test]
fn after_a_warm_up_the_lasting_rate_counts() {
    let judgement = judge_shape(300, |x| 1e9 * ((x / 0.2).min(1.0) + 0.5 * x));
    let growth = judgement.growth.unwrap();
    let truth = 0.5e9 / (299.0 * 60.0);
    assert!((growth.bytes_per_s / truth - 1.0).abs() < 0.1, "{growth:?} instead of {truth}");
    let since = judgement.since_s.unwrap() / (299.0 * 60.0);
    assert!((0.1..0.35).contains(&since), "{since}");
}
