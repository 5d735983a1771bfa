//! The upper part of the picture: what is traced, totals, losses, costs, the last notice.

use std::fmt::Write;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::draw::{Palette, labelled};
use super::model::{HeapUse, Model, Totals};
use crate::output::escape::{cut_end, visible, width as columns};
use crate::output::record::{Capture, CaptureMode, Level, Mapped, Notice};
use crate::output::v8_record::IsolateTick;
use crate::output::{summary, text};

/// Below this height only what cannot be missed is shown.
const FULL_HEIGHT: usize = 16;

/// The lines of the head for a screen of this size.
pub(super) fn lines(model: &Model, width: usize, height: usize) -> Vec<Line<'static>> {
    let palette = Palette::of(model);
    let data = model.shown();
    let totals = data.totals();
    let full = height >= FULL_HEIGHT;
    let mut lines = vec![title(model, &totals, width)];
    if data.processes.is_empty() {
        lines.push(Line::raw(cut_end(" waiting for the first figures …", width)));
        return lines;
    }
    lines.push(live(&totals, palette, width));
    if let Some(mapped) = &totals.mapped {
        lines.push(mappings(mapped, width));
    }
    if let Some(heap) = totals.heap.as_ref().filter(|heap| heap.resident > 0) {
        lines.push(labelled("heap", &used(heap), Style::new(), width));
    }
    lines.extend(isolates(&totals, width, full));
    lines.extend(data.verdicts.lines(palette, width, full));
    if full {
        lines.push(history(model, &totals, palette, width));
        lines.push(calls(&totals, width));
    }
    let lost = summary::losses(&totals.losses);
    if totals.losses.total > 0 {
        lines.push(labelled("LOST", &lost, palette.bad(), width));
    } else {
        lines.push(labelled("lost", &lost, Style::new(), width));
    }
    if full {
        lines.push(cost(&totals, width));
        let style = |notice: &Notice| match notice.level {
            Level::Info => Style::new(),
            Level::Warning => palette.warn(),
            Level::Error => palette.bad(),
        };
        lines.push(match data.notices.back() {
            Some(last) => labelled(level(last), &told(last), style(last), width),
            None => Line::default(),
        });
    }
    lines
}

fn level(notice: &Notice) -> &'static str {
    match notice.level {
        Level::Info => "note",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn told(notice: &Notice) -> String {
    format!("at {}: {}", text::duration(notice.t), visible(&notice.message))
}

fn title(model: &Model, totals: &Totals, width: usize) -> Line<'static> {
    let right = format!("{} ", text::duration(totals.t));
    let paused = if model.paused() { " PAUSED, still tracing " } else { "" };
    let mut left = " leaktrace".to_owned();
    let data = model.shown();
    if let Some(header) = &data.header {
        left = format!(" {} (pid {})", visible(&header.comm), header.pid);
        // Writing into a string cannot fail.
        if data.processes.len() > 1 {
            let _ = write!(left, " and {} more processes", data.processes.len() - 1);
        }
        let mut names: Vec<&str> = header.allocators.iter().map(|found| found.name.as_str()).collect();
        names.dedup();
        let _ = write!(left, " · {}", visible(&names.join(", ")));
        let _ = write!(left, " · {}", mode(&header.capture));
    }
    let room = width.saturating_sub(columns(&right) + columns(paused) + 1);
    let left = cut_end(&left, room);
    let gap = " ".repeat(width.saturating_sub(columns(&left) + columns(paused) + columns(&right)));
    let reversed = Palette::strong().add_modifier(ratatui::style::Modifier::REVERSED);
    Line::from(vec![
        Span::styled(left, Palette::strong()),
        Span::raw(gap),
        Span::styled(paused, reversed),
        Span::raw(right),
    ])
}

fn mode(capture: &Capture) -> String {
    let mut mode = visible(&capture.mode).replace('_', " ");
    // Writing into a string cannot fail.
    if capture.min_size > 0 {
        let _ = write!(mode, ", from {}", text::bytes(capture.min_size));
    }
    if capture.sample_bytes > 0 {
        let _ = write!(mode, ", a sample in {}", text::bytes(capture.sample_bytes));
    }
    mode
}

fn live(totals: &Totals, palette: Palette, width: usize) -> Line<'static> {
    let is_estimated = totals.mode != CaptureMode::Everything;
    let mut line = labelled("live", if is_estimated { "about " } else { "" }, Style::new(), width);
    line.push_span(Span::styled(text::bytes(totals.live_bytes), Palette::strong()));
    line.push_span(Span::raw(format!(" in {} blocks", text::count(totals.live_count))));
    if let Some((bytes_per_s, seconds)) = totals.growth {
        line.push_span(Span::raw(", "));
        line.push_span(Span::styled(text::rate(bytes_per_s), growth(palette, bytes_per_s)));
        line.push_span(Span::raw(format!(" over {}", text::duration(seconds.round().max(1.0)))));
    }
    if let Some(rss) = totals.rss_bytes {
        line.push_span(Span::raw(format!("; resident {}", text::bytes(rss))));
    }
    line
}

