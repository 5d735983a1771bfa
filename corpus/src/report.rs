//! The tables of docs/classification.md.

use std::fmt::Write as _;

use crate::{
    labelled::{Labelled, Truth},
    peers::PEERS,
    scoring::{Answer, Leaks, Scores, confusion_table, reliability_table},
};

const BEGIN: &str = "<!-- begin: cargo xtask classification --write -->\n";
const END: &str = "<!-- end: cargo xtask classification --write -->\n";

/// Series with what leaktrace says of them.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// The series.
    pub series: &'a [Labelled],
    /// One answer for each.
    pub answers: Vec<Answer>,
}

impl<'a> Judged<'a> {
    /// Asks `judge` about each of these series.
    pub fn new(series: &'a [Labelled], judge: impl Fn(&Labelled) -> Answer) -> Self {
        Self { series, answers: series.iter().map(judge).collect() }
    }

    /// All scores.
    pub fn scores(&self) -> Scores {
        Scores::of(&self.series.iter().zip(self.answers.iter().copied()).collect::<Vec<_>>())
    }

    /// The series that were judged wrongly, with the answer.
    pub fn wrong(&self) -> impl Iterator<Item = (&'a Labelled, &Answer)> {
        self.series.iter().zip(&self.answers).filter(|(series, answer)| !answer.is_right(series))
    }
}

/// Everything about generated and recorded series, as Markdown.
pub fn report(seed: u64, generated: &Judged<'_>, recorded: &Judged<'_>) -> String {
    let scores = generated.scores();
    let mut text = format!("### {} generated series (seed {seed})\n\n", generated.series.len());
    text += &thresholds(&scores);
    text += "\n#### Beside others\n\n";
    text += &side_by_side(generated, &scores);
    text += "\n#### Reliability\n\n";
    text += &reliability_table(&scores.calibration);
    text += "\n#### Confusion\n\n";
    text += &confusion_table(&scores.confusion);
    let _ = write!(text, "\n### {} series of real programs\n\n", recorded.series.len());
    text += &side_by_side(recorded, &recorded.scores());
    let wrong = wrong_answers(recorded);
    if !wrong.is_empty() {
        text += "\nJudged wrongly:\n\n";
        text += &wrong;
    }
    text
}

/// What was demanded and what is.
fn thresholds(scores: &Scores) -> String {
    let (calibration, intervals) = (&scores.calibration, &scores.intervals);
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let auc = calibration.auc.map_or_else(|| "–".to_owned(), |auc| format!("{auc:.3}"));
    let width = intervals.median_width.map_or_else(|| "–".to_owned(), percent);
    let rows = [
        ("macro-F1 over the eight patterns", format!("{:.3}", scores.confusion.macro_f1()), "≥ 0.95"),
        ("leak or not, F1", format!("{:.3}", scores.leaks.f1()), "≥ 0.97"),
        ("false positives on bounded series", percent(scores.leaks.false_positive_rate()), "≤ 1 %"),
        ("expected calibration error", format!("{:.3}", calibration.expected_error()), "≤ 0.05"),
        ("AUC of confidence against being right", auc, "≥ 0.80"),
        ("verdicts with a confidence of 0.8 or more", percent(calibration.sure), "15–85 %"),
        ("growth intervals that hold the true rate", percent(intervals.coverage()), "90–99 %"),
        ("the same, where growth is clear", percent(intervals.clear_coverage()), ""),
        ("median width of the interval ÷ rate, where growth is clear", width, "≤ 50 %"),
        (
            "series with a true rate, with clear growth",
            format!("{}, {}", intervals.with_rate, intervals.clear),
            "",
        ),
    ];
    let mut table = String::from("| measure | leaktrace | demanded |\n|---|---:|---:|\n");
    for (measure, value, demanded) in rows {
        let _ = writeln!(table, "| {measure} | {value} | {demanded} |");
    }
    table
}

/// Leak or not: leaktrace and its peers.
fn side_by_side(judged: &Judged<'_>, scores: &Scores) -> String {
    let mut table = String::from(
        "| detector | precision | recall | leak F1 | false positives on bounded | patterns, macro-F1 |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let patterns = format!("{:.3}", scores.confusion.macro_f1());
    table += &row("**leaktrace**", &scores.leaks, &patterns);
    for peer in PEERS {
        let says = |series: &Labelled| {
            let points: Vec<_> = series.points.iter().map(|&(t, bytes)| (t, bytes as f64)).collect();
            (series.truth(), (peer.is_leak)(&points))
        };
        let leaks = Leaks::of(judged.series.iter().map(says));
        table += &row(peer.name, &leaks, "–");
    }
    table
}

fn row(name: &str, leaks: &Leaks, patterns: &str) -> String {
    let (precision, recall, f1) = (leaks.precision(), leaks.recall(), leaks.f1());
    let alarms = leaks.false_positive_rate() * 100.0;
    format!("| {name} | {precision:.3} | {recall:.3} | {f1:.3} | {alarms:.1} % | {patterns} |\n")
}

fn wrong_answers(judged: &Judged<'_>) -> String {
    let mut lines = String::new();
    for (series, answer) in judged.wrong() {
        let said = answer.class.map_or("nothing", |class| class.name());
        let verdict = match answer.truth {
            Some(Truth::Leak) => "leak",
            Some(Truth::Suspect) => "suspect",
            Some(Truth::Bounded) => "bounded",
            None => "insufficient_data",
        };
        let (name, is) = (&series.name, series.class.name());
        let _ = writeln!(lines, "- {name} is {is}, called {said} ({verdict}, {:.2})", answer.confidence);
    }
    lines
}

/// `page` with what stands between the two markers replaced; `None` without them.
pub fn replace_between_markers(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, generate};

    #[test]
    fn a_perfect_judge_gets_full_marks() {
        let series = generate(5, 64);
        let perfect = |series: &Labelled| Answer {
            truth: Some(series.truth()),
            class: Some(series.class),
            confidence: 1.0,
            growth: series.rate.map(|rate| [rate, rate, rate]),
        };
        let judged = Judged::new(&series, perfect);
        let text = report(5, &judged, &judged);
        assert!(text.contains("| macro-F1 over the eight patterns | 1.000 | ≥ 0.95 |"), "{text}");
        assert!(text.contains("| growth intervals that hold the true rate | 100.0 % |"), "{text}");
        assert!(text.contains("| **leaktrace** | 1.000 | 1.000 | 1.000 | 0.0 % | 1.000 |"), "{text}");
        assert!(!text.contains("Judged wrongly"));
        assert_eq!(judged.wrong().count(), 0);
    }

    #[test]
    fn wrong_answers_are_named() {
        let series = generate(5, 1);
        let answer =
            Answer { truth: Some(Truth::Bounded), class: Some(Class::Warmup), confidence: 0.6, growth: None };
        let lines = wrong_answers(&Judged::new(&series, |_| answer));
        assert!(lines.ends_with("is linear, called warmup (bounded, 0.60)\n"), "{lines}");
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("above\n{BEGIN}old\n{END}below\n");
        let new = replace_between_markers(&page, "new\n").unwrap();
        assert_eq!(new, format!("above\n{BEGIN}\nnew\n\n{END}below\n"));
        assert_eq!(replace_between_markers(&new, "new\n").unwrap(), new);
        assert_eq!(replace_between_markers("nothing", "new"), None);
    }
}
