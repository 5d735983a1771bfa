//! Tables in Markdown.

use std::fmt::Write as _;

use super::{Calibration, Confusion};
use crate::labelled::Class;

/// Rows of true classes, columns of answers; zeros are dots.
pub fn confusion_table(confusion: &Confusion) -> String {
    let names = Class::ALL.iter().map(|class| class.name()).collect::<Vec<_>>().join(" | ");
    let mut table = format!("| is ↓, called → | {names} | none | F1 |\n|---|{}\n", "---:|".repeat(10));
    for class in Class::ALL {
        let answers = Class::ALL.iter().copied().map(Some).chain([None]);
        let cells: Vec<String> = answers
            .map(|answer| match confusion.count(class, answer) {
                0 => "·".to_owned(),
                count => count.to_string(),
            })
            .collect();
        let f1 = confusion.f1(class).map_or_else(|| "–".to_owned(), |f1| format!("{f1:.3}"));
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {} | {} | {f1} |", class.name(), cells.join(" | "));
    }
    table
}

/// A row for each tenth of confidence that occurs.
pub fn reliability_table(calibration: &Calibration) -> String {
    let mut table =
        String::from("| confidence | verdicts | mean confidence | right |\n|---|---:|---:|---:|\n");
    for (tenth, bin) in calibration.bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
        let (low, high) = (tenth as f64 / 10.0, (tenth + 1) as f64 / 10.0);
        let (mean, right) = (bin.confidence(), bin.accuracy());
        let _ = writeln!(table, "| {low:.1}–{high:.1} | {} | {mean:.3} | {right:.3} |", bin.count);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_row_each() {
        let confusion = Confusion::of([(Class::Spike, Some(Class::Spike)), (Class::Spike, None)].into_iter());
        let table = confusion_table(&confusion);
        assert_eq!(table.lines().count(), 10);
        assert!(table.contains("| spike | · | · | · | · | 1 | · | · | · | 1 | 0.667 |"), "{table}");
        let table = reliability_table(&Calibration::of([(0.85, true), (0.85, false)].into_iter()));
        assert!(table.ends_with("| 0.8–0.9 | 2 | 0.850 | 0.500 |\n"), "{table}");
    }
}
