//! The page behind `?`: what the figures mean, for somebody who sees them for the first time, at night.

use ratatui::text::{Line, Span};

use super::draw::Palette;
use crate::output::escape::cut_end;

const TERMS: [(&str, &str); 21] = [
    ("live", "allocated since leaktrace attached and not freed yet. Memory from"),
    ("", "before counts only with --heap-walk, at a call site of its own"),
    ("growth", "change of live bytes a second; a cache grows too while it fills"),
    ("verdict", "leak, suspect (young growth, or one jump that stays) or bounded,"),
    ("", "with its pattern, and how sure it is. Empty: never suspicious"),
    ("call site", "where the program asked for the memory; ← reads \"called by\""),
    ("allocs, frees", "calls for that site's blocks since attach. Frees that stay far"),
    ("", "behind allocs: nobody gives this memory back"),
    ("age", "time since the first allocation that was seen at the site"),
    ("unknown frees", "of blocks from before the trace, or left out by --min-size"),
    ("resident", "all memory of the process in RAM. If it grows and live does not:"),
    ("", "look at fragmentation, mmap, or a heap that is not traced"),
    ("lost", "events that did not reach leaktrace, by cause; if any are LOST,"),
    ("", "the figures are not exact"),
    ("cost", "what tracing takes from the process, and leaktrace for itself"),
    ("", ""),
    ("↑ ↓", "select a call site; PgUp and PgDn go ten at once"),
    ("enter", "its full stack with the evidence for its verdict, and back"),
    ("s, g", "next order of call sites; next history: live, resident, scattered, slack"),
    ("p", "hold the picture; tracing goes on"),
    ("q, Ctrl-C", "end the trace, with a summary"),
];

/// The page, in lines of at most `width`.
pub(super) fn lines(width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::styled(" What the figures and keys mean", Palette::strong()), Line::default()];
    lines.extend(TERMS.iter().map(|(term, text)| {
        let term = format!(" {term:<14}");
        let text = cut_end(text, width.saturating_sub(15));
        Line::from(vec![Span::styled(term, Palette::strong()), Span::raw(text)])
    }));
    lines
}
