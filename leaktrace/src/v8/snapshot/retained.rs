//! One snapshot, worked out: who dominates whom, what that retains, and the shortest ways from the roots.

use std::sync::OnceLock;

use super::classes::{ClassFigures, Classes, Totals, is_detached};
use super::dominators::{Dominators, dominators};
use super::edges::mark_ignored;
use super::graph::{Graph, NodeKind};
use super::paths::Ways;
use super::shallow::{Sizes, shallow_sizes};

/// A snapshot with everything that can be asked of it.
#[derive(Debug)]
pub struct Analysis {
    pub(super) graph: Graph,
    pub(super) tree: Dominators,
    pub(super) sizes: Sizes,
    pub(super) retained: Vec<u64>,
    pub(super) classes: Classes,
    /// Found when the first path is asked for: of most snapshots of several, none is.
    ways: OnceLock<Ways>,
    totals: Totals,
}

/// Works a graph out.
pub fn analyse(mut graph: Graph) -> Analysis {
    mark_ignored(&mut graph);
    let tree = dominators(&graph);
    let sizes = shallow_sizes(&mut graph);
    let retained = retained_sizes(&tree, &sizes);
    let mut classes = Classes::name(&graph);
    classes.count(&graph, &sizes);
    classes.retain(&tree, &retained);
    let totals = totals(&graph, &tree, &sizes, &retained, &classes);
    Analysis { graph, tree, sizes, retained, classes, ways: OnceLock::new(), totals }
}

impl Analysis {
    /// What the snapshot holds in all.
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The constructors of which there are objects, largest retained size first.
    pub fn classes(&self) -> Vec<&ClassFigures> {
        let mut classes: Vec<_> = self.classes.figures.iter().filter(|class| class.count > 0).collect();
        classes.sort_by(|a, b| b.retained_bytes.cmp(&a.retained_bytes).then_with(|| a.name.cmp(&b.name)));
        classes
    }

    /// The node with this id.
    pub fn node_with_id(&self, id: u32) -> Option<u32> {
        self.graph.ids.iter().position(|known| known == id).map(|node| node as u32)
    }

    /// The `top` objects of a constructor that retain most, as nodes.
    pub fn largest_of(&self, class: &str, top: usize) -> Vec<u32> {
        let Some(class) = self.classes.figures.iter().position(|known| known.name == class) else {
            return Vec::new();
        };
        let mut nodes: Vec<u32> =
            (0..self.graph.node_count()).filter(|&node| self.classes.of(node) == class as u32).collect();
        nodes.sort_by_key(|&node| (std::cmp::Reverse(self.retained_of(node)), node));
        nodes.truncate(top);
        nodes
    }

    /// Bytes that would be freed with a node.
    pub fn retained_of(&self, node: u32) -> u64 {
        self.retained.get(node as usize).copied().unwrap_or_default()
    }

    /// A node's own bytes.
    pub fn shallow_of(&self, node: u32) -> u64 {
        self.sizes.get(node)
    }

    /// The id of a node: the same in later snapshots of the same process.
    pub fn id_of(&self, node: u32) -> u32 {
        self.graph.ids.lookup().get(node)
    }

    /// The constructor of a node.
    pub fn class_of(&self, node: u32) -> &str {
        self.classes.name_of(node)
    }

    pub(super) fn ways(&self) -> &Ways {
        self.ways.get_or_init(|| Ways::find(&self.graph))
    }

    /// The node that dominates another.
    pub(super) fn dominator_of(&self, node: u32) -> u32 {
        self.tree.parent.get(node as usize).copied().unwrap_or(self.graph.root)
    }

    /// The name of a node as the file has it; its constructor where that is the content of a string or nothing.
    pub(super) fn name_of(&self, node: u32) -> String {
        let name = self.graph.names.text(self.graph.name_numbers.lookup().get(node));
        if name.is_empty() || self.graph.kind(node).is_named_by_its_content() {
            return self.class_of(node).to_owned();
        }
        name
    }
}

fn retained_sizes(tree: &Dominators, sizes: &Sizes) -> Vec<u64> {
    let mut retained: Vec<u64> = (0..tree.parent.len() as u32).map(|node| sizes.get(node)).collect();
    // Each node comes behind its dominator: from the end, all that is below a node is in it when it is passed on.
    for &node in tree.order.iter().skip(1).rev() {
        let bytes = retained.get(node as usize).copied().unwrap_or_default();
        let dominator = tree.parent.get(node as usize).map_or(0, |&parent| parent as usize);
        if let Some(sum) = retained.get_mut(dominator) {
            *sum = sum.saturating_add(bytes);
        }
    }
    retained
}

fn totals(graph: &Graph, tree: &Dominators, sizes: &Sizes, retained: &[u64], classes: &Classes) -> Totals {
    let mut totals = Totals {
        nodes: u64::from(graph.node_count()),
        edges: u64::from(graph.edge_count()),
        bytes: retained.get(graph.root as usize).copied().unwrap_or_default(),
        ..Totals::default()
    };
    let detached = |node: u32| is_detached(graph, node, classes.name_of(node));
    for node in 0..graph.node_count() {
        if graph.kind(node) == NodeKind::Native {
            totals.native_bytes = totals.native_bytes.saturating_add(sizes.get(node));
        }
        if detached(node) {
            totals.detached += 1;
            let dominator = tree.parent.get(node as usize).copied().unwrap_or_default();
            if !detached(dominator) {
                let bytes = retained.get(node as usize).copied().unwrap_or_default();
                totals.detached_bytes = totals.detached_bytes.saturating_add(bytes);
            }
        }
    }
    totals
}
