//! The graph of a heap as it comes from the file: who points to whom.

use std::fmt;

use rustc_hash::FxHashMap;

use super::column::{Column, Lookup};
use super::names::Names;

/// In [`Graph::to`]: the edge does not keep its end alive, or does not count (see `edges`).
pub(super) const IGNORED: u32 = 1 << 31;
/// In [`Graph::to`]: a shortcut for readers of the snapshot, which no object of the heap stands for.
pub(super) const SHORTCUT: u32 = 1 << 30;
/// What is left of [`Graph::to`]: the number of the node.
pub(super) const NODE: u32 = SHORTCUT - 1;
/// No node.
pub(super) const NONE: u32 = u32::MAX;

/// Numbers of strings and indices of elements have so many bits beside the kind of their edge.
pub(super) const NAME_BITS: u32 = 29;
/// The largest of them; larger indices are shown as this.
pub(super) const MAX_EDGE_NAME: u32 = (1 << NAME_BITS) - 1;

/// What a node is, as V8 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NodeKind {
    /// Something of V8's own.
    Hidden,
    /// A backing store of elements or properties.
    Array,
    /// A string.
    String,
    /// An object of JavaScript.
    Object,
    /// Compiled code and what belongs to it.
    Code,
    /// A function.
    Closure,
    /// A regular expression.
    RegExp,
    /// A number on the heap.
    Number,
    /// Something outside of V8's heap.
    Native,
    /// A node that stands for no object, such as the roots.
    Synthetic,
    /// A string made of two.
    ConcatenatedString,
    /// A part of another string.
    SlicedString,
    /// A symbol.
    Symbol,
    /// A big integer.
    BigInt,
    /// A hidden class and what belongs to it.
    ObjectShape,
    /// Something of WebAssembly.
    WasmObject,
    /// A kind that came after this was written.
    Other,
}

impl NodeKind {
    const ALL: [(Self, &'static str); 16] = [
        (Self::Hidden, "hidden"),
        (Self::Array, "array"),
        (Self::String, "string"),
        (Self::Object, "object"),
        (Self::Code, "code"),
        (Self::Closure, "closure"),
        (Self::RegExp, "regexp"),
        (Self::Number, "number"),
        (Self::Native, "native"),
        (Self::Synthetic, "synthetic"),
        (Self::ConcatenatedString, "concatenated string"),
        (Self::SlicedString, "sliced string"),
        (Self::Symbol, "symbol"),
        (Self::BigInt, "bigint"),
        (Self::ObjectShape, "object shape"),
        (Self::WasmObject, "wasm object"),
    ];

    /// The kind of this name.
    pub(super) fn of(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(Self::Other, |(kind, _)| *kind)
    }

    fn from_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).map_or(Self::Other, |(kind, _)| *kind)
    }

    /// Its name is the content of a string or the like, and tells nothing of what it is.
    pub(super) const fn is_named_by_its_content(self) -> bool {
        matches!(
            self,
            Self::String | Self::ConcatenatedString | Self::SlicedString | Self::Number | Self::BigInt
        )
    }

    /// V8 makes it for itself as it compiles and runs code; what a program keeps is something else.
    pub(super) const fn is_machinery(self) -> bool {
        matches!(self, Self::Hidden | Self::Code | Self::ObjectShape | Self::Synthetic)
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(kind, _)| kind == self).map_or("other", |(_, name)| name);
        out.write_str(name)
    }
}

/// What an edge is, as V8 names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EdgeKind {
    /// A variable of a function's context.
    Context,
    /// An element of an array.
    Element,
    /// A property of an object.
    Property,
    /// Something that V8 keeps there under a name.
    Internal,
    /// Something that V8 keeps there under a number.
    Hidden,
    /// A short way that stands for no reference.
    Shortcut,
    /// A reference that does not keep its end alive.
    Weak,
}

impl EdgeKind {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Context, "context"),
        (Self::Element, "element"),
        (Self::Property, "property"),
        (Self::Internal, "internal"),
        (Self::Hidden, "hidden"),
        (Self::Shortcut, "shortcut"),
        (Self::Weak, "weak"),
    ];

    /// The kind of this name. One that came after this was written counts as V8's own.
    pub(super) fn of(name: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == name).map_or(Self::Hidden, |(kind, _)| *kind)
    }

    /// Such an edge has a number instead of a name.
    pub(super) const fn is_numbered(self) -> bool {
        matches!(self, Self::Element | Self::Hidden)
    }

    /// Its name, as snapshots have it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }
}

