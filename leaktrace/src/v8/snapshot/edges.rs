//! Which edges count: those that keep their end alive, by the rules of Chrome's DevTools.
//!
//! Three kinds of edges do not, beside weak ones and shortcuts:
//! - Edges from V8's own objects to objects that the program can reach from its globals. Handles and caches of the
//!   engine hold such objects for a while, and would otherwise seem to be their only holders.
//! - Edges from the table of a WeakMap to a value: the key's edge to it counts.
//! - Edges of a node to itself.

use rustc_hash::FxHashMap;

use super::graph::{EdgeKind, Graph, IGNORED, NODE, SHORTCUT, unpack_label};

/// A set of nodes.
#[derive(Debug)]
pub(super) struct NodeSet(Vec<u64>);

impl NodeSet {
    pub(super) fn new(nodes: u32) -> Self {
        Self(vec![0; nodes as usize / 64 + 1])
    }

    pub(super) fn has(&self, node: u32) -> bool {
        self.0.get(node as usize / 64).is_some_and(|word| word >> (node % 64) & 1 == 1)
    }

    /// Adds a node; true if it is new.
    pub(super) fn add(&mut self, node: u32) -> bool {
        let Some(word) = self.0.get_mut(node as usize / 64) else { return false };
        let is_new = *word >> (node % 64) & 1 == 0;
        *word |= 1 << (node % 64);
        is_new
    }
}

/// Marks the edges that do not count.
pub(super) fn mark_ignored(graph: &mut Graph) {
    ignore_tables_of_weak_maps(graph);
    ignore_engine_to_program(graph);
}

/// `2 / part of key (… @11) -> value (… @13) pair in WeakMap (table @15)`: the number of the table.
fn table_of_pair(name: &[u8]) -> Option<u32> {
    const MARK: &str = " pair in WeakMap (table @";
    let name = std::str::from_utf8(name).ok()?;
    let id = name.get(name.rfind(MARK)? + MARK.len()..)?.strip_suffix(')')?;
    id.parse().ok()
}

fn ignore_tables_of_weak_maps(graph: &mut Graph) {
    let pairs: FxHashMap<u32, u32> = graph
        .names
        .iter()
        .filter_map(|(number, name)| table_of_pair(name).map(|table| (number, table)))
        .collect();
    if pairs.is_empty() {
        return;
    }
    let ends = graph.first_edge.iter().skip(1);
    let mut labels = graph.edge_names.iter();
    let mut edge = 0_u32;
    for (id, &end) in graph.ids.iter().zip(ends) {
        while edge < end {
            let Some(label) = labels.next() else { return };
            let (kind, name) = unpack_label(label);
            if kind == EdgeKind::Internal
                && pairs.get(&name) == Some(&id)
                && let Some(to) = graph.to.get_mut(edge as usize)
            {
                *to |= IGNORED;
            }
            edge += 1;
        }
    }
}

/// The program's global objects: where the root's shortcuts lead.
pub(super) fn globals(graph: &Graph) -> impl Iterator<Item = u32> {
    let ends = graph.edges(graph.root).map(|edge| graph.marked_end(edge));
    ends.filter(|end| end & SHORTCUT != 0).map(|end| end & NODE)
}

fn ignore_engine_to_program(graph: &mut Graph) {
    let mut program = NodeSet::new(graph.node_count());
    let mut waiting: Vec<u32> = globals(graph).filter(|&node| program.add(node)).collect();
    if waiting.is_empty() {
        return;
    }
    while let Some(node) = waiting.pop() {
        for edge in graph.edges(node) {
            let end = graph.marked_end(edge);
            if (end & IGNORED == 0 || end & SHORTCUT != 0) && program.add(end & NODE) {
                waiting.push(end & NODE);
            }
        }
    }
    for node in (0..graph.node_count()).filter(|&node| node != graph.root && !program.has(node)) {
        let edges = graph.edges(node);
        let ends = graph.to.get_mut(edges.start as usize..edges.end as usize).unwrap_or_default();
        for end in ends.iter_mut().filter(|end| program.has(**end & NODE)) {
            *end |= IGNORED;
        }
    }
}
