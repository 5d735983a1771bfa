//! The lower part of the picture: the call sites, and the full stack of the selected one.

use std::fmt::Write;

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::draw::Palette;
use super::head::growth;
use super::model::{Model, Row};
use super::verdicts::style as verdict_style;
use crate::cli::Sort;
use crate::output::escape::{cut_end, cut_middle, visible};
use crate::output::record::SiteKind;
use crate::output::verdict::VerdictRecord;
use crate::output::{leak, stack, text};

/// Evidence that is shown beside a stack; NDJSON has all.
const MAX_EVIDENCE: usize = 3;

/// The columns of a screen of this width, beside the name.
fn columns_for(width: usize, sort: Sort) -> &'static [Column] {
    use Column::{Age, Allocs, Blocks, Confidence, Frees, Growth, Live, Pattern, Verdict};
    match (width, sort) {
        (100.., _) => &[Live, Blocks, Growth, Verdict, Pattern, Confidence, Allocs, Frees, Age],
        // What sorts is shown.
        (70.., Sort::Count) => &[Live, Blocks, Growth, Verdict, Pattern, Confidence, Frees],
        (70.., Sort::Age) => &[Live, Growth, Verdict, Pattern, Confidence, Allocs, Age],
        (70.., _) => &[Live, Growth, Verdict, Pattern, Confidence, Allocs, Frees],
        (50.., _) => &[Live, Growth, Verdict, Confidence],
        _ => &[Live, Verdict],
    }
}

/// A figure of a call site.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Live,
    Blocks,
    Growth,
    Verdict,
    Pattern,
    Confidence,
    Allocs,
    Frees,
    Age,
}

impl Column {
    /// Its title, and how many columns of the screen it takes.
    const fn title(self) -> (&'static str, usize) {
        match self {
            Self::Live => ("LIVE", 8),
            Self::Blocks => ("BLOCKS", 6),
            Self::Growth => ("GROWTH", 11),
            Self::Verdict => ("VERDICT", 7),
            Self::Pattern => ("PATTERN", 9),
            Self::Confidence => ("SURE", 4),
            Self::Allocs => ("ALLOCS", 6),
            Self::Frees => ("FREES", 6),
            Self::Age => ("AGE", 6),
        }
    }

    /// Words stand at the left of their column, numbers at the right.
    fn fit(self, text: &str) -> String {
        let (_, room) = self.title();
        match self {
            Self::Verdict | Self::Pattern => format!("{text:<room$} "),
            _ => format!("{text:>room$} "),
        }
    }

    fn cell(self, row: Row<'_>, palette: Palette) -> Span<'static> {
        let site = row.figures;
        let of_verdict = |says: fn(&VerdictRecord) -> String| {
            row.verdict.map_or((String::new(), Style::new()), |record| {
                (says(record), verdict_style(palette, record.verdict))
            })
        };
        let (text, style) = match self {
            Self::Live => (text::bytes(site.live_bytes), Palette::strong()),
            Self::Blocks => (text::count(site.live_count), Style::new()),
            Self::Growth => {
                let rate = site.growth_bytes_per_s.map_or_else(|| "-".to_owned(), text::rate);
                (rate, growth(palette, site.growth_bytes_per_s.unwrap_or_default()))
            }
            Self::Verdict => of_verdict(|record| leak::verdict(record.verdict).to_owned()),
            Self::Pattern => of_verdict(|record| leak::pattern(record.pattern).to_owned()),
            Self::Confidence => of_verdict(|record| leak::sure(record.confidence)),
            Self::Allocs => (text::count(site.allocs), Style::new()),
            Self::Frees => (text::count(site.frees), Style::new()),
            Self::Age => (text::duration(site.age_s), Style::new()),
        };
        Span::styled(self.fit(&text), style)
    }
}

/// The table of sites in at most `room` lines.
pub(super) fn lines(model: &Model, width: usize, room: usize) -> Vec<Line<'static>> {
    let rows = model.shown().rows(model.sort);
    if room == 0 || model.shown().processes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![titles(model, width)];
    if rows.is_empty() {
        lines.push(Line::raw(cut_end(" no call site has live blocks yet", width)));
        return lines;
    }
    let selected = model.selected_rank(&rows);
    // An expanded stack leaves the table only the selected site.
    let sites = if model.expanded.is_some() { 1 } else { (room.saturating_sub(1) / 2).max(1) };
    let first = if model.expanded.is_some() { selected } else { first_shown(selected, sites) };
    let with_pid = model.shown().processes.len() > 1;
    for (rank, row) in rows.iter().enumerate().skip(first).take(sites) {
        // Until the user selects something, nothing needs to stand out.
        let chosen = model.selected.is_some() && rank == selected;
        lines.push(figures(*row, chosen, model, width));
        if model.expanded.is_none() {
            lines.push(callers(*row, with_pid, width));
        }
    }
    if let (Some(from), Some(row)) = (model.expanded, rows.get(selected)) {
        lines.extend(reasons(*row, width).into_iter().take(room.saturating_sub(lines.len()) / 2));
        let room = room.saturating_sub(lines.len());
        lines.extend(full_stack(*row, from, width, room));
    }
    lines
}

