//! The shortest way from the roots to each object.
//!
//! What holds an object only for a moment, such as the handles of a compiler's thread, is no answer to the question why
//! it lives: such an edge is taken where no other leads to the object.

use rustc_hash::FxHashSet;

use super::graph::{EdgeKind, EdgeLabels, Graph, IGNORED, NODE, NONE, NodeKind};
use super::retained::Analysis;

/// Steps that are told at the beginning of a long way, and at its end.
const FIRST_STEPS: usize = 16;
const LAST_STEPS: usize = 48;
/// Roots that hold things only while a function runs, such as the one that writes the snapshot.
pub(super) const PASSING_ROOTS: [&str; 2] = ["(Handle scope)", "(Stack roots)"];
/// How the edges of the tables that a compiler makes for one function end: `43 / IdentityMapBase`.
const PASSING_EDGE: &str = "/ IdentityMapBase";

/// The edge by which each node is met first in a breadth-first search.
#[derive(Debug)]
pub(super) struct Ways {
    by: Vec<u32>,
}

impl Ways {
    pub(super) fn find(graph: &Graph) -> Self {
        let nodes = graph.node_count() as usize;
        let mut search =
            Search { graph, by: vec![NONE; nodes], queue: Vec::with_capacity(nodes), passing: Vec::new() };
        search.queue.push(graph.root);
        search.run();
        Self { by: search.by }
    }

    /// The edge by which a node is met; `None` of the root, and of what no root holds.
    fn edge_to(&self, node: u32) -> Option<u32> {
        self.by.get(node as usize).copied().filter(|&edge| edge != NONE)
    }
}

/// The search under way.
struct Search<'a> {
    graph: &'a Graph,
    by: Vec<u32>,
    queue: Vec<u32>,
    /// Edges that hold for a moment only, to be taken when there are no others.
    passing: Vec<u32>,
}

impl Search<'_> {
    fn run(&mut self) {
        let passing = Passing::of(self.graph);
        let mut labels = self.graph.edge_labels();
        let (mut next, mut next_passing) = (0, 0);
        loop {
            while let Some(&node) = self.queue.get(next) {
                next += 1;
                let may_pass = self.graph.kind(node) == NodeKind::Synthetic;
                let is_passing = may_pass && passing.is_root(self.graph, node);
                for edge in self.graph.edges(node) {
                    if is_passing || may_pass && passing.is_edge(labels.get(edge).1) {
                        self.passing.push(edge);
                    } else {
                        self.take(edge);
                    }
                }
            }
            let Some(&edge) = self.passing.get(next_passing) else { break };
            next_passing += 1;
            self.take(edge);
        }
    }

    fn take(&mut self, edge: u32) {
        let end = self.graph.marked_end(edge);
        if end & IGNORED != 0 || end & NODE == self.graph.root {
            return;
        }
        if let Some(known) = self.by.get_mut((end & NODE) as usize).filter(|edge| **edge == NONE) {
            *known = edge;
            self.queue.push(end & NODE);
        }
    }
}

/// The names of what holds for a moment only, by their numbers.
struct Passing {
    roots: FxHashSet<u32>,
    edges: FxHashSet<u32>,
}

impl Passing {
    fn of(graph: &Graph) -> Self {
        let numbers = |is_one: &dyn Fn(&[u8]) -> bool| {
            graph.names.iter().filter(|(_, name)| is_one(name)).map(|(number, _)| number).collect()
        };
        Self {
            roots: numbers(&|name| PASSING_ROOTS.iter().any(|root| root.as_bytes() == name)),
            edges: numbers(&|name| name.ends_with(PASSING_EDGE.as_bytes())),
        }
    }

    fn is_root(&self, graph: &Graph, node: u32) -> bool {
        self.roots.contains(&graph.name_numbers.lookup().get(node))
    }

    fn is_edge(&self, name: u32) -> bool {
        self.edges.contains(&name)
    }
}

/// A step of a way from the roots: an edge, and the object it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the edge is.
    pub edge_kind: EdgeKind,
    /// Name of the variable or property, or the index.
    pub edge: String,
    /// The object: what V8 calls it.
    pub name: String,
    /// Its constructor.
    pub class: String,
    /// Its id.
    pub id: u32,
    /// Bytes that would be freed with it.
    pub retained_bytes: u64,
    /// Steps that are left out before this one, because the way is very long.
    pub left_out: usize,
}

impl Analysis {
    /// The shortest way to a node from the roots, the outermost object first. Of a way of more than 64 steps the first 16
    /// and the last 48. Empty for what no root holds.
    pub fn way_to(&self, node: u32) -> Vec<Step> {
        let edges = self.edges_to(node);
        let mut labels = self.graph.edge_labels();
        let skipped = edges.len().saturating_sub(FIRST_STEPS + LAST_STEPS);
        let mut steps = Vec::new();
        for (index, &(edge, node)) in edges.iter().enumerate() {
            if skipped > 0 && (FIRST_STEPS..FIRST_STEPS + skipped).contains(&index) {
                continue;
            }
            let left_out = if index == FIRST_STEPS + skipped { skipped } else { 0 };
            steps.push(self.step(edge, node, left_out, &mut labels));
        }
        steps
    }

    /// The shortest way to a node: edges, and the nodes they lead to.
    pub(super) fn edges_to(&self, node: u32) -> Vec<(u32, u32)> {
        let mut edges = Vec::new();
        let mut at = node;
        while let Some(edge) = self.ways().edge_to(at) {
            edges.push((edge, at));
            at = self.graph.start_of(edge);
        }
        edges.reverse();
        edges
    }

    /// How many steps the shortest way has, counted up to a bound.
    pub(super) fn distance(&self, node: u32, bound: usize) -> usize {
        let mut at = node;
        let mut steps = 0;
        while let Some(edge) = self.ways().edge_to(at).filter(|_| steps < bound) {
            at = self.graph.start_of(edge);
            steps += 1;
        }
        steps
    }

    fn step(&self, edge: u32, node: u32, left_out: usize, labels: &mut EdgeLabels<'_>) -> Step {
        let (edge_kind, edge) = self.edge_text(edge, labels);
        Step {
            edge_kind,
            edge,
            name: self.name_of(node),
            class: self.class_of(node).to_owned(),
            id: self.id_of(node),
            retained_bytes: self.retained_of(node),
            left_out,
        }
    }

    /// The kind of an edge, and its name or index.
    pub(super) fn edge_text(&self, edge: u32, labels: &mut EdgeLabels<'_>) -> (EdgeKind, String) {
        let (kind, name) = labels.get(edge);
        let text = if kind.is_numbered() { name.to_string() } else { self.graph.names.text(name) };
        (kind, text)
    }
}