/// A heap as the file describes it.
#[derive(Debug, Default)]
pub struct Graph {
    /// The edges of node `n` are `first_edge[n]..first_edge[n + 1]`.
    pub(super) first_edge: Vec<u32>,
    /// Where each edge leads, with marks.
    pub(super) to: Vec<u32>,
    /// The kind of each node, and whether it is detached.
    pub(super) kinds: Vec<u8>,
    pub(super) name_numbers: Column,
    pub(super) ids: Column,
    pub(super) sizes: Column,
    /// Sizes that do not fit into a column, where it says [`NONE`].
    pub(super) large_sizes: FxHashMap<u32, u64>,
    /// The kind of each edge and its name or index.
    pub(super) edge_names: Column,
    pub(super) names: Names,
    pub(super) root: u32,
}

impl Graph {
    /// How many nodes there are.
    pub fn node_count(&self) -> u32 {
        self.kinds.len() as u32
    }

    /// How many edges there are.
    pub fn edge_count(&self) -> u32 {
        self.to.len() as u32
    }

    pub(super) fn kind(&self, node: u32) -> NodeKind {
        NodeKind::from_number(self.kinds.get(node as usize).map_or(u8::MAX, |kind| kind & KIND))
    }

    /// V8 knows the node to be a part of a document's tree that is no longer in the document.
    pub(super) fn is_detached(&self, node: u32) -> bool {
        self.kinds.get(node as usize).is_some_and(|kind| kind & DETACHED != 0)
    }

    /// The edges of a node, by their numbers.
    pub(super) fn edges(&self, node: u32) -> std::ops::Range<u32> {
        let node = node as usize;
        let start = self.first_edge.get(node).copied().unwrap_or_default();
        start..self.first_edge.get(node + 1).copied().unwrap_or(start)
    }

    /// Where an edge leads, with marks.
    pub(super) fn marked_end(&self, edge: u32) -> u32 {
        self.to.get(edge as usize).copied().unwrap_or(IGNORED)
    }

    /// The ends of those edges of a node that keep their ends alive.
    pub(super) fn kept_by(&self, node: u32) -> impl Iterator<Item = u32> {
        let edges = self.edges(node);
        let ends = self.to.get(edges.start as usize..edges.end as usize).unwrap_or_default();
        ends.iter().filter(|&&end| end & IGNORED == 0).map(|&end| end & NODE)
    }

    /// The node that an edge comes from.
    pub(super) fn start_of(&self, edge: u32) -> u32 {
        // Nodes without edges share the start of the next one: the last of them owns the edge.
        (self.first_edge.partition_point(|&first| first <= edge) as u32).saturating_sub(1)
    }

    /// A view of the edges' kinds and names.
    pub(super) const fn edge_labels(&self) -> EdgeLabels<'_> {
        EdgeLabels { lookup: self.edge_names.lookup() }
    }
}

/// In [`Graph::kinds`]: the kind.
pub(super) const KIND: u8 = 0x3f;
/// In [`Graph::kinds`]: the node is detached.
pub(super) const DETACHED: u8 = 0x40;

/// Kinds and names of edges.
pub(super) struct EdgeLabels<'a> {
    lookup: Lookup<'a>,
}

impl EdgeLabels<'_> {
    /// The kind of an edge, and the number of its name or its index.
    pub(super) fn get(&mut self, edge: u32) -> (EdgeKind, u32) {
        unpack_label(self.lookup.get(edge))
    }
}

/// Kind and name of an edge in one number.
pub(super) const fn pack_label(kind: EdgeKind, name: u32) -> u32 {
    (kind as u32) << NAME_BITS | (if name > MAX_EDGE_NAME { MAX_EDGE_NAME } else { name })
}

/// What [`pack_label`] packed.
pub(super) fn unpack_label(label: u32) -> (EdgeKind, u32) {
    let kind = EdgeKind::ALL.get((label >> NAME_BITS) as usize).map_or(EdgeKind::Hidden, |(kind, _)| *kind);
    (kind, label & MAX_EDGE_NAME)
}
