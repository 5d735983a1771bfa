//! Live series, second by second: from when and until when each verdict holds.

use super::*;
use crate::verdict::Pattern;

/// What a live run uses.
const PATIENCE_S: f64 = 50.0;

/// The judgement after so many seconds of a site whose live bytes are given each second.
fn after(seconds: u32, bytes: impl Fn(f64) -> f64) -> Judgement {
    let points = (0..=seconds).map(|t| (f64::from(t), bytes(f64::from(t)).floor()));
    let circumstances = Circumstances { patience_s: PATIENCE_S, ..Circumstances::default() };
    judge(&Samples::new(points), &circumstances)
}

#[test]
fn a_megabyte_a_second() {
    for seconds in 9..50 {
        let judgement = after(seconds, |t| 1e6 * t);
        let got = (judgement.verdict, judgement.pattern);
        assert_eq!(got, (Verdict::Suspect, Some(Pattern::Linear)), "after {seconds} s: {judgement:?}");
        assert!(judgement.confidence < 0.8, "after {seconds} s: {judgement:?}");
    }
    for seconds in 50..400 {
        let judgement = after(seconds, |t| 1e6 * t);
        let got = (judgement.verdict, judgement.pattern);
        assert_eq!(got, (Verdict::Leak, Some(Pattern::Linear)), "after {seconds} s: {judgement:?}");
        assert!(seconds >= 100 || judgement.confidence < 0.8, "after {seconds} s: {judgement:?}");
    }
    assert!(after(200, |t| 1e6 * t).confidence > 0.9);
}

#[test]
fn ten_kilobytes_a_second_in_blocks() {
    // A block of 4000 bytes every 0.4 s, over a floor that does not move.
    let bytes = |t: f64| 50_000.0 + 4000.0 * (t / 0.4).floor();
    for seconds in 20..400 {
        let judgement = after(seconds, bytes);
        let expected = if seconds < 50 { Verdict::Suspect } else { Verdict::Leak };
        assert_eq!(
            (judgement.verdict, judgement.pattern),
            (expected, Some(Pattern::Linear)),
            "{seconds}: {judgement:?}"
        );
    }
}

#[test]
fn a_cache_that_fills_for_a_minute() {
    let bytes = |t: f64| 1e6 * t.min(60.0);
    for seconds in 20..=62 {
        let judgement = after(seconds, bytes);
        assert!(
            matches!(judgement.verdict, Verdict::Suspect | Verdict::Leak),
            "after {seconds} s: {judgement:?}"
        );
        assert!(judgement.confidence < 0.8, "after {seconds} s: {judgement:?}");
    }
    for seconds in 90..1000 {
        let judgement = after(seconds, bytes);
        assert_eq!(judgement.verdict, Verdict::Bounded, "after {seconds} s: {judgement:?}");
        // In the end the minute is a corner of the window, and the rest is flat.
        let is_named = judgement.pattern == Some(Pattern::Warmup) || seconds > 600;
        assert!(is_named, "after {seconds} s: {judgement:?}");
    }
}

#[test]
fn a_young_staircase_has_its_name_before_its_verdict() {
    for seconds in 26..50 {
        let judgement = after(seconds, |t| 2e6 * (t / 6.0).floor());
        let got = (judgement.verdict, judgement.pattern);
        assert_eq!(got, (Verdict::Suspect, Some(Pattern::Staircase)), "after {seconds} s: {judgement:?}");
    }
}

#[test]
fn a_staircase_is_named_after_its_fourth_step() {
    for (interval, height) in [(20.0, 1e6), (60.0, 5e7), (35.0, 3e4)] {
        let bytes = |t: f64| height * (t / interval).floor();
        let fourth = (4.0 * interval) as u32;
        for seconds in fourth + 3..3 * fourth {
            let judgement = after(seconds, bytes);
            let got = (judgement.verdict, judgement.pattern);
            assert_eq!(
                got,
                (Verdict::Leak, Some(Pattern::Staircase)),
                "after {seconds} s of {interval}: {judgement:?}"
            );
        }
    }
}

#[test]
fn rising_cycles_are_named_after_the_fourth() {
    for (period, share_kept) in [(20.0, 0.3), (60.0, 0.15)] {
        let bytes = |t: f64| 1e7 * ((t / period).fract() + share_kept * (t / period).floor());
        let fourth = (4.0 * period) as u32;
        for seconds in fourth + 5..3 * fourth {
            let judgement = after(seconds, bytes);
            let got = (judgement.verdict, judgement.pattern);
            assert_eq!(
                got,
                (Verdict::Leak, Some(Pattern::Periodic)),
                "after {seconds} s of {period}: {judgement:?}"
            );
        }
    }
}

#[test]
fn what_stands_still_is_bounded_at_once_and_for_good() {
    for seconds in 9..300 {
        let judgement = after(seconds, |_| 123_456.0);
        assert_eq!((judgement.verdict, judgement.pattern), (Verdict::Bounded, Some(Pattern::Steady)));
    }
}

#[test]
fn growth_after_a_long_quiet() {
    let bytes = |t: f64| 5e6 + 1e6 * (t - 300.0).max(0.0);
    for seconds in 330..345 {
        let judgement = after(seconds, bytes);
        assert!(
            matches!(judgement.verdict, Verdict::Suspect | Verdict::Leak),
            "after {seconds} s: {judgement:?}"
        );
    }
    for seconds in 380..700 {
        let judgement = after(seconds, bytes);
        let got = (judgement.verdict, judgement.pattern);
        assert_eq!(got, (Verdict::Leak, Some(Pattern::Linear)), "after {seconds} s: {judgement:?}");
    }
}
