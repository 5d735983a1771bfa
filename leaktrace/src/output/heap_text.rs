//! What `leaktrace heap` tells people: figures by constructor, what grew, and paths.

use std::fmt::Write as _;

use super::escape::{cut_end, cut_middle, visible, width};
use super::heap_record::{HeapConstructor, HeapGrowth, HeapObject, HeapSnapshot, HeapStep};
use super::text::{bytes, count};
use super::verdict_text::{Look, wrapped};
use crate::v8::snapshot::Cause;

/// Columns before the text of a line.
const INDENT: usize = 10;
/// Narrower text would be no text.
const NARROWEST: usize = 40;
/// Longer lines are hard to read.
const WIDEST: usize = 120;

/// What a snapshot holds in all: a line.
pub fn snapshot(record: &HeapSnapshot, look: Look) -> String {
    let mut said = format!("{} in {} nodes", bytes(record.bytes), count(record.nodes));
    // Writing into a string cannot fail.
    if record.native_bytes > 0 {
        let _ = write!(said, "; {} outside of V8's heap", bytes(record.native_bytes));
    }
    if record.detached > 0 {
        let (objects, held) = (count(record.detached), bytes(record.detached_bytes));
        let _ = write!(said, "; {objects} detached objects hold {held}");
    }
    let name = cut_middle(file_name(&record.file), columns(look).saturating_sub(width(&said) + 2).max(40));
    format!("{name}: {said}\n")
}

/// The table of constructors.
pub fn constructors(records: &[HeapConstructor], look: Look) -> String {
    let has_changes = records.iter().any(|record| record.change.is_some());
    let mut out = String::from("\n   COUNT   SHALLOW  RETAINED");
    if has_changes {
        out.push_str("    +COUNT  +RETAINED      NEW  DELETED");
    }
    let used = width(out.trim_start_matches('\n')) + 2;
    out.push_str(if has_changes {
        "  CONSTRUCTOR, by growth of what it retains\n"
    } else {
        "  CONSTRUCTOR, by what it retains\n"
    });
    for record in records {
        // Writing into a string cannot fail.
        let (shallow, retained) = (bytes(record.shallow_bytes), bytes(record.retained_bytes));
        let _ = write!(out, "{:>8} {shallow:>9} {retained:>9}", count(record.count));
        if let Some(change) = &record.change {
            let (more, held) = (signed(change.count, count), signed(change.retained_bytes, bytes));
            let _ =
                write!(out, " {more:>9} {held:>10} {:>8} {:>8}", count(change.new), count(change.deleted));
        }
        let room = columns(look).saturating_sub(used).max(16);
        let _ = writeln!(out, "  {}", cut_end(&record.constructor, room));
    }
    out
}

/// A place that grew.
pub fn growth(record: &HeapGrowth, look: Look) -> String {
    let (on, off) = if look.colour { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut out = String::new();
    let places = match record.places {
        1 => String::new(),
        places => format!(" at {} places", count(places)),
    };
    let (grown, class) = (bytes(record.bytes), cut_end(&record.constructor, 60));
    // Writing into a string cannot fail.
    let _ = writeln!(out, "\n{on}GREW{off} +{grown}{places}, mostly {class}: {}", cause(record.cause));
    let mut circle = "";
    if record.circular {
        circle = "; they refer to one another in a circle, which by itself keeps nothing alive";
    }
    line(&mut out, "cause", &format!("{}{circle}", record.says), look);
    line(&mut out, "path", &path(&record.path), look);
    line(&mut out, "advice", &record.advice, look);
    out
}

/// Nothing grew.
pub fn no_growth(files: usize) -> String {
    match files {
        2 => "\nnothing holds notably more in the second snapshot than in the first\n".to_owned(),
        _ => "\nnothing holds notably more in each snapshot than in the one before\n".to_owned(),
    }
}

/// An object and its path.
pub fn object(record: &HeapObject, look: Look) -> String {
    let class = cut_end(&record.constructor, 60);
    let (shallow, retained) = (bytes(record.shallow_bytes), bytes(record.retained_bytes));
    let mut out = format!("\n{class} @{}: shallow {shallow}, retained {retained}\n", record.id);
    let way = match record.path.as_slice() {
        [] => "only weak references lead here".to_owned(),
        steps => path(steps),
    };
    line(&mut out, "path", &way, look);
    out
}

/// A cause in a few words.
pub fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::GlobalVariable => "a global variable",
        Cause::EventListeners => "event listeners",
        Cause::Closure => "closures",
        Cause::UnboundedCollection => "a collection without limit",
        Cause::Timers => "timers",
        Cause::DetachedDom => "detached DOM nodes",
        Cause::ExternalMemory => "memory outside of the JavaScript heap",
        Cause::Unknown => "cause not known",
    }
}

