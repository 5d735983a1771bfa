//! A heap that a test makes up, as the text of a snapshot.

use std::fmt::Write as _;

use crate::v8::snapshot::{Analysis, analyse, read};

pub(super) const NODE_TYPES: [&str; 15] = [
    "hidden",
    "array",
    "string",
    "object",
    "code",
    "closure",
    "regexp",
    "number",
    "native",
    "synthetic",
    "concatenated string",
    "sliced string",
    "symbol",
    "bigint",
    "object shape",
];
pub(super) const EDGE_TYPES: [&str; 7] =
    ["context", "element", "property", "internal", "hidden", "shortcut", "weak"];

/// A node: what it is, what it is called, its own bytes, and its edges.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) id: u32,
    pub(super) size: u64,
    pub(super) detachedness: u32,
    pub(super) edges: Vec<(&'static str, String, usize)>,
}

/// Which version's layout the text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Without `detachedness`.
    Old,
    /// With `trace_node_id` and `detachedness`.
    Node16,
    /// Without `trace_node_id`, and with spaces.
    Node24,
}

/// A heap.
#[derive(Clone, Debug, Default)]
pub(super) struct Heap(pub(super) Vec<Node>);

impl Heap {
    /// A heap of a root.
    pub(super) fn new() -> Self {
        let mut heap = Self::default();
        heap.node("synthetic", "", 0);
        heap
    }

    /// Adds a node with the next odd id.
    pub(super) fn node(&mut self, kind: &'static str, name: &str, size: u64) -> usize {
        let id = self.0.last().map_or(1, |last| last.id + 2);
        self.0.push(Node { kind, name: name.into(), id, size, detachedness: 0, edges: Vec::new() });
        self.0.len() - 1
    }

    /// Adds an edge; elements and hidden edges have a number for a name.
    pub(super) fn edge(&mut self, from: usize, kind: &'static str, name: &str, to: usize) {
        self.0[from].edges.push((kind, name.into(), to));
    }

    /// Adds a node and an edge to it.
    pub(super) fn held(
        &mut self,
        by: usize,
        edge: (&'static str, &str),
        node: (&'static str, &str, u64),
    ) -> usize {
        let made = self.node(node.0, node.1, node.2);
        self.edge(by, edge.0, edge.1, made);
        made
    }

    pub(super) fn text(&self, version: Version) -> String {
        let fields: &[&str] = match version {
            Version::Old => &["type", "name", "id", "self_size", "edge_count"],
            Version::Node16 => {
                &["type", "name", "id", "self_size", "edge_count", "trace_node_id", "detachedness"]
            }
            Version::Node24 => &["type", "name", "id", "self_size", "edge_count", "detachedness"],
        };
        let mut strings = vec!["<dummy>".to_owned()];
        let (mut nodes, mut edges) = (Vec::new(), Vec::new());
        for node in &self.0 {
            let kind = NODE_TYPES.iter().position(|kind| *kind == node.kind).unwrap();
            let name = intern(&mut strings, &node.name);
            let mut row = vec![kind as u64, name, u64::from(node.id), node.size, node.edges.len() as u64];
            match version {
                Version::Old => {}
                Version::Node16 => row.extend([0, u64::from(node.detachedness)]),
                Version::Node24 => row.push(u64::from(node.detachedness)),
            }
            nodes.push(joined(&row));
            for (kind, name, to) in &node.edges {
                let is_numbered = matches!(*kind, "element" | "hidden");
                let name = if is_numbered { name.parse().unwrap() } else { intern(&mut strings, name) };
                let kind = EDGE_TYPES.iter().position(|known| known == kind).unwrap() as u64;
                edges.push(joined(&[kind, name, (to * fields.len()) as u64]));
            }
        }
        let gap = if version == Version::Node24 { " \n," } else { "\n," };
        format!(
            "{{\"snapshot\":{{\"meta\":{{\"node_fields\":{},\"node_types\":[{},\"string\",\"number\"],\
             \"edge_fields\":[\"type\",\"name_or_index\",\"to_node\"],\"edge_types\":[{},\"string_or_number\",\"node\"],\
             \"location_fields\":[]}},\"node_count\":{},\"edge_count\":{},\"trace_function_count\":0}},\n\
             \"nodes\":[{}],\n\"edges\":[{}],\n\"trace_tree\":[[1,[],{{\"a\":-1.5e3,\"b\":null}}]],\n\
             \"locations\":[1,2,3],\n\"strings\":{}}}\n",
            list(fields),
            list(&NODE_TYPES),
            list(&EDGE_TYPES),
            nodes.len(),
            edges.len(),
            nodes.join(gap),
            edges.join(gap),
            list(&strings),
        )
    }

    pub(super) fn analysis(&self) -> Analysis {
        analyse(read(self.text(Version::Node16).as_bytes()).unwrap())
    }
}

fn intern(strings: &mut Vec<String>, text: &str) -> u64 {
    let known = strings.iter().position(|known| known == text);
    known.unwrap_or_else(|| {
        strings.push(text.to_owned());
        strings.len() - 1
    }) as u64
}

fn joined(row: &[u64]) -> String {
    row.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let mut out = String::from("[");
    for text in texts {
        if out.len() > 1 {
            out.push(',');
        }
        out.push('"');
        for c in text.as_ref().chars() {
            match c {
                '"' | '\\' => {
                    out.push('\\');
                    out.push(c);
                }
                c if c.is_control() || (c as u32) > 126 && (c as u32) < 0x1_0000 => {
                    write!(out, "\\u{:04x}", c as u32).unwrap();
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push(']');
    out
}
