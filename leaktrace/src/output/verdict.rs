//! The `verdict` record: what a series is, of a live trace or of a file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::record::is_false;
use crate::symbol::Frame;
use crate::verdict::{Evidence, Judgement, Pattern, Verdict};

/// What a verdict is about.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// The live bytes of a call site.
    Site,
    /// The live bytes of a process.
    Process,
    /// The resident set of a process.
    Rss,
    /// The bytes of a V8 isolate after its mark-compacts.
    V8Heap,
    /// A series that was given as a file.
    #[default]
    Series,
}

/// What a verdict is about, and which of them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// The number of the site, of the process (its pid) or of the isolate; null for a series.
    pub id: Option<u64>,
}

/// What a series is, how fast it grows, how sure that is, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictRecord {
    /// Seconds since attach; of a series from a file its last time.
    pub t: f64,
    /// Process id; null for a series from a file.
    pub pid: Option<u32>,
    /// What the verdict is about.
    pub subject: Subject,
    /// Name of the file that the series came from, `-` for standard input; null in a trace.
    pub file: Option<String>,
    /// Whether it is a leak.
    pub verdict: Verdict,
    /// The shape of the series; null with `insufficient_data`.
    pub pattern: Option<Pattern>,
    /// How likely verdict and pattern are right, 0..1: of those at 0.9, nine in ten are.
    pub confidence: f64,
    /// Growth, bytes a second; null where no rate can be given.
    pub growth_bytes_per_s: Option<f64>,
    /// Lower and upper end of the interval that holds the true rate with 95 %; null where no rate can be given.
    pub growth_ci95: Option<[f64; 2]>,
    /// Bytes of the subject at `t`: live, resident, in use after a mark-compact, or the last of the series.
    pub live_bytes: u64,
    /// Blocks that are live; null where the subject has none.
    pub live_count: Option<u64>,
    /// Allocations since attach; null where the subject has none.
    pub allocs: Option<u64>,
    /// How many of their blocks were freed; null where the subject has none.
    pub frees: Option<u64>,
    /// The bytes are estimated from samples, and the counts are of samples; absent where they are exact.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// The `t` since which it moves as it does now; null where it always did, as far as is known.
    pub since_s: Option<f64>,
    /// Seconds until the nearest limit is reached at this rate; null without a limit, or without growth.
    pub eta_to_limit_s: Option<f64>,
    /// The innermost frame of the stack that is not the allocator's own: the line of code to look at. Null for what is
    /// no call site, and until the names of the stack are known.
    pub culprit: Option<Frame>,
    /// Innermost first; null for what is no call site, empty where the stack could not be taken.
    pub stack: Option<Vec<Frame>>,
    /// What speaks for it and against it, the weightiest first.
    pub evidence: Vec<Evidence>,
    /// The likely cause, in one sentence.
    pub cause: Option<String>,
    /// What to do, in one sentence.
    pub advice: Option<String>,
}

/// What a verdict record tells beside the judgement: the fields of [`VerdictRecord`] of the same names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// See [`VerdictRecord::t`].
    pub t: f64,
    /// See [`VerdictRecord::pid`].
    pub pid: Option<u32>,
    /// See [`VerdictRecord::subject`].
    pub subject: Subject,
    /// See [`VerdictRecord::file`].
    pub file: Option<String>,
    /// See [`VerdictRecord::live_bytes`].
    pub live_bytes: u64,
    /// See [`VerdictRecord::live_count`].
    pub live_count: Option<u64>,
    /// See [`VerdictRecord::allocs`].
    pub allocs: Option<u64>,
    /// See [`VerdictRecord::frees`].
    pub frees: Option<u64>,
    /// See [`VerdictRecord::estimated`].
    pub estimated: bool,
    /// See [`VerdictRecord::stack`].
    pub stack: Option<Vec<Frame>>,
}

