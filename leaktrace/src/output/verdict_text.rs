//! A verdict on a series in words, with a plot: for people.

use std::fmt::{self, Write as _};

use super::escape::{cut_middle, visible, width};
use super::verdict::VerdictRecord;
use super::{leak, plot, text};
use crate::verdict::{Samples, Verdict};

/// Columns before the text of a line.
const INDENT: usize = 12;
/// Longer lines are hard to read.
const WIDEST: usize = 100;
/// Narrower text would be no text.
const NARROWEST: usize = 40;

/// How a verdict is written.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Columns of the terminal.
    pub columns: u16,
    /// Colours are wanted.
    pub colour: bool,
}

/// The verdict on a series as it is printed, with a line feed at its end.
pub fn render(record: &VerdictRecord, samples: &Samples, look: Look) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_verdict(&mut out, record, samples, look);
    out
}

fn write_verdict(out: &mut String, record: &VerdictRecord, samples: &Samples, look: Look) -> fmt::Result {
    let columns = usize::from(look.columns).clamp(NARROWEST, WIDEST);
    title(out, record, look, columns)?;
    let plot = plot::lines(samples, look.columns.saturating_sub(2), look.colour);
    if !plot.is_empty() {
        writeln!(out)?;
        plot.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        writeln!(out)?;
    }
    let mut lines = Lines { out, columns };
    lines.write("growth", &growth(record, samples))?;
    let (bytes, span) = (text::bytes(record.live_bytes), text::duration(samples.span_s()));
    lines.write(
        "last value",
        &format!("{bytes}, after {} points in {span}", text::count(samples.len() as u64)),
    )?;
    if let Some(eta) = record.eta_to_limit_s {
        lines.write("limit", &limit(eta))?;
    }
    for (rank, evidence) in record.evidence.iter().enumerate() {
        lines.write(if rank == 0 { "evidence" } else { "" }, &evidence.says)?;
    }
    if let Some(cause) = &record.cause {
        lines.write("cause", cause)?;
    }
    match &record.advice {
        Some(advice) => lines.write("advice", advice),
        None => Ok(()),
    }
}

fn title(out: &mut String, record: &VerdictRecord, look: Look, columns: usize) -> fmt::Result {
    let (word, sgr) = match record.verdict {
        Verdict::Leak => ("LEAK", "1;31"),
        Verdict::Suspect => ("SUSPECT", "33"),
        Verdict::Bounded => ("bounded", "32"),
        Verdict::InsufficientData => ("insufficient data", "2"),
    };
    let (on, off) = if look.colour { (format!("\x1b[{sgr}m"), "\x1b[0m") } else { (String::new(), "") };
    let pattern =
        record.pattern.map_or(String::new(), |pattern| format!(", {}", leak::pattern(Some(pattern))));
    // How sure it is that nothing can be said means nothing.
    let said = match record.verdict {
        Verdict::InsufficientData => String::new(),
        _ => format!("{pattern}; {} sure", leak::sure(record.confidence)),
    };
    let name = record.file.as_deref().map(|file| if file == "-" { "standard input" } else { file });
    let room = columns.saturating_sub(width(word) + width(&said) + 2).max(8);
    let name = cut_middle(name.unwrap_or("series"), room);
    writeln!(out, "{name}: {on}{word}{off}{said}")
}

fn growth(record: &VerdictRecord, samples: &Samples) -> String {
    let Some(rate) = record.growth_bytes_per_s else { return "no rate can be given".to_owned() };
    let mut growth = text::rate(rate);
    // Writing into a string cannot fail.
    if let Some([low, high]) = record.growth_ci95 {
        let _ = write!(growth, " (95 %: {} to {})", text::rate(low), text::rate(high));
    }
    if let Some(since) = record.since_s {
        let start = samples.times().first().copied().unwrap_or_default();
        let _ = write!(growth, ", since {} after its start", text::duration(since - start));
    }
    growth
}

fn limit(eta_s: f64) -> String {
    if eta_s <= 0.0 {
        return "reached".to_owned();
    }
    format!("reached in {} at this rate", text::duration(eta_s))
}

/// Lines with a label, wrapped to the width.
struct Lines<'a> {
    out: &'a mut String,
    columns: usize,
}

impl Lines<'_> {
    fn write(&mut self, label: &str, text: &str) -> fmt::Result {
        let mut label = label;
        for line in wrapped(text, self.columns.saturating_sub(INDENT + 2)) {
            writeln!(self.out, "  {label:<INDENT$}{line}")?;
            label = "";
        }
        Ok(())
    }
}

/// The words of a text in lines of at most `columns`.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in visible(text).split_whitespace() {
        let word = cut_middle(word, columns);
        match lines.last_mut() {
            Some(line) if width(line) + 1 + width(&word) <= columns => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{Look, render, wrapped};
    use crate::output::escape::width;
    use crate::output::fixture;
    use crate::output::verdict::{About, VerdictRecord};
    use crate::verdict::{Circumstances, Samples, Verdict, judge};

    fn line() -> Samples {
        Samples::new((0..=192).map(|t| (f64::from(t), 7_209_984.0 + 1_650_000.0 * f64::from(t))))
    }

    #[rstest]
    #[case::usual(80)]
    #[case::narrow(40)]
    fn a_leak_in_words(#[case] columns: u16) {
        let look = Look { columns, colour: false };
        insta::assert_snapshot!(
            format!("verdict_{columns}"),
            render(&fixture::verdict_of_file(), &line(), look)
        );
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let judgement = judge(&Samples::default(), &Circumstances::default());
        let record = VerdictRecord::new(&judgement, About::default());
        let text = render(&record, &Samples::new([(1.0, 5.0)]), Look { columns: 80, colour: false });
        assert!(text.starts_with("series: insufficient data\n"), "{text}");
        assert!(text.contains("no rate can be given") && !text.contains("limit"), "{text}");
    }

    #[test]
    fn colours_are_used_only_where_wanted_and_words_say_the_same() {
        let record = |verdict| VerdictRecord { verdict, ..fixture::verdict_of_file() };
        for verdict in [Verdict::Leak, Verdict::Suspect, Verdict::Bounded, Verdict::InsufficientData] {
            let text = |colour| render(&record(verdict), &line(), Look { columns: 80, colour });
            assert!(text(true).contains("\x1b["));
            assert!(!text(false).contains('\x1b'));
        }
    }

    #[test]
    fn names_of_files_cannot_touch_the_terminal() {
        let record = VerdictRecord { file: Some("a\x1b[2Jb\n".into()), ..fixture::verdict_of_file() };
        let text = render(&record, &line(), Look { columns: 80, colour: false });
        assert!(text.starts_with("a\\x1b[2Jb\\n: LEAK, linear"), "{text}");
    }

    proptest! {
        #[test]
        fn wrapped_lines_keep_every_word_and_their_columns(text in "[a-z漢 ]{0,120}", columns in 8_usize..60) {
            let lines = wrapped(&text, columns);
            prop_assert!(lines.iter().all(|line| width(line) <= columns));
            let words = |text: &str| text.split_whitespace().count();
            prop_assert_eq!(lines.iter().map(|line| words(line)).sum::<usize>(), words(&text));
        }
    }
}
