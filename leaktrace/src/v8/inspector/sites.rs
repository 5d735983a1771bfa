//! From one profile of an isolate to the next: which stacks are new, which sampled objects came and went.

use std::collections::{HashMap, HashSet};

use super::profile::{CallFrame, Profile};

/// Call paths of an isolate that are told apart; objects of further ones count as stack [`OTHERS`].
const MAX_STACKS: usize = 16_384;
/// Nodes of the tree of calls that are remembered.
const MAX_PATHS: usize = 1 << 20;
/// Frames of a stack that are told.
const MAX_FRAMES: usize = 128;
/// The longest name that is kept, in bytes.
const MAX_NAME: usize = 1024;
/// The number of the stack for all beyond the limit.
pub(super) const OTHERS: u32 = 0;

/// A function of JavaScript on a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsFrame {
    /// Its name; empty for one without.
    pub function: String,
    /// Path or URL of its script; empty for what is no script.
    pub file: String,
    /// The line in which the function begins, from 1.
    pub line: Option<u32>,
    /// The column in which it begins, from 1.
    pub column: Option<u32>,
}

/// An object that was sampled when it was allocated, and is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsSample {
    /// Unique within its isolate.
    pub ordinal: u64,
    /// Number of its stack.
    pub stack: u32,
    /// Estimate of the live bytes that it stands for.
    pub size: u64,
}

/// What changed since the profile before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Stacks that were not told before, innermost function first.
    pub(super) stacks: Vec<(u32, Vec<CallFrame>)>,
    pub(super) born: Vec<JsSample>,
    pub(super) gone: Vec<u64>,
}

/// What is known of one isolate.
#[derive(Debug, Default)]
pub(super) struct Observer {
    /// Numbers of call paths, by the number of the caller's path and the function.
    paths: HashMap<(u32, CallFrame), u32>,
    /// Numbers of paths that were told as stacks.
    told: HashSet<u32>,
    living: HashMap<u64, JsSample>,
}

impl Observer {
    /// Takes the next profile.
    pub(super) fn observe(&mut self, profile: &Profile) -> Change {
        let paths = self.number_paths(profile);
        let by_id: HashMap<u64, usize> =
            profile.nodes.iter().enumerate().map(|(index, node)| (node.id, index)).collect();
        let mut change = Change::default();
        let mut seen = HashSet::with_capacity(profile.samples.len());
        for sample in &profile.samples {
            if !seen.insert(sample.ordinal) || self.living.contains_key(&sample.ordinal) {
                continue;
            }
            let node = by_id.get(&sample.node_id).copied();
            let path = node.and_then(|node| paths.get(node).copied()).unwrap_or(OTHERS);
            let stack = self.stack(path, node, profile, &mut change.stacks);
            // Foreign numbers may be anything; as integers they are within bounds.
            let born = JsSample { ordinal: sample.ordinal, stack, size: sample.size as u64 };
            self.living.insert(born.ordinal, born);
            change.born.push(born);
        }
        change.gone = self
            .living
            .extract_if(|ordinal, _| !seen.contains(ordinal))
            .map(|(ordinal, _)| ordinal)
            .collect();
        change.gone.sort_unstable();
        change
    }

    /// The number of each node's path: the same as in the profiles before, whatever numbers V8 gives to its nodes.
    fn number_paths(&mut self, profile: &Profile) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::with_capacity(profile.nodes.len());
        for node in &profile.nodes {
            // A path whose caller is not known may not pass for one that begins here.
            let caller = node.caller.map(|caller| numbers.get(caller).copied().unwrap_or(OTHERS));
            let number = match caller {
                Some(OTHERS) => OTHERS,
                caller => self.number(caller.unwrap_or(u32::MAX), &node.frame),
            };
            numbers.push(number);
        }
        numbers
    }

    fn number(&mut self, caller: u32, frame: &CallFrame) -> u32 {
        let key = (caller, frame.clone());
        if let Some(&number) = self.paths.get(&key) {
            return number;
        }
        if self.paths.len() >= MAX_PATHS {
            return OTHERS;
        }
        let number = self.paths.len() as u32 + 1;
        self.paths.insert(key, number);
        number
    }

    /// The stack of a path, which is told if it is new.
    fn stack(
        &mut self,
        path: u32,
        node: Option<usize>,
        profile: &Profile,
        stacks: &mut Vec<(u32, Vec<CallFrame>)>,
    ) -> u32 {
        if path == OTHERS || self.told.contains(&path) {
            return path;
        }
        if self.told.len() >= MAX_STACKS {
            return OTHERS;
        }
        self.told.insert(path);
        stacks.push((path, frames(profile, node)));
        path
    }
}