/// `(GC roots) → main → Context .sessions → Map .table → (array) [17] → Session @4713`.
fn path(steps: &[HeapStep]) -> String {
    let mut out = String::new();
    for step in steps {
        // Writing into a string cannot fail.
        if !out.is_empty() {
            if step.left_out > 0 {
                let _ = write!(out, " → … {} more …", step.left_out);
            }
            match step.edge_kind.as_str() {
                "element" | "hidden" => {
                    let _ = write!(out, " [{}]", step.edge);
                }
                _ => {
                    let _ = write!(out, " .{}", cut_end(&step.edge, 40));
                }
            }
            out.push_str(" → ");
        }
        let _ = write!(out, "{}", cut_end(&step.name, 40));
    }
    if let Some(last) = steps.last() {
        let _ = write!(out, " @{}", last.id);
    }
    out
}

fn line(out: &mut String, label: &str, text: &str, look: Look) {
    let mut label = label;
    for line in wrapped(text, columns(look).saturating_sub(INDENT + 2)) {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "  {label:<INDENT$}{line}");
        label = "";
    }
}

fn columns(look: Look) -> usize {
    usize::from(look.columns).clamp(NARROWEST, WIDEST)
}

fn file_name(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}

fn signed(value: i64, text: fn(u64) -> String) -> String {
    let sign = match value {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", visible(&text(value.unsigned_abs())))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::{constructors, growth, object, snapshot};
    use crate::output::escape::width;
    use crate::output::fixture::heap as fixture;
    use crate::output::heap_record::HeapConstructor;
    use crate::output::verdict_text::Look;

    fn all(columns: u16) -> String {
        let look = Look { columns, colour: false };
        let classes =
            [fixture::constructor("Session", 2000, 1000), fixture::constructor("(string)", 12_371, 1)];
        let single = HeapConstructor { change: None, ..fixture::constructor("Map", 19, 0) };
        [
            snapshot(&fixture::snapshot(), look),
            constructors(&classes, look),
            growth(&fixture::growth(), look),
            constructors(&[single], look),
            object(&fixture::object(), look),
        ]
        .concat()
    }

    #[test]
    fn the_text_changes_only_on_purpose() {
        insta::assert_snapshot!("heap_100", all(100));
    }

    #[rstest]
    fn paths_and_causes_stay_in_their_columns(#[values(40, 60, 80, 120)] columns: u16) {
        let text = growth(&fixture::growth(), Look { columns, colour: false });
        let wide: Vec<_> = text.lines().skip(2).filter(|line| width(line) > usize::from(columns)).collect();
        assert!(wide.is_empty(), "{wide:?}");
    }

    #[test]
    fn names_from_the_heap_cannot_steer_the_terminal() {
        let look = Look { columns: 80, colour: false };
        let mut record = fixture::growth();
        record.constructor = "\x1b[2J".into();
        record.says = "a\x1b[2Jb".into();
        record.path[0].name = "\u{202e}x".into();
        let text = growth(&record, look) + &constructors(&[fixture::constructor("\x1b]0;x\x07", 3, 1)], look);
        assert!(!text.contains(['\x1b', '\u{202e}', '\x07']), "{text}");
    }
}
