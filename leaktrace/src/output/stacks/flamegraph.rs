//! A flame graph of the call sites: a picture for browsers, in which one can search and zoom.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    rc::Rc,
};

use inferno::flamegraph::{
    Options,
    color::{BasicPalette, Palette},
    from_lines,
};

use super::{super::stack::shorten, Profile, folded_name};
use crate::cli::StackBytes;

/// Longer names are shortened: few frames are wide enough for as much, and the hint that shows all of a name is one line.
const NAME_COLUMNS: usize = 200;
/// What all frames may add up to: the picture is computed in floating point, and in sums that must not overflow.
const MOST_BYTES: u64 = 1 << 53;

/// The picture as SVG.
pub(super) fn render(profile: &Profile<'_>, bytes: StackBytes) -> io::Result<Vec<u8>> {
    let what = match bytes {
        StackBytes::Live => "live bytes",
        StackBytes::Allocated => "bytes allocated since attach",
        StackBytes::Leaked => "live bytes of leaks and suspects",
    };
    let stacks = merge(profile, bytes);
    if stacks.is_empty() {
        return Ok(empty(what).into_bytes());
    }
    let lines: Vec<String> =
        stacks.iter().map(|(names, bytes)| format!("{} {bytes}", names.join(";"))).collect();
    let mut options = Options::default();
    options.title = format!("leaktrace: {what} by call site");
    options.subtitle = subtitle(profile);
    "bytes".clone_into(&mut options.count_name);
    options.colors = Palette::Basic(BasicPalette::Mem);
    // The same trace gives the same picture.
    options.deterministic = true;
    // inferno sorts lines as text, where `f(int)` stands between `f` and `f;g` and tears `f` in two. Ours are sorted by
    // frame; this is its way not to look at the order. It takes the last line first.
    options.flame_chart = true;
    let mut svg = Vec::new();
    from_lines(&mut options, lines.iter().rev().map(String::as_str), &mut svg)?;
    Ok(svg)
}

/// The bytes of each stack, sorted by frame: call sites of the same functions are one.
fn merge(profile: &Profile<'_>, bytes: StackBytes) -> BTreeMap<Vec<Rc<str>>, u64> {
    let mut stacks: BTreeMap<Vec<Rc<str>>, u64> = BTreeMap::new();
    // The same few names come again and again, and measuring their width takes time.
    let mut drawn: HashMap<String, Rc<str>> = HashMap::new();
    let mut room = MOST_BYTES;
    for sample in &profile.samples {
        let bytes = sample.bytes(bytes).min(room);
        if bytes == 0 {
            continue;
        }
        room -= bytes;
        let names = sample.names(profile.several);
        let names = names.into_iter().map(|name| {
            if let Some(known) = drawn.get(name.as_ref()) {
                return Rc::clone(known);
            }
            let new: Rc<str> = folded_name(&drawable(&name)).into();
            drawn.insert(name.into_owned(), Rc::clone(&new));
            new
        });
        *stacks.entry(names.collect()).or_default() += bytes;
    }
    stacks
}

/// The name in a bounded width, without characters that a terminal could misread or XML does not know.
fn drawable(name: &str) -> String {
    shorten(name, NAME_COLUMNS).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

fn subtitle(profile: &Profile<'_>) -> Option<String> {
    let first = profile.samples.first().filter(|_| !profile.several)?;
    Some(drawable(&first.process()))
}

/// inferno draws an error where there is nothing to draw; that nothing is live is none.
fn empty(what: &str) -> String {
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"1200\" height=\"60\" xmlns=\"http://www.w3.org/2000/svg\">\n\
         <text x=\"600\" y=\"35\" text-anchor=\"middle\" font-family=\"monospace\">leaktrace: no {what}</text>\n\
         </svg>\n"
    )
}
