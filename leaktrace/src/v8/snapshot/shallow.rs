//! Shallow sizes, as Chrome's DevTools counts them: a backing store belongs to the one object that owns it.

use rustc_hash::FxHashMap;

use super::graph::{Graph, IGNORED, NODE, NONE, NodeKind};

/// More than one object holds it: it keeps its size.
const SHARED: u32 = NONE - 1;

/// A size for each node: nearly all fit into 32 bits.
#[derive(Debug)]
pub(super) struct Sizes {
    small: Vec<u32>,
    /// Where `small` says [`NONE`].
    large: FxHashMap<u32, u64>,
}

impl Sizes {
    pub(super) fn get(&self, node: u32) -> u64 {
        match self.small.get(node as usize) {
            Some(&NONE) => self.large.get(&node).copied().unwrap_or_default(),
            Some(&size) => u64::from(size),
            None => 0,
        }
    }

    fn set(&mut self, node: u32, size: u64) {
        let small = u32::try_from(size).ok().filter(|&size| size != NONE);
        if small.is_none() {
            self.large.insert(node, size);
        }
        if let Some(place) = self.small.get_mut(node as usize) {
            *place = small.unwrap_or(NONE);
        }
    }
}

/// Takes the sizes of a graph's nodes out of it, with those of backing stores moved to their owners.
pub(super) fn shallow_sizes(graph: &mut Graph) -> Sizes {
    let small = std::mem::take(&mut graph.sizes).iter().collect();
    let mut sizes = Sizes { small, large: std::mem::take(&mut graph.large_sizes) };
    for (node, owner) in (0..).zip(owners(graph)) {
        // What the roots hold is the engine's, and stays what it is.
        if owner < SHARED && owner != node && graph.kind(owner) != NodeKind::Synthetic {
            let size = sizes.get(node);
            let sum = sizes.get(owner).saturating_add(size);
            sizes.set(node, 0);
            sizes.set(owner, sum);
        }
    }
    sizes
}

/// For each node the one that owns it: itself, unless it is a backing store or something of V8's own.
fn owners(graph: &Graph) -> Vec<u32> {
    let is_owned = |node| matches!(graph.kind(node), NodeKind::Hidden | NodeKind::Array);
    let mut owners: Vec<u32> =
        (0..graph.node_count()).map(|node| if is_owned(node) { NONE } else { node }).collect();
    let mut waiting = Vec::new();
    for start in (0..graph.node_count()).filter(|&node| !is_owned(node)) {
        waiting.push(start);
        while let Some(node) = waiting.pop() {
            let owner = owners.get(node as usize).copied().unwrap_or(SHARED);
            let edges = graph.edges(node);
            let ends = graph.to.get(edges.start as usize..edges.end as usize).unwrap_or_default();
            for end in ends.iter().filter(|&&end| end & IGNORED == 0).map(|&end| end & NODE) {
                let Some(place) = owners.get_mut(end as usize) else { continue };
                let known = *place;
                if known == NONE {
                    *place = owner;
                    waiting.push(end);
                } else if known != end && known != owner && known != SHARED {
                    *place = SHARED;
                    waiting.push(end);
                }
            }
        }
    }
    owners
}
