//! Random graphs: the dominator tree and the retained sizes beside those of a model that only removes nodes.

use proptest::prelude::*;

use super::made::Heap;
use crate::v8::snapshot::{Analysis, GrowthLimits, History, Step};

/// Nodes that can be reached from the root without going through one.
fn reached(heap: &Heap, without: Option<usize>) -> Vec<bool> {
    let mut seen = vec![false; heap.0.len()];
    let mut waiting = if without == Some(0) { vec![] } else { vec![0] };
    while let Some(node) = waiting.pop() {
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        let ends = heap.0[node].edges.iter().filter(|(kind, _, _)| *kind != "weak").map(|edge| edge.2);
        waiting.extend(ends.filter(|&end| Some(end) != without && !seen[end]));
    }
    seen
}

fn a_heap() -> impl Strategy<Value = Heap> {
    (2_usize..24).prop_flat_map(|nodes| {
        let edge = (0..nodes, 0..nodes, 0_u8..8);
        (prop::collection::vec(0_u64..100, nodes), prop::collection::vec(edge, 0..nodes * 4)).prop_map(
            |(sizes, edges)| {
                let mut heap = Heap::new();
                for size in sizes.into_iter().skip(1) {
                    heap.node("object", "O", size);
                }
                for (from, to, kind) in edges {
                    // One of eight edges is weak.
                    let kind = if kind == 0 { "weak" } else { "property" };
                    heap.edge(from, kind, "p", to);
                }
                heap
            },
        )
    })
}

fn check(heap: &Heap) -> Result<(), TestCaseError> {
    let analysis: Analysis = heap.analysis();
    let whole = reached(heap, None);
    for node in 1..heap.0.len() {
        if !whole[node] {
            continue;
        }
        let rest = reached(heap, Some(node));
        let freed = (0..heap.0.len()).filter(|&other| whole[other] && !rest[other]);
        // What nothing holds hangs from the root; it may hold parts of the rest, but is in nobody's retained size here,
        // as it is made unreachable only by weak edges.
        let freed: u64 = freed.map(|other| heap.0[other].size).sum();
        prop_assert_eq!(analysis.retained_of(node as u32), freed, "node {}", node);
    }
    Ok(())
}

proptest! {
    #[test]
    fn retained_is_what_removing_would_free(heap in a_heap()) {
        // Edges from what cannot be reached would count as those of the root: the model has none.
        let mut heap = heap;
        let whole = reached(&heap, None);
        for (node, is_reached) in heap.0.iter_mut().zip(whole) {
            if !is_reached {
                node.edges.clear();
            }
        }
        check(&heap)?;
    }

    #[test]
    fn nothing_grows_from_itself_to_itself(heap in a_heap()) {
        let analysis = heap.analysis();
        let limits = GrowthLimits { min_bytes: 0, min_share: 0.0, top: 100 };
        let comparison = History::begin(&analysis).compare(&analysis, limits);
        prop_assert!(comparison.growths.is_empty(), "{:?}", comparison.growths);
        prop_assert!(comparison.classes.iter().all(|class| class.now == class.before && class.new == 0));
    }

    #[test]
    fn the_way_is_the_shortest(heap in a_heap()) {
        let analysis = heap.analysis();
        let mut distance = vec![usize::MAX; heap.0.len()];
        distance[0] = 0;
        for _ in 0..heap.0.len() {
            for from in 0..heap.0.len() {
                for (kind, _, to) in &heap.0[from].edges {
                    if *kind != "weak" && distance[from] != usize::MAX {
                        distance[*to] = distance[*to].min(distance[from] + 1);
                    }
                }
            }
        }
        for (node, &distance) in distance.iter().enumerate().skip(1) {
            let way: Vec<Step> = analysis.way_to(node as u32);
            prop_assert_eq!(way.len(), if distance == usize::MAX { 0 } else { distance });
            prop_assert!(way.last().is_none_or(|step| step.id == heap.0[node].id));
        }
    }
}

#[test]
fn a_long_list_held_at_both_ends_is_done_at_once() {
    // Quadratic algorithms never end here: 200,000 links, each pointing both ways and to one of the others.
    let mut heap = Heap::new();
    let links: Vec<_> = (0..200_000).map(|_| heap.node("object", "Link", 8)).collect();
    heap.edge(0, "element", "1", links[0]);
    heap.edge(0, "element", "2", links[links.len() - 1]);
    for pair in links.windows(2) {
        heap.edge(pair[0], "property", "next", pair[1]);
        heap.edge(pair[1], "property", "previous", pair[0]);
    }
    let analysis = heap.analysis();
    assert!(links.iter().all(|&link| analysis.retained_of(link as u32) == 8), "the root dominates each");
}