/// How the heaps that were read are used.
fn used(heap: &HeapUse) -> String {
    let share = text::share(heap.used / heap.resident as f64);
    let resident = text::bytes(heap.resident);
    format!("{resident} in memory, {share} handed out, {} scattered", text::bytes(heap.scattered))
}

/// The JavaScript heaps: the largest ones each in a line, or all in one where there is little room.
fn isolates(totals: &Totals, width: usize, full: bool) -> Vec<Line<'static>> {
    const SHOWN: usize = 3;
    let mut largest: Vec<&IsolateTick> = totals.isolates.iter().collect();
    largest.sort_by_key(|isolate| std::cmp::Reverse(isolate.used_bytes));
    let shown = if full { SHOWN } else { 1 };
    let more = largest.len().saturating_sub(shown);
    let mut lines: Vec<String> = largest.into_iter().take(shown).map(isolate).collect();
    if let Some(last) = lines.last_mut().filter(|_| more > 0) {
        let _ = write!(last, "; {more} more heaps");
    }
    lines.iter().map(|line| labelled("V8", line, Style::new(), width)).collect()
}

fn isolate(isolate: &IsolateTick) -> String {
    let mut line = text::bytes(isolate.used_bytes);
    if let Some(limit) = isolate.limit_bytes {
        let _ = write!(line, " of {}", text::bytes(limit));
    }
    if isolate.isolate > 1 {
        let _ = write!(line, " in isolate {}", isolate.isolate);
    }
    let (rate, share) = (isolate.collections_per_s, isolate.pause_share * 100.0);
    let _ = write!(line, "; {rate:.1} GC/s, {share:.1} % of the time");
    line
}

fn mappings(mapped: &Mapped, width: usize) -> Line<'static> {
    let (live, count) = (text::bytes(mapped.live_bytes), text::count(mapped.live_count));
    let mut line = format!("{live} in {count} mappings");
    if mapped.reserved_bytes > 0 {
        // Writing into a string cannot fail.
        let _ = write!(line, "; {} reserved without access", text::bytes(mapped.reserved_bytes));
    }
    labelled("mapped", &line, Style::new(), width)
}

/// How growth looks.
pub(super) fn growth(palette: Palette, bytes_per_s: f64) -> Style {
    match bytes_per_s {
        value if value >= 0.5 => palette.warn(),
        value if value <= -0.5 => palette.good(),
        _ => Style::new(),
    }
}

fn history(model: &Model, totals: &Totals, palette: Palette, width: usize) -> Line<'static> {
    let shown = model.shown().histories.get(model.graph);
    if shown.is_empty() {
        return labelled(model.graph.label(), "not known: --heap-walk reads the heap", Style::new(), width);
    }
    let legend = format!("  0 to {}, since the start", text::bytes(shown.highest()));
    let bars = shown.bars(width.saturating_sub(11 + columns(&legend)).min(60));
    let mut line = labelled(model.graph.label(), "", Style::new(), width);
    line.push_span(Span::styled(bars, palette.accent()));
    if totals.t > 0.0 {
        line.push_span(Span::styled(legend, Palette::quiet()));
    }
    line
}

fn calls(totals: &Totals, width: usize) -> Line<'static> {
    let rates = totals.rates.unwrap_or_default();
    let (allocs, frees) = (text::per_second(rates.allocs), text::per_second(rates.frees));
    let unknown = text::count(totals.unknown_frees);
    let calls = format!("allocs {allocs}, frees {frees}; {unknown} unknown frees");
    labelled("calls", &calls, Style::new(), width)
}

fn cost(totals: &Totals, width: usize) -> Line<'static> {
    let target = text::share(totals.target_cpu_share);
    let own = text::share(totals.own_cpu_share);
    let memory = text::bytes(totals.own_rss_bytes);
    let events = text::per_second(totals.events_per_s);
    let part = match (totals.mode, totals.sample_bytes) {
        (CaptureMode::Slices, _) => format!(", looked at {} of the time", text::share(totals.watched_share)),
        (CaptureMode::Samples, Some(bytes)) => format!(", a sample in {}", text::bytes(bytes)),
        (CaptureMode::Everything | CaptureMode::Samples, _) => String::new(),
    };
    let short = format!("process {target} of a CPU{part}; leaktrace {own}, {memory}");
    let long = format!("{short}; events {events}");
    labelled("cost", if columns(&long) + 11 <= width { &long } else { &short }, Style::new(), width)
}
