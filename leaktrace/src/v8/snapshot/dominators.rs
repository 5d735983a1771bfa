//! The dominator tree: for each node the last one that every way from the root to it goes through.
//!
//! This is the algorithm of Lengauer and Tarjan with path compression, O(m log n) for any graph: the simpler iterative
//! one takes quadratic time on lists that are held at both ends, which every LRU cache has. Everything is an array of
//! u32 in the order of a depth-first search, nothing recurses, and arrays are used twice where their times do not
//! overlap: this is where memory is needed most.

use super::edges::NodeSet;
use super::graph::{Graph, IGNORED, NODE, NONE};

/// Who dominates whom.
#[derive(Debug)]
pub(super) struct Dominators {
    /// All nodes, each behind the one that dominates it; the root first.
    pub(super) order: Vec<u32>,
    /// The immediate dominator of each node; the root's is itself.
    pub(super) parent: Vec<u32>,
}

/// The dominator tree of a graph.
///
/// What cannot be reached from the root by edges that count hangs from the root.
pub(super) fn dominators(graph: &Graph) -> Dominators {
    let search = Search::run(graph);
    let (before, mut semi) = earlier_neighbours(graph, &search);
    let Search { order, parent: mut ancestor, number } = search;
    drop(number);
    let nodes = order.len() as u32;

    let mut label: Vec<u32> = (0..nodes).collect();
    // Until a node has been passed: the first of those whose semidominator it is. While it waits there itself: the next
    // one. In the end: its dominator.
    let mut dom = vec![0_u32; nodes as usize];
    let mut path = Vec::new();

    for w in (1..nodes).rev() {
        let mut forest = Forest { semi: &semi, label: &mut label, ancestor: &mut ancestor, linked: w + 1 };
        let mut least = at(&semi, w);
        for &v in before.of(w) {
            let u = forest.eval(v, &mut path);
            least = least.min(at(&semi, u));
        }
        set(&mut semi, w, least);
        let above = at(&ancestor, w);
        if least == above {
            set(&mut dom, w, above);
        } else {
            let next = at(&dom, least);
            set(&mut dom, w, next);
            set(&mut dom, least, w);
        }
        // All that waits for the node above `w` lies below `w`, and is settled now.
        let mut v = std::mem::take(dom.get_mut(above as usize).unwrap_or(&mut 0));
        while v != 0 {
            let next = at(&dom, v);
            let mut forest = Forest { semi: &semi, label: &mut label, ancestor: &mut ancestor, linked: w };
            let u = forest.eval(v, &mut path);
            set(&mut dom, v, if at(&semi, u) < at(&semi, v) { u } else { above });
            v = next;
        }
    }
    drop((before, label, ancestor));
    for w in 1..nodes {
        if at(&dom, w) != at(&semi, w) {
            let dominator = at(&dom, at(&dom, w));
            set(&mut dom, w, dominator);
        }
    }
    // From numbers of the search to nodes.
    let mut parent = semi;
    for (w, &node) in order.iter().enumerate() {
        let dominator = at(&order, at(&dom, w as u32));
        set(&mut parent, node, dominator);
    }
    Dominators { order, parent }
}

fn at(values: &[u32], index: u32) -> u32 {
    values.get(index as usize).copied().unwrap_or_default()
}

fn set(values: &mut [u32], index: u32, value: u32) {
    if let Some(place) = values.get_mut(index as usize) {
        *place = value;
    }
}

/// A depth-first search: nodes are numbered in the order in which they are met.
struct Search {
    /// Number to node.
    order: Vec<u32>,
    /// Number to number: from where it was met.
    parent: Vec<u32>,
    /// Node to number.
    number: Vec<u32>,
}

impl Search {
    fn run(graph: &Graph) -> Self {
        let nodes = graph.node_count();
        let mut search = Self {
            order: Vec::with_capacity(nodes as usize),
            parent: Vec::with_capacity(nodes as usize),
            number: vec![NONE; nodes as usize],
        };
        let mut next_edge: Vec<u32> = graph.first_edge.clone();
        search.from(graph, graph.root, &mut next_edge);
        if search.order.len() < nodes as usize {
            // First those that nobody holds, then what only holds itself.
            let held = held_nodes(graph);
            for node in (0..nodes).filter(|&node| !held.has(node)) {
                search.from(graph, node, &mut next_edge);
            }
            for node in 0..nodes {
                search.from(graph, node, &mut next_edge);
            }
        }
        search
    }

