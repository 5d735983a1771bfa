//! What people read.

use super::*;

#[test]
fn a_staircase_says_how_often() {
    let points = (0..600).map(|i| (60.0 * f64::from(i), 1e6 * f64::from(i / 60)));
    let judgement = judge(&Samples::new(points), &Circumstances::default());
    let (cause, advice) = (judgement.cause.unwrap(), judgement.advice.unwrap());
    assert!(cause.contains("batch job"), "{cause}");
    assert!(advice.contains("every ≈ 3600 s") && advice.contains("cron"), "{advice}");
    assert!(judgement.evidence.iter().any(|evidence| evidence.name == "steps"));
}

#[test]
fn cycles_say_their_period() {
    let points = (0..700).map(|i| (f64::from(i), 1e6 * f64::from(i % 100)));
    let judgement = judge(&Samples::new(points), &Circumstances::default());
    let cause = judgement.cause.unwrap();
    assert!(cause.contains("≈ 100 s") || cause.contains("≈ 99 s") || cause.contains("≈ 101 s"), "{cause}");
    assert!(judgement.evidence.iter().any(|evidence| evidence.name == "troughs"));
}

#[test]
fn what_is_steady_needs_no_words_and_growth_does() {
    let steady = judge_shape(100, |_| 5.0);
    assert!(steady.cause.is_none() && steady.advice.is_none());
    for judgement in [judge_shape(100, |x| x * 1e6), judge_shape(100, |x| f64::from(u8::from(x > 0.4)))] {
        assert!(judgement.cause.is_some() && judgement.advice.is_some(), "{judgement:?}");
    }
}
