//! Figures by constructor, as the summary of Chrome's DevTools has them.

use rustc_hash::FxHashMap;

use super::dominators::Dominators;
use super::graph::{Graph, NodeKind};
use super::shallow::Sizes;

/// What all objects of one constructor are together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassFigures {
    /// The constructor, or what stands for it: `(string)`, `(array)`, `(compiled code)`, `(system)`, …
    pub name: String,
    /// How many objects there are.
    pub count: u64,
    /// Their own bytes.
    pub shallow_bytes: u64,
    /// Bytes that would be freed with all of them; those within one another count once.
    pub retained_bytes: u64,
    /// Objects that are known to be detached from their document.
    pub detached: u64,
}

/// What a snapshot holds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes of the graph, those that stand for no object included.
    pub nodes: u64,
    /// Edges of the graph.
    pub edges: u64,
    /// Bytes of all nodes.
    pub bytes: u64,
    /// Of these, bytes outside of V8's heap: contents of buffers and other native memory.
    pub native_bytes: u64,
    /// Objects that are detached from their document.
    pub detached: u64,
    /// Bytes that these retain.
    pub detached_bytes: u64,
}

/// The constructors of a snapshot, and which node has which.
#[derive(Debug)]
pub(super) struct Classes {
    pub(super) figures: Vec<ClassFigures>,
    /// For each node an index into `figures`.
    pub(super) of: Vec<u32>,
}

impl Classes {
    /// Names the constructor of each node.
    pub(super) fn name(graph: &Graph) -> Self {
        let mut figures: Vec<ClassFigures> = Vec::new();
        let mut by_text: FxHashMap<String, u32> = FxHashMap::default();
        // By kind and name number: most nodes are of a class that is known, and need no text.
        let mut by_number: FxHashMap<(NodeKind, u32), u32> = FxHashMap::default();
        let of = (0..graph.node_count())
            .zip(graph.name_numbers.iter())
            .map(|(node, number)| {
                let kind = graph.kind(node);
                let key = (kind, if is_named(kind) { number } else { 0 });
                *by_number.entry(key).or_insert_with(|| {
                    let name = class_name(kind, || graph.names.text(number));
                    *by_text.entry(name).or_insert_with_key(|name| {
                        figures.push(ClassFigures { name: name.clone(), ..ClassFigures::default() });
                        figures.len() as u32 - 1
                    })
                })
            })
            .collect();
        Self { figures, of }
    }

    /// The constructor of a node.
    pub(super) fn of(&self, node: u32) -> u32 {
        self.of.get(node as usize).copied().unwrap_or_default()
    }

    /// Its name.
    pub(super) fn name_of(&self, node: u32) -> &str {
        self.figures.get(self.of(node) as usize).map_or("", |class| class.name.as_str())
    }

    /// Counts objects and their own bytes.
    pub(super) fn count(&mut self, graph: &Graph, sizes: &Sizes) {
        for (node, &class) in (0..).zip(&self.of) {
            let size = sizes.get(node);
            // What has no size of its own is part of something else.
            let Some(class) = self.figures.get_mut(class as usize).filter(|_| size > 0) else { continue };
            class.count += 1;
            class.shallow_bytes = class.shallow_bytes.saturating_add(size);
            if is_detached(graph, node, &class.name) {
                class.detached += 1;
            }
        }
    }

    /// Adds up what the objects of each constructor retain, without counting any byte twice: only those count that no
    /// other object of the same constructor dominates.
    pub(super) fn retain(&mut self, tree: &Dominators, retained: &[u64]) {
        let children = Children::of(tree);
        let mut open = vec![0_u32; self.figures.len()];
        let mut waiting = tree.order.first().map_or(Vec::new(), |&root| vec![(root, false)]);
        while let Some((node, is_left)) = waiting.pop() {
            let class = self.of(node) as usize;
            let Some(open) = open.get_mut(class) else { continue };
            if is_left {
                *open -= 1;
                continue;
            }
            if *open == 0
                && let Some(figures) = self.figures.get_mut(class)
            {
                let bytes = retained.get(node as usize).copied().unwrap_or_default();
                figures.retained_bytes = figures.retained_bytes.saturating_add(bytes);
            }
            let below = children.of_node(node);
            if !below.is_empty() {
                *open += 1;
                waiting.push((node, true));
                waiting.extend(below.iter().map(|&child| (child, false)));
            }
        }
    }
}

/// V8 marked it, or named it so. Node marks objects of its own as detached that have never been in a document.
pub(super) fn is_detached(graph: &Graph, node: u32, class: &str) -> bool {
    class.starts_with("Detached ") || graph.is_detached(node) && !class.starts_with("Node / ")
}

const fn is_named(kind: NodeKind) -> bool {
    matches!(kind, NodeKind::Object | NodeKind::Native)
}

fn class_name(kind: NodeKind, name: impl FnOnce() -> String) -> String {
    match kind {
        NodeKind::Object => name(),
        NodeKind::Native => without_attributes(name()),
        NodeKind::Hidden => "(system)".to_owned(),
        NodeKind::Code => "(compiled code)".to_owned(),
        NodeKind::Closure => "Function".to_owned(),
        NodeKind::RegExp => "RegExp".to_owned(),
        kind => format!("({kind})"),
    }
}

/// `<div class="…">` is a `<div>`: elements of one tag belong together.
fn without_attributes(name: String) -> String {
    let tag = name.strip_prefix("Detached ").unwrap_or(&name);
    if !tag.starts_with('<') {
        return name;
    }
    match name.char_indices().skip_while(|(_, c)| *c != '<').find(|(_, c)| c.is_whitespace()) {
        Some((at, _)) => format!("{}>", name.get(..at).unwrap_or_default()),
        None => name,
    }
}

/// The dominator tree from above.
struct Children {
    first: Vec<u32>,
    nodes: Vec<u32>,
}

impl Children {
    fn of(tree: &Dominators) -> Self {
        let mut first = vec![0_u32; tree.parent.len() + 1];
        let (root, rest) = tree.order.split_first().map_or((0, [].as_slice()), |(root, rest)| (*root, rest));
        debug_assert!(!rest.contains(&root), "the root is met once");
        let parent = |node: u32| tree.parent.get(node as usize).copied().unwrap_or(root) as usize;
        for &node in rest {
            if let Some(count) = first.get_mut(parent(node)) {
                *count += 1;
            }
        }
        let mut total = 0;
        for place in &mut first {
            total += *place;
            *place = total;
        }
        let mut nodes = vec![0; total as usize];
        for &node in rest {
            if let Some(place) = first.get_mut(parent(node)) {
                *place -= 1;
                if let Some(child) = nodes.get_mut(*place as usize) {
                    *child = node;
                }
            }
        }
        Self { first, nodes }
    }

    fn of_node(&self, node: u32) -> &[u32] {
        let at = |index: usize| self.first.get(index).copied().unwrap_or_default() as usize;
        self.nodes.get(at(node as usize)..at(node as usize + 1)).unwrap_or_default()
    }
}
