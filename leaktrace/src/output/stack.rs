//! Stacks in few columns: names shortened, the allocator's own frames left out.

use super::escape::{cut_middle, fits, visible, width};
use crate::symbol::Frame;

/// The stack from the frame on that the record calls its function: what precedes it is the allocator's own.
pub(super) fn outwards<'a>(stack: &'a [Frame], function: Option<&str>) -> &'a [Frame] {
    let culprit = function.and_then(|name| stack.iter().position(|f| f.function.as_deref() == Some(name)));
    stack.get(culprit.unwrap_or(0)..).unwrap_or_default()
}

/// The frame's function, or `module+0x12` where it is not known.
pub(super) fn name(frame: &Frame) -> String {
    if let Some(function) = &frame.function {
        return visible(function).into_owned();
    }
    match (&frame.module, frame.offset) {
        // A function of JavaScript without a name.
        _ if frame.column.is_some() || frame.address.is_empty() => "(anonymous)".to_owned(),
        (Some(module), Some(offset)) => format!("{}+{offset:#x}", visible(base_name(module))),
        (Some(module), None) => format!("{} {}", visible(base_name(module)), visible(&frame.address)),
        (None, _) => visible(&frame.address).into_owned(),
    }
}

/// Where the frame's code is written: `file:line`, only the last part of the path where `short`.
pub(super) fn place(frame: &Frame, short: bool) -> Option<String> {
    let path = frame.file.as_deref()?;
    let file = visible(if short { base_name(path) } else { path });
    Some(match (frame.line, frame.column) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        (None, _) => file.into_owned(),
    })
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// `caller ← caller ← …` in at most `columns`, beginning with the place of the innermost.
pub(super) fn callers(stack: &[Frame], columns: usize) -> String {
    const ARROW: &str = " ← ";
    let mut line = stack.first().and_then(|frame| place(frame, true)).unwrap_or_default();
    line = cut_middle(&line, columns);
    for frame in stack.iter().skip(1) {
        let room = columns.saturating_sub(width(&line) + ARROW.chars().count());
        let name = name(frame);
        // Less room than this shows no shortened name that one could recognise.
        if room < 12 && !fits(&name, room) {
            let more = " …";
            if width(&line) + more.len() <= columns {
                line.push_str(more);
            }
            break;
        }
        line.push_str(ARROW);
        line.push_str(&shorten(&name, room.min(32)));
    }
    line
}

/// A function's name in at most `columns`: first without parameters, then without template arguments, then only the
/// last parts of its path, at last cut in its middle.
pub(super) fn shorten(name: &str, columns: usize) -> String {
    let name = visible(name);
    if fits(&name, columns) {
        return name.into_owned();
    }
    let bare = without_parameters(&name);
    if fits(bare, columns) {
        return bare.to_owned();
    }
    let plain = without_arguments(bare);
    if fits(&plain, columns) {
        return plain;
    }
    let mut starts: Vec<usize> = path_starts(&plain);
    starts.reverse();
    let tails = starts.into_iter().map_while(|start| {
        let tail = plain.get(start..)?;
        let whole = format!("…::{tail}");
        fits(&whole, columns).then_some(whole)
    });
    tails.last().unwrap_or_else(|| cut_middle(&plain, columns))
}

/// Depths of `<` and `(` are counted; those of `operator<` and `operator()` are part of a name.
fn brackets(name: &str) -> impl Iterator<Item = (usize, char, usize)> {
    let mut depth: usize = 0;
    let mut before = '\0';
    name.char_indices().map(move |(index, c)| {
        let head = name.get(..index).unwrap_or_default();
        let operator = || match c {
            '(' => head.ends_with("operator"),
            ')' => head.ends_with("operator("),
            _ => head.trim_end_matches(['<', '>', '-']).ends_with("operator"),
        };
        match c {
            '<' | '(' if !operator() => depth += 1,
            '>' | ')' if before != '-' && !operator() => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = c;
        (index, c, depth)
    })
}

fn without_parameters(name: &str) -> &str {
    let open = brackets(name).filter(|&(index, c, depth)| {
        let anonymous = || name.get(index..).is_some_and(|rest| rest.starts_with("(anonymous"));
        c == '(' && depth == 1 && index > 0 && !anonymous()
    });
    open.last().and_then(|(index, ..)| name.get(..index)).unwrap_or(name)
}

/// Template arguments become `<…>`; `<Type as Trait>` at the beginning of a Rust name stays.
fn without_arguments(name: &str) -> String {
    let kept = usize::from(name.starts_with('<'));
    let mut out = String::with_capacity(name.len());
    let mut before = 0;
    for (_, c, depth) in brackets(name) {
        if depth <= kept {
            out.push(c);
        } else if before <= kept {
            out.push(c);
            out.push('…');
        }
        before = depth;
    }
    out
}

/// Where the parts of a path (`a::b::c`) begin, outside of brackets.
fn path_starts(name: &str) -> Vec<usize> {
    let outside = brackets(name).filter(|&(_, c, depth)| c == ':' && depth == 0).map(|(index, ..)| index);
    outside
        .filter(|&index| name.get(..index).is_some_and(|head| head.ends_with(':')))
        .map(|index| index + 1)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{callers, name, outwards, place, shorten};
    use crate::output::{escape, fixture};
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("zslCreateNode", 20, "zslCreateNode")]
    #[case("Cache::put(Key const&, Value&&)", 20, "Cache::put")]
    #[case("std::vector<int, std::allocator<int> >::push_back(int&&)", 30, "std::vector<…>::push_back")]
    #[case("app::http::Server<Tls>::handle_request(Request&)", 26, "…::handle_request")]
    #[case("app::net::Pool::get(int)", 14, "…::Pool::get")]
    #[case("a_very_long_function_of_some_c_library", 17, "a_ver…e_c_library")]
    #[case("<vec::Vec<T, A> as clone::Clone>::clone", 38, "<vec::Vec<…> as clone::Clone>::clone")]
    #[case("Set::operator<(Set const&) const", 20, "Set::operator<")]
    #[case("Task::operator()(int, char**) const", 20, "Task::operator()")]
    #[case("(anonymous namespace)::grow(unsigned long)", 30, "(anonymous namespace)::grow")]
    #[case(
        "core::ops::function::FnOnce::call_once{{vtable.shim}}",
        40,
        "…::FnOnce::call_once{{vtable.shim}}"
    )]
    fn names_keep_what_tells_most(#[case] long: &str, #[case] columns: usize, #[case] short: &str) {
        assert_eq!(shorten(long, columns), short);
    }

    #[test]
    fn callers_follow_the_place() {
        let stack = fixture::stack();
        let stack = outwards(&stack, Some("createStringObject"));
        assert_eq!(
            callers(stack, 90),
            "object.c:123 ← tryObjectEncoding ← setCommand ← redis-server+0x12 ← processCommand ← main"
        );
        assert_eq!(callers(stack, 50), "object.c:123 ← tryObjectEncoding ← setCommand …");
        assert_eq!(name(&stack[3]), "redis-server+0x12");
        assert_eq!(place(&stack[0], false).as_deref(), Some("/build/redis/src/object.c:123"));
        assert_eq!(callers(&[], 20), "");
    }

    proptest! {
        #[test]
        fn hostile_names_stay_in_their_columns(name in "[a-z:<>(), operator\\-\u{1b}漢]{0,200}", columns in 0_usize..60) {
            prop_assert!(escape::width(&shorten(&name, columns)) <= columns);
        }
    }
}
