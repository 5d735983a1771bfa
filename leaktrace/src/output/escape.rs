//! Names that come from the target, made safe and short enough for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

use ratatui::text::Span;

/// Longer names say nothing more to people; the bound keeps hostile ones from costing time.
const MAX_CHARS: usize = 4096;

/// Characters that could move the cursor, hide or reorder text, or change the width of their neighbours.
fn deceives(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// The text with every deceiving character spelt out, as `\x1b` or `\u{202e}`; very long text is cut.
pub fn visible(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(MAX_CHARS).map_or(text.len(), |(index, _)| index);
    let cut = text.get(..end).unwrap_or(text);
    if end == text.len() && !cut.contains(deceives) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(cut.len() + 16);
    for c in cut.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\t' => safe.push_str("\\t"),
            _ if deceives(c) && (c as u32) < 0x100 => {
                let _ = write!(safe, "\\x{:02x}", c as u32);
            }
            _ if deceives(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", c as u32);
            }
            _ => safe.push(c),
        }
    }
    if end < text.len() {
        safe.push('…');
    }
    Cow::Owned(safe)
}

/// How many columns the (visible) text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

fn char_width(c: char) -> usize {
    Span::raw(&*c.encode_utf8(&mut [0; 4])).width()
}

/// The longest beginning of `text` that fits into `columns`, marks of accent and all bounded.
fn beginning(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (count, (index, c)) in text.char_indices().enumerate() {
        used += char_width(c);
        // Marks of accent take no column: without a bound on their number one letter could carry thousands.
        if used > columns || count > columns * 4 {
            return text.get(..index).unwrap_or_default();
        }
    }
    text
}

/// The longest end of `text` that fits into `columns`.
fn ending(text: &str, columns: usize) -> &str {
    let mut used = 0;
    for (count, (index, c)) in text.char_indices().rev().enumerate() {
        used += char_width(c);
        if used > columns || count > columns * 4 {
            return text.get(index + c.len_utf8()..).unwrap_or_default();
        }
    }
    text
}

/// Visible text in at most `columns`, cut at its end with `…`.
pub fn cut_end(text: &str, columns: usize) -> String {
    let text = visible(text);
    if fits(&text, columns) {
        return text.into_owned();
    }
    if columns == 0 {
        return String::new();
    }
    format!("{}…", beginning(&text, columns - 1))
}

/// Visible text in at most `columns`, cut in its middle with `…`; the end, which tells more, gets more room.
pub fn cut_middle(text: &str, columns: usize) -> String {
    let text = visible(text);
    if fits(&text, columns) {
        return text.into_owned();
    }
    if columns < 8 {
        return cut_end(&text, columns);
    }
    let head = (columns - 1) / 3;
    let tail = columns - 1 - head;
    format!("{}…{}", beginning(&text, head), ending(&text, tail))
}

/// The text can stand in so many columns as it is.
pub(super) fn fits(text: &str, columns: usize) -> bool {
    beginning(text, columns).len() == text.len()
}

#[cfg(test)]
mod tests {
    use super::{cut_end, cut_middle, deceives, visible, width};
    use proptest::prelude::*;

    #[test]
    fn escapes_are_spelt_out() {
        assert_eq!(visible("plain λ 漢"), "plain λ 漢");
        assert_eq!(visible("a\x1b[2Jb\r\n\t\u{7f}"), "a\\x1b[2Jb\\x0d\\n\\t\\x7f");
        assert_eq!(visible("a\u{202e}b\u{9b}c\u{2028}d"), "a\\u{202e}b\\x9bc\\u{2028}d");
        assert_eq!(visible("a\u{200b}\u{feff}\u{e0041}"), "a\\u{200b}\\u{feff}\\u{e0041}");
    }

    #[test]
    fn long_text_is_cut_where_asked() {
        assert_eq!(cut_end("zslCreateNode", 8), "zslCrea…");
        assert_eq!(cut_middle("zslCreateNodeForever", 10), "zsl…orever");
        assert_eq!(cut_end("漢字漢字", 5), "漢字…");
        assert_eq!(cut_end("abc", 0), "");
    }

    proptest! {
        #[test]
        fn any_text_stays_in_its_columns(text in "\\PC{0,40}|[\\x00-\\x{2fff}]{0,40}", columns in 0_usize..50) {
            for cut in [cut_end(&text, columns), cut_middle(&text, columns)] {
                prop_assert!(width(&cut) <= columns, "{cut:?} in {columns}");
                prop_assert!(!cut.contains(deceives));
                prop_assert!(cut.chars().count() <= columns * 4 + 2);
            }
        }
    }
}
