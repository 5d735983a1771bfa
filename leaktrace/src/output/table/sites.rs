//! The lower part of the picture: the call sites, and the full stack of the selected one.

use std::fmt::Write;

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use super::draw::Palette;
use super::head::growth;
use super::model::{Model, Row};
use crate::cli::Sort;
use crate::output::escape::{cut_end, cut_middle, visible};
use crate::output::record::SiteKind;
use crate::output::{stack, text};

/// Narrower screens show only live bytes and growth beside the name.
const ALL_COLUMNS: usize = 70;

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
        lines.push(figures(*row, chosen, Palette::of(model), width));
        if model.expanded.is_none() {
            lines.push(callers(*row, with_pid, width));
        }
    }
    if let (Some(from), Some(row)) = (model.expanded, rows.get(selected)) {
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
    let text = if width >= ALL_COLUMNS {
        let (live, blocks, growth) = ("LIVE", "BLOCKS", "GROWTH");
        let (allocs, frees, age) = ("ALLOCS", "FREES", "AGE");
        format!(" {live:>8} {blocks:>6} {growth:>11} {allocs:>6} {frees:>6} {age:>6}  {site}")
    } else {
        format!(" {:>8} {:>11}  {site}", "LIVE", "GROWTH")
    };
    let underlined = Palette::strong().add_modifier(Modifier::UNDERLINED);
    Line::styled(format!("{:<width$}", cut_end(&text, width)), underlined)
}

fn figures(row: Row<'_>, chosen: bool, palette: Palette, width: usize) -> Line<'static> {
    let site = row.figures;
    let mark = if chosen { '▶' } else { ' ' };
    let live = format!("{mark}{:>8} ", text::bytes(site.live_bytes));
    let rate = site.growth_bytes_per_s.map_or_else(|| "-".to_owned(), text::rate);
    let rate_style = growth(palette, site.growth_bytes_per_s.unwrap_or_default());
    let mut spans = vec![Span::styled(live, Palette::strong())];
    let mut used = 10 + 12;
    if width >= ALL_COLUMNS {
        spans.push(Span::raw(format!("{:>6} ", text::count(site.live_count))));
        spans.push(Span::styled(format!("{rate:>11} "), rate_style));
        let (allocs, frees) = (text::count(site.allocs), text::count(site.frees));
        spans.push(Span::raw(format!("{allocs:>6} {frees:>6} {:>6} ", text::duration(site.age_s))));
        used += 7 + 21;
    } else {
        spans.push(Span::styled(format!("{rate:>11} "), rate_style));
    }
    let mark = match site.kind {
        SiteKind::Heap => "",
        SiteKind::Mapping => " (mapped)",
    };
    let name = stack::shorten(&function(row), width.saturating_sub(used + 1 + mark.len()));
    spans.push(Span::styled(format!(" {name}{mark}"), palette.accent()));
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
    let frames = stack::from_culprit(frames, row.figures.function.as_deref());
    Line::styled(cut_end(&format!("{indent}{}", stack::callers(frames, room)), width), Palette::quiet())
}

/// One line a frame: number, function, place; the allocator's own frames included, but quiet.
fn full_stack(row: Row<'_>, from: usize, width: usize, room: usize) -> Vec<Line<'static>> {
    let Some(site) = row.stack.filter(|site| !site.stack.is_empty()) else {
        return vec![Line::raw(cut_end("   the stack is not known", width))];
    };
    let own = site.stack.len() - stack::from_culprit(&site.stack, row.figures.function.as_deref()).len();
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
