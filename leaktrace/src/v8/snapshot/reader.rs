//! A snapshot's bytes into the columns of a graph.

use std::io::Read;

use super::error::SnapshotError;
use super::graph::{
    DETACHED, EdgeKind, Graph, IGNORED, MAX_EDGE_NAME, NODE, NONE, NodeKind, SHORTCUT, pack_label,
};
use super::layout::{EdgeLayout, Layout, MAX_FIELDS, NodeLayout};
use super::names::{Names, Needed};
use super::source::Source;

/// Reads a snapshot.
///
/// Memory and time are bounded by the number of bytes that were read, whatever they are.
pub fn read(reader: impl Read) -> Result<Graph, SnapshotError> {
    let mut source = Source::new(reader);
    let mut parts = Parts::default();
    if source.peek_token()? != b'{' {
        return Err(source.fault("this is no heap snapshot: it does not begin with '{'"));
    }
    source.object(|source, key| match key {
        "snapshot" => parts.head(source),
        "nodes" => parts.nodes(source),
        "edges" => parts.edges(source),
        "strings" => parts.strings(source),
        _ => source.skip_value(),
    })?;
    let graph = parts.finish(&source)?;
    while let Some(byte) = source.peek()? {
        if !byte.is_ascii_whitespace() {
            return Err(source.fault("something follows the snapshot"));
        }
        source.take(1);
    }
    Ok(graph)
}

/// What has been read so far.
#[derive(Default)]
struct Parts {
    layout: Option<Layout>,
    graph: Graph,
    needed: Needed,
    root_index: u64,
    node_count: Option<u64>,
    edge_count: Option<u64>,
    has: Has,
}

#[derive(Clone, Copy, Default)]
struct Has {
    nodes: bool,
    edges: bool,
    strings: bool,
}

impl Parts {
    fn head<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), SnapshotError> {
        source.object(|source, key| {
            match key {
                "meta" => self.layout = Some(Layout::read(source)?),
                "root_index" => self.root_index = source.number()?,
                "node_count" => self.node_count = Some(source.number()?),
                "edge_count" => self.edge_count = Some(source.number()?),
                _ => source.skip_value()?,
            }
            Ok(())
        })
    }

    fn nodes<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), SnapshotError> {
        let Some(layout) = self.layout.as_ref().filter(|_| !self.has.nodes) else {
            return Err(source.fault("\"nodes\" comes without \"snapshot\" before it, or twice"));
        };
        self.has.nodes = true;
        let fields = layout.node.fields;
        let mut rows = Nodes::new(&layout.node, &mut self.graph, &mut self.needed);
        let left = read_rows(source, fields, |row| rows.add(row))?;
        let edges = rows.edges;
        self.graph.first_edge.push(edges);
        self.graph.name_numbers.finish();
        self.graph.ids.finish();
        self.graph.sizes.finish();
        complete(source, "node", left, self.graph.kinds.len(), self.node_count)
    }

    fn edges<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), SnapshotError> {
        let Some(layout) = self.layout.as_ref().filter(|_| self.has.nodes && !self.has.edges) else {
            return Err(source.fault("\"edges\" comes without \"nodes\" before it, or twice"));
        };
        self.has.edges = true;
        let fields = layout.edge.fields;
        let node_fields = layout.node.fields as u64;
        let mut rows = Edges::new(&layout.edge, node_fields, &mut self.graph, &mut self.needed);
        let left = read_rows(source, fields, |row| rows.add(row))?;
        self.graph.edge_names.finish();
        let (owned, read) = (self.graph.first_edge.last().copied().unwrap_or_default(), self.graph.to.len());
        if owned as usize != read {
            return Err(source.fault(format!("the nodes have {owned} edges, but {read} are there")));
        }
        complete(source, "edge", left, read, self.edge_count)
    }

    fn strings<R: Read>(&mut self, source: &mut Source<R>) -> Result<(), SnapshotError> {
        // What is kept of them is known once all that refers to them is.
        if !self.has.edges || self.has.strings {
            return Err(source.fault("\"strings\" comes without \"edges\" before it, or twice"));
        }
        self.has.strings = true;
        let needed = std::mem::take(&mut self.needed);
        self.graph.names = Names::read(source, &needed)?;
        Ok(())
    }

    fn finish<R: Read>(self, source: &Source<R>) -> Result<Graph, SnapshotError> {
        if !self.has.strings {
            let missing = match self.has {
                Has { nodes: false, .. } => "nodes",
                Has { edges: false, .. } => "edges",
                Has { .. } => "strings",
            };
            return Err(source.fault(format!("this is no heap snapshot: it has no \"{missing}\"")));
        }
        let fields = self.layout.as_ref().map_or(1, |layout| layout.node.fields.max(1)) as u64;
        let mut graph = self.graph;
        if graph.kinds.is_empty() {
            return Err(source.fault("the snapshot has no nodes"));
        }
        graph.root = u32::try_from(self.root_index / fields)
            .ok()
            .filter(|&root| root < graph.node_count())
            .ok_or_else(|| source.fault("the root is none of the nodes"))?;
        check_names(&graph, source)?;
        // A root's shortcuts are the global objects of the program; they count, others do not.
        for edge in 0..graph.edge_count() {
            if graph.marked_end(edge) & SHORTCUT != 0
                && !graph.edges(graph.root).contains(&edge)
                && let Some(end) = graph.to.get_mut(edge as usize)
            {
                *end |= IGNORED;
            }
        }
        Ok(graph)
    }
}