    fn meet(&mut self, node: u32, parent: u32) {
        set(&mut self.number, node, self.order.len() as u32);
        self.order.push(node);
        self.parent.push(parent);
    }

    fn from(&mut self, graph: &Graph, start: u32, next_edge: &mut [u32]) {
        if at(&self.number, start) != NONE {
            return;
        }
        self.meet(start, 0);
        let mut node = start;
        loop {
            let edge = at(next_edge, node);
            if edge < at(&graph.first_edge, node + 1) {
                set(next_edge, node, edge + 1);
                let end = graph.marked_end(edge);
                if end & IGNORED == 0 && at(&self.number, end & NODE) == NONE {
                    let parent = at(&self.number, node);
                    self.meet(end & NODE, parent);
                    node = end & NODE;
                }
            } else if node == start {
                return;
            } else {
                node = at(&self.order, at(&self.parent, at(&self.number, node)));
            }
        }
    }
}

/// The nodes that another one holds.
fn held_nodes(graph: &Graph) -> NodeSet {
    let mut held = NodeSet::new(graph.node_count());
    for node in 0..graph.node_count() {
        for end in graph.kept_by(node).filter(|&end| end != node) {
            held.add(end);
        }
    }
    held
}

/// For each number, those higher ones from which an edge leads to it.
struct Before {
    first: Vec<u32>,
    numbers: Vec<u32>,
}

impl Before {
    fn of(&self, number: u32) -> &[u32] {
        let range = at(&self.first, number) as usize..at(&self.first, number + 1) as usize;
        self.numbers.get(range).unwrap_or_default()
    }
}

/// Edges that lead to a lower number, by their ends; and the lowest number from which an edge leads to each.
///
/// An edge that leads to a higher number comes from a node that is not in the forest when its end is passed: all that
/// it contributes is its own number, and it need not be remembered.
fn earlier_neighbours(graph: &Graph, search: &Search) -> (Before, Vec<u32>) {
    let nodes = search.order.len();
    let mut semi = search.parent.clone();
    let mut first = vec![0_u32; nodes + 1];
    for node in 0..graph.node_count() {
        let from = at(&search.number, node);
        for end in graph.kept_by(node) {
            let to = at(&search.number, end);
            if from > to {
                if let Some(count) = first.get_mut(to as usize) {
                    *count += 1;
                }
            } else if from < to && from < at(&semi, to) {
                set(&mut semi, to, from);
            }
        }
    }
    let mut total = 0;
    for place in &mut first {
        total += *place;
        *place = total;
    }
    // Each list is filled from its end, so that `first` points to its beginning when it is full.
    let mut numbers = vec![0; total as usize];
    for node in 0..graph.node_count() {
        let from = at(&search.number, node);
        for end in graph.kept_by(node) {
            let to = at(&search.number, end);
            if from > to {
                let place = at(&first, to).saturating_sub(1);
                set(&mut first, to, place);
                set(&mut numbers, place, from);
            }
        }
    }
    (Before { first, numbers }, semi)
}

/// The forest of those numbers that have been passed, `linked` and above.
struct Forest<'a> {
    semi: &'a [u32],
    /// The number with the least semidominator on the compressed way up.
    label: &'a mut [u32],
    ancestor: &'a mut [u32],
    linked: u32,
}

impl Forest<'_> {
    /// The number with the least semidominator from `v` up to below the top of its tree.
    fn eval(&mut self, v: u32, path: &mut Vec<u32>) -> u32 {
        path.clear();
        let mut x = v;
        while at(self.ancestor, x) >= self.linked {
            path.push(x);
            x = at(self.ancestor, x);
        }
        // `x` is the highest whose ancestor is not linked: below it, labels are carried down and the way is cut short.
        let mut above = x;
        for &x in path.iter().rev() {
            let (upper, own) = (at(self.label, above), at(self.label, x));
            if at(self.semi, upper) < at(self.semi, own) {
                set(self.label, x, upper);
            }
            let top = at(self.ancestor, above);
            set(self.ancestor, x, top);
            above = x;
        }
        at(self.label, v)
    }
}