fn first_shown(selected: usize, sites: usize) -> usize {
    (selected + 1).saturating_sub(sites)
}

fn titles(model: &Model, width: usize) -> Line<'static> {
    let order = match model.sort {
        Sort::Live => "by live bytes",
        Sort::Growth => "by growth",
        Sort::Count => "by blocks",
        Sort::Allocs => "by allocations",
        Sort::Age => "by age",
    };
    let mut site = format!("CALL SITE, {order}");
    if let Some(age) = model.older_than {
        // Writing into a string cannot fail.
        let _ = write!(site, "; blocks older than {}", text::duration(age.as_secs_f64()));
    }
    let titles = columns_for(width, model.sort).iter().map(|column| column.fit(column.title().0));
    let text = format!(" {} {site}", titles.collect::<String>());
    let underlined = Palette::strong().add_modifier(Modifier::UNDERLINED);
    Line::styled(format!("{:<width$}", cut_end(&text, width)), underlined)
}

fn figures(row: Row<'_>, chosen: bool, model: &Model, width: usize) -> Line<'static> {
    let palette = Palette::of(model);
    let mark = if chosen { "▶" } else { " " };
    let mut spans = vec![Span::styled(mark, Palette::strong())];
    spans.extend(columns_for(width, model.sort).iter().map(|column| column.cell(row, palette)));
    let used: usize = spans.iter().map(Span::width).sum();
    let kind = match row.figures.kind {
        SiteKind::Heap | SiteKind::BeforeAttach => "",
        SiteKind::Mapping => " (mapped)",
        SiteKind::Js => " (js)",
    };
    let name = stack::shorten(&function(row), width.saturating_sub(used + 1 + kind.len()));
    spans.push(Span::styled(format!(" {name}{kind}"), palette.accent()));
    let line = Line::from(spans);
    if chosen { line.patch_style(Palette::strong()) } else { line }
}

/// The site's function, or what is known instead.
fn function(row: Row<'_>) -> String {
    match (&row.figures.function, row.stack) {
        (Some(function), _) => visible(function).into_owned(),
        (None, Some(site)) => {
            site.stack.first().map_or_else(|| "stack could not be taken".to_owned(), stack::name)
        }
        (None, None) => "(names are being looked up)".to_owned(),
    }
}

fn callers(row: Row<'_>, with_pid: bool, width: usize) -> Line<'static> {
    let pid = if with_pid { format!("pid {}  ", row.pid) } else { String::new() };
    let indent = format!("{:10}{pid}", "");
    let room = width.saturating_sub(indent.len());
    let frames = row.stack.map_or(&[][..], |site| site.stack.as_slice());
    let frames = stack::outwards(frames, row.figures.function.as_deref());
    Line::styled(cut_end(&format!("{indent}{}", stack::callers(frames, room)), width), Palette::quiet())
}

/// Why the verdict is what it is, and what to do: the weightiest evidence, the likely cause, advice.
fn reasons(row: Row<'_>, width: usize) -> Vec<Line<'static>> {
    let Some(verdict) = row.verdict else { return Vec::new() };
    let evidence = verdict.evidence.iter().take(MAX_EVIDENCE).map(|one| ("because", Some(&one.says)));
    let reasons = evidence.chain([("cause", verdict.cause.as_ref()), ("advice", verdict.advice.as_ref())]);
    let line = |(label, says): (&str, Option<&String>)| {
        Some(Line::raw(cut_end(&format!("  {label:<8} {}", visible(says?)), width)))
    };
    reasons.filter_map(line).collect()
}

/// One line a frame: number, function, place; the allocator's own frames included, but quiet.
fn full_stack(row: Row<'_>, from: usize, width: usize, room: usize) -> Vec<Line<'static>> {
    let Some(site) = row.stack.filter(|site| !site.stack.is_empty()) else {
        return vec![Line::raw(cut_end("   the stack is not known", width))];
    };
    let own = site.stack.len() - stack::outwards(&site.stack, row.figures.function.as_deref()).len();
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (number, frame) in site.stack.iter().enumerate().skip(from).take(room) {
        let inlined = if frame.inlined { " (inlined)" } else { "" };
        let place = stack::place(frame, false);
        let place_room = width / 2;
        let place = place.map(|place| format!("  {}", cut_middle(&place, place_room.saturating_sub(4))));
        let place = place.unwrap_or_default();
        let name_room = width.saturating_sub(7 + place.chars().count() + inlined.len());
        let name = stack::shorten(&stack::name(frame), name_room);
        let style = if number < own { Palette::quiet() } else { Palette::strong() };
        lines.push(Line::from(vec![
            Span::styled(format!("  {number:>3}  {name}{inlined}"), style),
            Span::styled(place, Palette::quiet()),
        ]));
    }
    let shown_end = from + lines.len();
    if site.truncated && shown_end == site.stack.len() && lines.len() < room {
        lines.push(Line::styled("       … the stack was cut here", Palette::quiet()));
    } else if shown_end < site.stack.len() {
        let more = format!("       … {} more, ↓ scrolls", site.stack.len() - shown_end + 1);
        lines.pop();
        lines.push(Line::styled(cut_end(&more, width), Palette::quiet()));
    }
    lines
}
