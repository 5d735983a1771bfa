//! Is an object held by something that it holds itself?

use super::edges::NodeSet;
use super::graph::EdgeKind;
use super::retained::Analysis;

/// So many objects below are looked at.
const MAX_VISITED: usize = 512;
/// Every function and class has such a circle.
const USUAL: [&str; 5] = ["constructor", "prototype", "__proto__", "this", "arguments"];

impl Analysis {
    /// Something that would be freed with a node refers back to it. Looks at the nearest 512 objects.
    pub(super) fn is_in_a_circle(&self, node: u32) -> bool {
        let mut labels = self.graph.edge_labels();
        let mut seen = NodeSet::new(self.graph.node_count());
        seen.add(node);
        let mut queue = vec![node];
        let mut next = 0;
        while let Some(&at) = queue.get(next) {
            next += 1;
            for edge in self.graph.edges(at) {
                let end = self.graph.marked_end(edge);
                if end & super::graph::IGNORED != 0 {
                    continue;
                }
                let end = end & super::graph::NODE;
                if end == node && at != node {
                    let (kind, name) = self.edge_text(edge, &mut labels);
                    let is_of_the_program =
                        matches!(kind, EdgeKind::Property | EdgeKind::Element | EdgeKind::Context);
                    if is_of_the_program && !USUAL.contains(&name.as_str()) {
                        return true;
                    }
                } else if queue.len() < MAX_VISITED && seen.has(self.dominator_of(end)) && seen.add(end) {
                    queue.push(end);
                }
            }
        }
        false
    }
}
