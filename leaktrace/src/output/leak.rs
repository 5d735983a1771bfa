//! A verdict in one line of plain text, for people: what it is, where it comes from, how fast it grows, how sure that
//! is, and when a limit is reached.

use super::escape::visible;
use super::verdict::{SubjectKind, VerdictRecord};
use super::{stack, text};
use crate::symbol::Frame;
use crate::verdict::{Pattern, Verdict};

/// Longer names are shortened.
const NAME_COLUMNS: usize = 60;

/// `leak: remember_session (demo_service.c:51) linear +1.0 MiB/s, 93% sure, limit in 3h02m`.
pub fn line(record: &VerdictRecord) -> String {
    let mut line = format!("{}: {} {}", verdict(record.verdict), subject(record), pattern(record.pattern));
    if let Some(rate) = record.growth_bytes_per_s {
        line.push(' ');
        line.push_str(&text::rate(rate));
    }
    line.push_str(", ");
    line.push_str(&sure(record.confidence));
    if let Some(seconds) = record.eta_to_limit_s {
        line.push_str(", limit in ");
        line.push_str(&text::duration(seconds));
    }
    line
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
        Verdict::InsufficientData => "too early to say",
    }
}

/// A pattern in a word; a dash where there is none.
pub(super) const fn pattern(pattern: Option<Pattern>) -> &'static str {
    match pattern {
        Some(Pattern::Linear) => "linear",
        Some(Pattern::Staircase) => "staircase",
        Some(Pattern::Periodic) => "periodic",
        Some(Pattern::Spike) => "spike",
        Some(Pattern::Warmup) => "warmup",
        Some(Pattern::Steady) => "steady",
        Some(Pattern::Shrinking) => "shrinking",
        None => "-",
    }
}

/// Confidence in words: `93% sure`. Never rounded up to certainty.
fn sure(confidence: f64) -> String {
    format!("{:.0}% sure", (confidence * 100.0).floor().clamp(0.0, 100.0))
}

#[cfg(test)]
mod tests {
    use super::line;
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
    fn names_from_the_target_stay_in_their_line() {
        let mut hostile = fixture::verdict();
        hostile.culprit = Some(fixture::frame("a\x1b[2J\nb", "c\nd", 1));
        let line = line(&hostile);
        assert!(line.chars().all(|c| !c.is_control()), "{line:?}");
    }
}