/// No name lies behind the last string.
fn check_names<R: Read>(graph: &Graph, source: &Source<R>) -> Result<(), SnapshotError> {
    let count = graph.names.count();
    let node_names = graph.name_numbers.iter().max().unwrap_or_default();
    let edge_names = graph.edge_names.iter().map(super::graph::unpack_label);
    let edge_names = edge_names.filter(|(kind, _)| !kind.is_numbered()).map(|(_, name)| name).max();
    let largest = node_names.max(edge_names.unwrap_or_default());
    if largest >= count {
        let message = format!("a name is string {largest}, but there are only {count} strings");
        return Err(source.fault(message));
    }
    Ok(())
}

/// Reads an array of numbers as rows of so many fields; gives how many numbers are left after the last whole row.
fn read_rows<R: Read>(
    source: &mut Source<R>,
    fields: usize,
    mut add: impl FnMut(&[u64; MAX_FIELDS]) -> Result<(), String>,
) -> Result<usize, SnapshotError> {
    let (mut row, mut filled) = ([0; MAX_FIELDS], 0);
    source.numbers(|value| {
        if let Some(field) = row.get_mut(filled) {
            *field = value;
        }
        filled += 1;
        if filled < fields {
            return Ok(());
        }
        filled = 0;
        add(&row)
    })?;
    Ok(filled)
}

/// The last row is whole, and there are as many as were declared.
fn complete<R: Read>(
    source: &Source<R>,
    what: &str,
    filled: usize,
    read: usize,
    declared: Option<u64>,
) -> Result<(), SnapshotError> {
    if filled > 0 {
        return Err(source.fault(format!("the last {what} is incomplete")));
    }
    match declared {
        Some(declared) if declared != read as u64 => {
            Err(source.fault(format!("{declared} {what}s were declared, but {read} are there")))
        }
        _ => Ok(()),
    }
}

/// Takes the rows of nodes.
struct Nodes<'a> {
    layout: &'a NodeLayout,
    graph: &'a mut Graph,
    needed: &'a mut Needed,
    /// Edges of the nodes so far.
    edges: u32,
}

impl<'a> Nodes<'a> {
    const fn new(layout: &'a NodeLayout, graph: &'a mut Graph, needed: &'a mut Needed) -> Self {
        Self { layout, graph, needed, edges: 0 }
    }

    fn add(&mut self, row: &[u64; MAX_FIELDS]) -> Result<(), String> {
        let field = |place: usize| row.get(place).copied().unwrap_or_default();
        let layout = self.layout;
        let kind = usize::try_from(field(layout.kind)).ok().and_then(|kind| layout.kinds.get(kind));
        let kind = *kind.ok_or("a node has a type that was not declared")?;
        let name = string_number(field(layout.name))?;
        let id = u32::try_from(field(layout.id)).map_err(|_| "the id of a node is too large")?;
        let edges = u32::try_from(field(layout.edges)).ok().and_then(|count| self.edges.checked_add(count));
        let node = self.graph.kinds.len() as u32;
        if node >= NODE {
            return Err("too many nodes".to_owned());
        }
        if !kind.is_named_by_its_content() {
            self.needed.add(name);
        }
        let is_detached = layout.detachedness.is_some_and(|place| field(place) == 2);
        let size = field(layout.size);
        let small = u32::try_from(size).ok().filter(|&size| size != NONE);
        if small.is_none() {
            self.graph.large_sizes.insert(node, size);
        }
        self.graph.kinds.push(kind as u8 | if is_detached { DETACHED } else { 0 });
        self.graph.name_numbers.push(name);
        self.graph.ids.push(id);
        self.graph.sizes.push(small.unwrap_or(NONE));
        self.graph.first_edge.push(self.edges);
        self.edges = edges.ok_or("too many edges")?;
        Ok(())
    }
}

/// Takes the rows of edges.
struct Edges<'a> {
    layout: &'a EdgeLayout,
    node_fields: u64,
    graph: &'a mut Graph,
    needed: &'a mut Needed,
    nodes: u64,
}

impl<'a> Edges<'a> {
    fn new(layout: &'a EdgeLayout, node_fields: u64, graph: &'a mut Graph, needed: &'a mut Needed) -> Self {
        let nodes = graph.kinds.len() as u64;
        Self { layout, node_fields, graph, needed, nodes }
    }

    fn add(&mut self, row: &[u64; MAX_FIELDS]) -> Result<(), String> {
        let field = |place: usize| row.get(place).copied().unwrap_or_default();
        let kind = usize::try_from(field(self.layout.kind)).ok().and_then(|kind| self.layout.kinds.get(kind));
        let kind = *kind.ok_or("an edge has a type that was not declared")?;
        let name = field(self.layout.name);
        let name = if kind.is_numbered() {
            u32::try_from(name).unwrap_or(u32::MAX)
        } else {
            let name = string_number(name)?;
            if kind != EdgeKind::Weak {
                self.needed.add(name);
            }
            name
        };
        // An end is an index into the list of numbers.
        let to = field(self.layout.to);
        let node = to / self.node_fields;
        if node * self.node_fields != to || node >= self.nodes {
            return Err("an edge leads to no node".to_owned());
        }
        if self.graph.to.len() as u64 >= u64::from(NONE) {
            return Err("too many edges".to_owned());
        }
        let mark = match kind {
            EdgeKind::Weak => IGNORED,
            EdgeKind::Shortcut => SHORTCUT,
            _ => 0,
        };
        self.graph.to.push(node as u32 | mark);
        self.graph.edge_names.push(pack_label(kind, name));
        Ok(())
    }
}

fn string_number(number: u64) -> Result<u32, String> {
    u32::try_from(number)
        .ok()
        .filter(|&number| number < MAX_EDGE_NAME)
        .ok_or_else(|| "the number of a string is too large".to_owned())
}

/// Nodes whose kind nobody declared do not occur.
const _: () = assert!((NodeKind::Other as u8) < DETACHED);