impl VerdictRecord {
    /// The record of a judgement. Figures are rounded to what they are good for: times and rates to a thousandth,
    /// confidence to three digits.
    pub fn new(judgement: &Judgement, about: About) -> Self {
        let growth = judgement.growth.filter(|growth| {
            growth.bytes_per_s.is_finite() && growth.ci95.0.is_finite() && growth.ci95.1.is_finite()
        });
        let confidence = if judgement.confidence.is_nan() { 0.0 } else { judgement.confidence };
        Self {
            t: thousandths(about.t),
            pid: about.pid,
            subject: about.subject,
            file: about.file,
            verdict: judgement.verdict,
            pattern: judgement.pattern,
            confidence: thousandths(confidence.clamp(0.0, 1.0)),
            growth_bytes_per_s: growth.map(|growth| thousandths(growth.bytes_per_s)),
            growth_ci95: growth.map(|growth| [thousandths(growth.ci95.0), thousandths(growth.ci95.1)]),
            live_bytes: about.live_bytes,
            live_count: about.live_count,
            allocs: about.allocs,
            frees: about.frees,
            estimated: about.estimated,
            since_s: seconds(judgement.since_s),
            eta_to_limit_s: seconds(judgement.eta_to_limit_s),
            culprit: None,
            stack: about.stack,
            // JSON has no figure for what is not finite.
            evidence: judgement.evidence.iter().filter(|one| one.value.is_finite()).map(rounded).collect(),
            cause: judgement.cause.clone(),
            advice: judgement.advice.clone(),
        }
    }

    /// Whether it is a leak, at least as sure as asked.
    pub fn is_leak_at(&self, confidence: f64) -> bool {
        self.verdict == Verdict::Leak && self.confidence >= confidence
    }
}

fn seconds(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite()).map(thousandths)
}

fn rounded(evidence: &Evidence) -> Evidence {
    Evidence { value: significant(evidence.value), ..evidence.clone() }
}

/// Rounded to three decimals; never -0, which would look like a loss of something.
fn thousandths(value: f64) -> f64 {
    // Larger figures have no thousandths, and multiplying could leave the numbers.
    let rounded = if value.abs() < 1e12 { (value * 1e3).round() / 1e3 } else { value.round() };
    rounded + 0.0
}

/// Rounded to six significant digits.
fn significant(value: f64) -> f64 {
    // The way through text rounds correctly at any size.
    format!("{value:.5e}").parse().unwrap_or(value) + 0.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{About, VerdictRecord, significant, thousandths};
    use crate::output::fixture;
    use crate::output::record::Record;
    use crate::verdict::{Circumstances, Evidence, Growth, Samples, Verdict, judge};

    #[test]
    fn figures_are_rounded_to_what_they_are_good_for() {
        assert_eq!((thousandths(1.23456), thousandths(1e300), thousandths(-0.0001)), (1.235, 1e300, 0.0));
        assert!(thousandths(-0.0001).is_sign_positive());
        assert_eq!(
            (significant(0.000_123_456_78), significant(-98_765_432.0)),
            (0.000_123_457, -98_765_400.0)
        );
        assert!(significant(f64::MAX).is_finite() && significant(f64::MIN).is_finite());
    }

    #[test]
    fn a_leak_counts_from_the_asked_confidence_on() {
        let leak = fixture::verdict();
        assert!(leak.is_leak_at(0.0) && leak.is_leak_at(leak.confidence));
        assert!(!leak.is_leak_at(leak.confidence + 0.001));
        let suspect = VerdictRecord { verdict: Verdict::Suspect, ..leak };
        assert!(!suspect.is_leak_at(0.0));
    }

    proptest! {
        #[test]
        fn any_judgement_is_valid_json_with_its_interval_in_order(
            growth in prop::array::uniform3(any::<f64>()),
            confidence in any::<f64>(),
            times in prop::array::uniform4(prop::option::of(any::<f64>())),
        ) {
            let mut judgement = judge(&Samples::default(), &Circumstances::default());
            let mut growth = growth;
            growth.sort_by(f64::total_cmp);
            let [low, rate, high] = growth;
            judgement.growth = Some(Growth { bytes_per_s: rate, ci95: (low, high) });
            judgement.confidence = confidence;
            judgement.since_s = times[0];
            judgement.eta_to_limit_s = times[1];
            let value = times[2].unwrap_or(0.0);
            judgement.evidence = vec![Evidence { name: "trend".into(), value, says: "grows".into() }];
            let t = times[3].filter(|t| t.is_finite()).unwrap_or(0.0);
            let record = VerdictRecord::new(&judgement, About { t, ..About::default() });
            prop_assert!((0.0..=1.0).contains(&record.confidence));
            if let (Some(rate), Some([low, high])) = (record.growth_bytes_per_s, record.growth_ci95) {
                prop_assert!(low <= rate && rate <= high);
            }
            let rates = record.growth_ci95.map_or(0, |ends| ends.len());
            let text = serde_json::to_string(&Record::Verdict(record)).unwrap();
            let Record::Verdict(read) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
            // What is not finite would have been written as null.
            prop_assert_eq!(read.growth_ci95.map_or(0, |ends| ends.len()), rates);
        }
    }
}
