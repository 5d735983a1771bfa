//! A verdict in one line of plain text, for people: what it is, where it comes from, how fast it grows, how sure that
//! is, and when a limit is reached.

use std::cmp::Ordering;

use super::escape::visible;
use super::verdict::{SubjectKind, VerdictRecord};
use super::{stack, text};
use crate::symbol::Frame;
use crate::verdict::{Pattern, Verdict};

/// Longer names are shortened.
const NAME_COLUMNS: usize = 60;

/// `leak: remember_session (demo_service.c:51) linear +1.0 MiB/s, 93% sure, limit in 3h02m`.
pub fn line(record: &VerdictRecord) -> String {
    format!("{}: {}", verdict(record.verdict), found(record))
}

/// The line without the verdict itself.
pub(super) fn found(record: &VerdictRecord) -> String {
    format!("{} {}", subject(record), says(record))
}

/// `linear +1.0 MiB/s, 93% sure, limit in 3h02m`.
pub(super) fn says(record: &VerdictRecord) -> String {
    let mut says = pattern(record.pattern).to_owned();
    if let Some(rate) = record.growth_bytes_per_s {
        says.push(' ');
        says.push_str(&text::rate(rate));
    }
    says.push_str(", ");
    says.push_str(&sure(record.confidence));
    says.push_str(" sure");
    if let Some(seconds) = record.eta_to_limit_s {
        says.push_str(", limit in ");
        says.push_str(&text::duration(seconds));
    }
    says
}

/// What matters most first: leaks before suspects, call sites, which name a line of code, before what contains them, then
/// by confidence × rate.
pub fn worst_first(a: &VerdictRecord, b: &VerdictRecord) -> Ordering {
    let weight = |record: &VerdictRecord| record.confidence * record.growth_bytes_per_s.unwrap_or(0.0);
    let class = (a.verdict, a.subject.kind).cmp(&(b.verdict, b.subject.kind));
    class.then(weight(b).total_cmp(&weight(a))).then((a.pid, a.subject).cmp(&(b.pid, b.subject)))
}

/// What the verdict is about: a function with its place, or the process.
fn subject(record: &VerdictRecord) -> String {
    let pid = record.pid.unwrap_or_default();
    match record.subject.kind {
        SubjectKind::Site => {
            let first = record.stack.as_deref().and_then(<[_]>::first);
            record.culprit.as_ref().or(first).map_or_else(
                || format!("call site {} of pid {pid}", record.subject.id.unwrap_or_default()),
                function,
            )
        }
        SubjectKind::Process => format!("live bytes of pid {pid}"),
        SubjectKind::Rss => format!("resident memory of pid {pid}"),
        SubjectKind::V8Heap => format!("V8 heap {} of pid {pid}", record.subject.id.unwrap_or_default()),
        SubjectKind::Series => {
            record.file.as_deref().map_or_else(|| "the series".to_owned(), |file| visible(file).into_owned())
        }
    }
}

/// `function (file:line)`.
fn function(frame: &Frame) -> String {
    let name = stack::shorten(&stack::name(frame), NAME_COLUMNS);
    match stack::place(frame, true) {
        Some(place) => format!("{name} ({place})"),
        None => name,
    }
}

/// A verdict in a word.
pub(super) const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Leak => "leak",
        Verdict::Suspect => "suspect",
        Verdict::Bounded => "bounded",
        Verdict::InsufficientData => "unknown",
    }
}

/// A pattern in a word; a dash where there is none.
pub(super) const fn pattern(pattern: Option<Pattern>) -> &'static str {
    match pattern {
        Some(Pattern::Linear) => "linear",
        Some(Pattern::Staircase) => "staircase",
        Some(Pattern::Periodic) => "periodic",
        Some(Pattern::Spike) => "spike",
        Some(Pattern::Warmup) => "warm-up",
        Some(Pattern::Steady) => "steady",
        Some(Pattern::Shrinking) => "shrinking",
        None => "-",
    }
}

/// Confidence as people read it: `93%`. Never rounded up to certainty.
pub(super) fn sure(confidence: f64) -> String {
    format!("{:.0}%", (confidence * 100.0).floor().clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::{line, worst_first};
    use crate::output::fixture;
    use crate::output::verdict::VerdictRecord;

    #[test]
    fn a_line_says_what_where_how_fast_and_how_sure() {
        let lines: Vec<_> = fixture::leaks().iter().map(line).collect();
        let expected = [
            "leak: createStringObject (object.c:123) linear +1.6 MiB/s, 97% sure, limit in 1h00m",
            "leak: live bytes of pid 4711 linear +1.6 MiB/s, 91% sure, limit in 1h00m",
            "suspect: call site 3 of pid 4711 spike, 60% sure",
        ];
        assert_eq!(lines, expected);
        assert_eq!(
            line(&VerdictRecord { eta_to_limit_s: None, ..fixture::verdict_of_file() }),
            "leak: heap.csv linear +1.6 MiB/s, 97% sure"
        );
    }

    #[test]
    fn what_matters_most_comes_first() {
        let leaks = fixture::leaks();
        let slow = VerdictRecord { growth_bytes_per_s: Some(10.0), ..leaks[0].clone() };
        let unsure = VerdictRecord { confidence: 0.4, ..leaks[0].clone() };
        let sorted = [&leaks[0], &unsure, &slow, &leaks[1], &leaks[2]];
        assert!(sorted.is_sorted_by(|a, b| worst_first(a, b).is_lt()));
    }

    #[test]
    fn names_from_the_target_stay_in_their_line() {
        let mut hostile = fixture::verdict();
        hostile.culprit = Some(fixture::frame("a\x1b[2J\nb", "c\nd", 1));
        let line = line(&hostile);
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
}
