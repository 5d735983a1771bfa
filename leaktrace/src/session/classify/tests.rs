//! The whole way from numbers to a record, for any numbers.

use proptest::prelude::*;

use super::verdict_of;
use crate::output::record::Record;
use crate::output::verdict::{SubjectKind, VerdictRecord};
use crate::output::verdict_text::{Look, render};
use crate::session::series_file::{SeriesFile, read_series};
use crate::verdict::{Pattern, Samples, Verdict};

fn line(points: u32) -> Samples {
    Samples::new((0..points).map(|t| (f64::from(t), 5e7 + 1e6 * f64::from(t))))
}

#[test]
fn a_perfect_line_is_a_leak_and_reaches_its_limit() {
    let record = verdict_of("line.csv", &line(60), Some(209_000_000));
    assert_eq!((record.verdict, record.pattern), (Verdict::Leak, Some(Pattern::Linear)));
    assert_eq!((record.file.as_deref(), record.subject.kind), (Some("line.csv"), SubjectKind::Series));
    assert_eq!((record.live_bytes, record.stack, record.pid), (109_000_000, None, None));
    assert!((record.t - 59.0).abs() < 1e-9);
    // 100 MB are left, and each second takes one.
    assert!(
        record.eta_to_limit_s.is_some_and(|eta| (eta - 100.0).abs() < 1.0),
        "{:?}",
        record.eta_to_limit_s
    );
}

#[test]
fn without_a_limit_none_is_reached_and_a_passed_one_is_reached_now() {
    assert_eq!(verdict_of("-", &line(60), None).eta_to_limit_s, None);
    let passed = verdict_of("-", &line(60), Some(1)).eta_to_limit_s;
    assert!(passed.is_some_and(|eta| eta.abs() < 1e-9), "{passed:?}");
}

#[test]
fn a_constant_is_bounded() {
    let constant = Samples::new((0..60).map(|t| (f64::from(t), 5e7)));
    let record = verdict_of("-", &constant, Some(1 << 30));
    assert_eq!((record.verdict, record.pattern), (Verdict::Bounded, Some(Pattern::Steady)));
    assert_eq!(record.eta_to_limit_s, None);
}

/// What every record must be, whatever it is about.
fn check(record: VerdictRecord, samples: &Samples) -> Result<(), TestCaseError> {
    prop_assert!((0.0..=1.0).contains(&record.confidence));
    prop_assert_eq!(record.growth_bytes_per_s.is_some(), record.growth_ci95.is_some());
    if let (Some(rate), Some([low, high])) = (record.growth_bytes_per_s, record.growth_ci95) {
        prop_assert!(low <= rate && rate <= high, "{low} <= {rate} <= {high}");
    }
    prop_assert!(record.eta_to_limit_s.is_none_or(|eta| eta >= 0.0));
    prop_assert_eq!(record.pattern.is_none(), record.verdict == Verdict::InsufficientData);
    let text = render(&record, samples, Look { columns: 80, colour: false });
    prop_assert!(text.ends_with('\n') && !text.contains('\x1b'));
    let json = serde_json::to_string(&Record::Verdict(record)).unwrap();
    prop_assert!(matches!(serde_json::from_str(&json), Ok(Record::Verdict(_))), "{json}");
    Ok(())
}

fn text_of(points: &[(f64, f64)]) -> String {
    let rows: Vec<_> = points.iter().map(|(t, bytes)| format!("{t:e},{bytes:e}")).collect();
    format!("t,bytes\n{}", rows.join("\n"))
}

proptest! {
    #[test]
    fn any_numbers_are_judged_or_refused(
        points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..100),
        limit in prop::option::of(any::<u64>()),
    ) {
        if let Ok(SeriesFile { samples, .. }) = read_series(text_of(&points).as_bytes()) {
            check(verdict_of("-", &samples, limit), &samples)?;
        }
    }

    #[test]
    fn any_series_is_judged(
        start in prop_oneof![Just(0.0), -1e9..1e9],
        values in prop::collection::vec(
            (prop_oneof![Just(1.0), 1e-6..1e6], prop_oneof![Just(0.0), 0.0..1e3, 0.0..9.2e18]),
            1..300,
        ),
        limit in prop::option::of(any::<u64>()),
    ) {
        let mut t = start;
        let points: Vec<_> = values.iter().map(|&(step, bytes)| { t += step; (t, bytes) }).collect();
        let SeriesFile { samples, .. } = read_series(text_of(&points).as_bytes()).unwrap();
        prop_assert_eq!(samples.len(), points.len());
        check(verdict_of("series.csv", &samples, limit), &samples)?;
    }
}