/// The functions from a node outwards. The root is none.
fn frames(profile: &Profile, node: Option<usize>) -> Vec<CallFrame> {
    let mut frames = Vec::new();
    let mut next = node.and_then(|node| profile.nodes.get(node));
    // Callers stand before what they call, so this ends.
    while let Some(node) = next.filter(|_| frames.len() < MAX_FRAMES) {
        let Some(caller) = node.caller else { break };
        frames.push(node.frame.clone());
        next = profile.nodes.get(caller);
    }
    frames
}

impl JsFrame {
    /// As V8 tells it, with a path for a file, and numbers that people count by.
    pub(super) fn of(frame: &CallFrame) -> Self {
        let from_one = |number: i64| u32::try_from(number).ok()?.checked_add(1);
        Self {
            function: bounded(&frame.function_name),
            file: bounded(&path(&frame.url)),
            line: from_one(frame.line_number),
            column: from_one(frame.column_number),
        }
    }
}

/// The path of a `file:` URL; any other as it is.
pub(super) fn path(url: &str) -> String {
    let Some(rest) = url.strip_prefix("file://").filter(|rest| rest.starts_with('/')) else {
        return url.to_owned();
    };
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let Some((&first, others)) = left.split_first() {
        let escaped =
            others.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let Some(byte) = escaped.filter(|_| first == b'%') {
            bytes.push(byte);
            left = others.get(2..).unwrap_or_default();
        } else {
            bytes.push(first);
            left = others;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) fn bounded(text: &str) -> String {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Node, Sample};
    use super::*;

    fn frame(name: &str) -> CallFrame {
        CallFrame { function_name: name.to_owned(), url: "file:///a.js".to_owned(), ..CallFrame::default() }
    }

    /// Nodes as (id, caller, name), samples as (ordinal, node, size).
    fn profile(nodes: &[(u64, Option<usize>, &str)], samples: &[(u64, u64, f64)]) -> Profile {
        let node = |&(id, caller, name): &(u64, Option<usize>, &str)| Node { id, caller, frame: frame(name) };
        let sample = |&(ordinal, node_id, size): &(u64, u64, f64)| Sample { size, node_id, ordinal };
        Profile { nodes: nodes.iter().map(node).collect(), samples: samples.iter().map(sample).collect() }
    }

    #[test]
    fn what_came_and_went_is_told_once() {
        let mut observer = Observer::default();
        let first = profile(
            &[(1, None, "(root)"), (2, Some(0), "main"), (3, Some(1), "leak")],
            &[(1, 3, 100.0), (2, 2, 50.0), (3, 3, 100.0)],
        );
        let change = observer.observe(&first);
        assert_eq!(change.stacks.len(), 2);
        let names: Vec<&str> = change.stacks[0].1.iter().map(|frame| frame.function_name.as_str()).collect();
        assert_eq!(names, ["leak", "main"]);
        let leak = change.stacks[0].0;
        assert_eq!(change.born[0], JsSample { ordinal: 1, stack: leak, size: 100 });
        assert!(change.gone.is_empty());
        // V8 numbers the nodes anew; the path is the same.
        let second = profile(
            &[(9, None, "(root)"), (8, Some(0), "main"), (7, Some(1), "leak")],
            &[(3, 7, 100.0), (5, 7, 100.0)],
        );
        let change = observer.observe(&second);
        assert!(change.stacks.is_empty());
        assert_eq!(change.born, [JsSample { ordinal: 5, stack: leak, size: 100 }]);
        assert_eq!(change.gone, [1, 2]);
        assert_eq!(observer.observe(&second), Change::default());
    }

    #[test]
    fn samples_of_unknown_nodes_and_impossible_sizes_are_kept_apart() {
        let mut observer = Observer::default();
        let odd =
            profile(&[(1, None, "(root)")], &[(1, 77, -5.0), (2, 77, f64::NAN), (3, 77, 1e300), (3, 1, 1.0)]);
        let change = observer.observe(&odd);
        let sizes: Vec<_> = change.born.iter().map(|sample| (sample.stack, sample.size)).collect();
        assert_eq!(sizes, [(OTHERS, 0), (OTHERS, 0), (OTHERS, u64::MAX)]);
    }

    #[test]
    fn frames_are_told_as_people_count() {
        let frame = CallFrame {
            url: "file:///srv/a%20b.js".to_owned(),
            line_number: 0,
            column_number: 7,
            ..frame("f")
        };
        let told = JsFrame::of(&frame);
        assert_eq!((told.file.as_str(), told.line, told.column), ("/srv/a b.js", Some(1), Some(8)));
        let none = JsFrame::of(&CallFrame { line_number: -1, column_number: i64::MAX, ..frame });
        assert_eq!((none.line, none.column), (None, None));
        assert_eq!(path("node:internal/timers"), "node:internal/timers");
        assert_eq!(path("file:///a%zz%4"), "/a%zz%4");
    }
}
