//! The shortest way from the roots to each object.

use super::graph::{EdgeKind, EdgeLabels, Graph, IGNORED, NODE, NONE};
use super::retained::Analysis;

/// Steps that are told at the beginning of a long way, and at its end.
const FIRST_STEPS: usize = 16;
const LAST_STEPS: usize = 48;

/// The edge by which each node is met first in a breadth-first search.
#[derive(Debug)]
pub(super) struct Ways {
    by: Vec<u32>,
}

impl Ways {
    pub(super) fn find(graph: &Graph) -> Self {
        let nodes = graph.node_count() as usize;
        let mut by = vec![NONE; nodes];
        let mut queue = Vec::with_capacity(nodes);
        queue.push(graph.root);
        let mut next = 0;
        while let Some(&node) = queue.get(next) {
            next += 1;
            for edge in graph.edges(node) {
                let end = graph.marked_end(edge);
                if end & IGNORED != 0 || end & NODE == graph.root {
                    continue;
                }
                if let Some(known) = by.get_mut((end & NODE) as usize).filter(|edge| **edge == NONE) {
                    *known = edge;
                    queue.push(end & NODE);
                }
            }
        }
        Self { by }
    }

    /// The edge by which a node is met; `None` of the root, and of what no root holds.
    fn edge_to(&self, node: u32) -> Option<u32> {
        self.by.get(node as usize).copied().filter(|&edge| edge != NONE)
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
