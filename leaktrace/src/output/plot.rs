//! A small plot of a series, in characters.

use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, Widget};

use super::text;
use crate::verdict::Samples;

/// Narrower, the labels would take all the room.
const NARROWEST: u16 = 24;
/// A wider one tells no more.
const WIDEST: u16 = 100;
const HEIGHT: u16 = 9;

/// The plot in lines of at most `columns`; none where there is nothing to draw, or no room.
pub(super) fn lines(samples: &Samples, columns: u16, colour: bool) -> Vec<String> {
    let width = columns.min(WIDEST);
    if samples.span_s() <= 0.0 || width < NARROWEST {
        return Vec::new();
    }
    let range = Range::of(samples);
    let points = reduced(samples, usize::from(width) * 2, &range);
    let style = if colour { Style::new().fg(Color::Cyan) } else { Style::new() };
    let data =
        Dataset::default().marker(Marker::Braille).graph_type(GraphType::Line).style(style).data(&points);
    let x_labels = ["0s".to_owned(), text::duration(samples.span_s())];
    let y_labels = [range.low, range.high].map(|bytes| text::bytes(bytes.round() as u64));
    // Everything is drawn within 0 to 1: no figure of a file comes near the arithmetic of the canvas.
    let chart = Chart::new(vec![data])
        .x_axis(Axis::default().bounds([0.0, 1.0]).labels(x_labels.map(Line::from)))
        .y_axis(
            Axis::default()
                .bounds([0.0, 1.0])
                .labels(y_labels.map(Line::from))
                .labels_alignment(Alignment::Right),
        );
    let area = Rect::new(0, 0, width, HEIGHT);
    let mut buffer = Buffer::empty(area);
    chart.render(area, &mut buffer);
    buffer
        .content
        .chunks(usize::from(width))
        .map(|row| line(row.iter().map(|cell| (cell.fg, cell.symbol()))))
        .collect()
}

/// The cells of a row as text, with colours where cells have them.
fn line<'a>(cells: impl Iterator<Item = (Color, &'a str)>) -> String {
    let mut out = String::new();
    let mut now = Color::Reset;
    for (colour, symbol) in cells {
        if colour != now {
            out.push_str(if colour == Color::Reset { "\x1b[0m" } else { "\x1b[36m" });
            now = colour;
        }
        out.push_str(symbol);
    }
    if now != Color::Reset {
        out.push_str("\x1b[0m");
    }
    out.truncate(out.trim_end().len());
    out
}

/// The bytes at the lower and the upper edge.
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    /// From 0, unless the series keeps so far from it that nothing could be seen.
    fn of(samples: &Samples) -> Self {
        let low = samples.bytes().iter().copied().fold(f64::INFINITY, f64::min);
        let high = samples.bytes().iter().copied().fold(0.0, f64::max);
        if low < high && low > high / 2.0 {
            Self { low, high }
        } else {
            Self { low: 0.0, high: high.max(1.0) }
        }
    }

    fn share(&self, bytes: f64) -> f64 {
        (bytes - self.low) / (self.high - self.low)
    }
}

/// The series in at most `parts` parts of its time, of each the first point, the smallest, the largest and the last:
/// nothing that stands out is lost. Times and bytes are shares of the plot.
fn reduced(samples: &Samples, parts: usize, range: &Range) -> Vec<(f64, f64)> {
    let span = samples.span_s();
    let start = samples.times().first().copied().unwrap_or_default();
    let part_of = |t: f64| ((t - start) / span * parts as f64) as usize;
    let mut bytes = samples.bytes();
    let mut kept = Vec::new();
    for times in samples.times().chunk_by(|&left, &right| part_of(left) == part_of(right)) {
        let (of_part, rest) = bytes.split_at_checked(times.len()).unwrap_or_default();
        bytes = rest;
        let mut points = times.iter().copied().zip(of_part.iter().copied());
        let smallest = points.clone().min_by(|left, right| left.1.total_cmp(&right.1));
        let largest = points.clone().max_by(|left, right| left.1.total_cmp(&right.1));
        let mut telling: Vec<_> =
            [points.next(), smallest, largest, points.next_back()].into_iter().flatten().collect();
        telling.sort_by(|left, right| left.0.total_cmp(&right.0));
        kept.extend(telling.into_iter().map(|(t, bytes)| ((t - start) / span, range.share(bytes))));
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::{HEIGHT, lines};
    use crate::output::escape::width;
    use crate::verdict::Samples;

    fn wave(count: u32) -> Samples {
        Samples::new((0..count).map(|t| {
            let t = f64::from(t);
            (t, 3e8 + t * 1e6 + 5e7 * (t / 9.0).sin())
        }))
    }

    #[rstest]
    #[case::usual(80)]
    #[case::narrow(30)]
    fn a_wave_that_rises(#[case] columns: u16) {
        insta::assert_snapshot!(format!("plot_{columns}"), lines(&wave(200), columns, false).join("\n"));
    }

    #[test]
    fn colours_are_used_only_where_wanted() {
        let plain = lines(&wave(50), 60, false).join("\n");
        let coloured = lines(&wave(50), 60, true).join("\n");
        assert!(!plain.contains('\x1b') && coloured.contains("\x1b[36m"));
        assert_eq!(
            coloured.replace("\x1b[36m", "").replace("\x1b[0m", "").lines().count(),
            plain.lines().count()
        );
    }

    #[test]
    fn where_nothing_can_be_drawn_nothing_is() {
        assert!(lines(&Samples::default(), 80, false).is_empty());
        assert!(lines(&Samples::new([(1.0, 5.0)]), 80, false).is_empty());
        assert!(lines(&wave(9), 5, false).is_empty());
    }

    #[test]
    fn one_point_among_many_that_stands_out_is_drawn() {
        let spike = |at| Samples::new((0..100_000).map(|t| (f64::from(t), if t == at { 9e6 } else { 1e6 })));
        let without = lines(&spike(-1), 60, false);
        let with = lines(&spike(31_234), 60, false);
        let top = |plot: &[String]| {
            plot.first().map(|line| line.chars().filter(|c| ('⠁'..='⣿').contains(c)).count())
        };
        assert_eq!((top(&with), with.len()), (Some(1), usize::from(HEIGHT)));
        assert_ne!(with, without);
    }

    proptest! {
        #[test]
        fn any_series_stays_in_its_columns(
            points in prop::collection::vec((-1e11..1e11, prop_oneof![0.0..1e4, 0.0..9.3e18, Just(0.0), Just(1e-300)]), 0..60),
            columns in 0_u16..200,
        ) {
            let mut points: Vec<(f64, f64)> = points;
            points.sort_by(|left, right| left.0.total_cmp(&right.0));
            for line in lines(&Samples::new(points), columns, false) {
                prop_assert!(width(&line) <= usize::from(columns));
            }
        }
    }
}
