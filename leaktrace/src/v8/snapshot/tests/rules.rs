//! The rules of DevTools on small heaps.

use rstest::rstest;

use super::made::{Heap, Version};
use crate::v8::snapshot::{Analysis, ClassFigures, analyse, read};

fn figures<'a>(analysis: &'a Analysis, name: &str) -> &'a ClassFigures {
    analysis.classes().into_iter().find(|class| class.name == name).unwrap_or_else(|| panic!("no {name}"))
}

/// root → (GC roots) → a → {b, c} → d, d → e
fn diamond() -> Heap {
    let mut heap = Heap::new();
    let roots = heap.held(0, ("element", "1"), ("synthetic", "(GC roots)", 0));
    let a = heap.held(roots, ("internal", "1"), ("object", "A", 10));
    let b = heap.held(a, ("property", "b"), ("object", "B", 20));
    let c = heap.held(a, ("property", "c"), ("object", "C", 40));
    let d = heap.held(b, ("element", "7"), ("object", "D", 80));
    heap.edge(c, "element", "8", d);
    heap.held(d, ("property", "e\"\u{e9}\n"), ("object", "E \u{2713}", 160));
    heap
}

#[rstest]
fn every_layout_gives_the_same_heap(
    #[values(Version::Old, Version::Node16, Version::Node24)] version: Version,
) {
    let analysis = analyse(read(diamond().text(version).as_bytes()).unwrap());
    let totals = analysis.totals();
    assert_eq!((totals.nodes, totals.edges, totals.bytes), (7, 7, 310));
    let retained = |name: &str| figures(&analysis, name).retained_bytes;
    assert_eq!(["A", "B", "C", "D", "E \u{2713}"].map(retained), [310, 20, 40, 240, 160]);
    let way = analysis.way_to(6);
    let edges: Vec<_> = way.iter().map(|step| (step.edge_kind.name(), step.edge.as_str())).collect();
    let expected = [
        ("element", "1"),
        ("internal", "1"),
        ("property", "b"),
        ("element", "7"),
        ("property", "e\"\u{e9}\n"),
    ];
    assert_eq!(edges, expected);
    assert_eq!(way.last().map(|step| (step.id, step.name.as_str())), Some((13, "E \u{2713}")));
    assert_eq!((analysis.node_with_id(9), analysis.node_with_id(10)), (Some(4), None));
    assert_eq!(analysis.largest_of("D", 3), [5]);
}

#[test]
fn weak_edges_and_shortcuts_keep_nothing() {
    let mut heap = diamond();
    let weak = heap.held(1, ("weak", "w"), ("object", "Weak", 5));
    heap.edge(2, "shortcut", "s", weak);
    let below = heap.held(weak, ("property", "x"), ("object", "Below", 3));
    let analysis = heap.analysis();
    assert!(analysis.way_to(weak as u32).is_empty());
    assert!(analysis.way_to(below as u32).is_empty(), "nothing that counts leads there");
    assert_eq!(figures(&analysis, "A").retained_bytes, 310, "not part of A");
    assert_eq!(figures(&analysis, "Weak").retained_bytes, 8);
    assert_eq!(analysis.totals().bytes, 318, "but part of the whole");
}

#[test]
fn what_holds_for_a_moment_is_the_last_reason() {
    let mut heap = Heap::new();
    let roots = heap.held(0, ("element", "1"), ("synthetic", "(GC roots)", 0));
    let handles = heap.held(roots, ("element", "1"), ("synthetic", "(Handle scope)", 0));
    let strong = heap.held(roots, ("element", "2"), ("synthetic", "(Strong roots)", 0));
    let local = heap.held(handles, ("internal", "1"), ("object", "Local", 1));
    let module = heap.held(strong, ("internal", "1"), ("object", "Module", 1));
    let context = heap.held(module, ("internal", "context"), ("object", "Context", 1));
    let list = heap.held(context, ("context", "list"), ("object", "List", 1));
    heap.edge(handles, "internal", "2", list);
    heap.edge(strong, "internal", "43 / IdentityMapBase", list);
    heap.edge(local, "property", "list", list);
    let analysis = heap.analysis();
    let names = |node: usize| {
        let way = analysis.way_to(node as u32);
        way.into_iter().map(|step| step.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(list), "(GC roots) (Strong roots) Module Context List");
    assert_eq!(names(local), "(GC roots) (Handle scope) Local", "there is no other");
}

#[test]
fn handles_of_the_engine_do_not_share_what_the_program_holds() {
    let mut heap = Heap::new();
    let roots = heap.held(0, ("element", "1"), ("synthetic", "(GC roots)", 0));
    let global = heap.held(0, ("shortcut", "2"), ("object", "global", 1));
    let cache = heap.held(global, ("property", "cache"), ("object", "Map", 2));
    let entry = heap.held(cache, ("internal", "table"), ("object", "Entry", 4));
    heap.edge(roots, "internal", "handle", entry);
    let analysis = heap.analysis();
    assert_eq!(figures(&analysis, "Map").retained_bytes, 6);
    let way = analysis.way_to(entry as u32);
    assert_eq!(way.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), ["global", "Map", "Entry"]);
}

#[test]
fn values_of_a_weak_map_belong_to_their_keys() {
    let mut heap = Heap::new();
    let global = heap.held(0, ("shortcut", "1"), ("object", "global", 0));
    let key = heap.held(global, ("property", "key"), ("object", "Key", 1));
    let table = heap.held(global, ("property", "table"), ("array", "", 2));
    let value = heap.held(key, ("internal", "1"), ("object", "Value", 4));
    heap.0[key].edges.pop();
    let pair = format!(
        "2 / part of key (Key @{}) -> value (Value @{}) pair in WeakMap (table @{})",
        heap.0[key].id, heap.0[value].id, heap.0[table].id
    );
    heap.edge(key, "internal", &pair, value);
    heap.edge(table, "internal", &pair, value);
    let analysis = heap.analysis();
    assert_eq!(figures(&analysis, "Key").retained_bytes, 5);
}

#[test]
fn a_backing_store_belongs_to_its_only_owner() {
    let mut heap = Heap::new();
    let roots = heap.held(0, ("element", "1"), ("synthetic", "(GC roots)", 0));
    let array = heap.held(roots, ("internal", "1"), ("object", "Array", 16));
    heap.held(array, ("internal", "elements"), ("array", "(object elements)", 1000));
    let first = heap.held(roots, ("internal", "2"), ("object", "First", 16));
    let second = heap.held(roots, ("internal", "3"), ("object", "Second", 16));
    let shared = heap.held(first, ("internal", "elements"), ("array", "", 500));
    heap.edge(second, "internal", "elements", shared);
    let analysis = heap.analysis();
    assert_eq!(figures(&analysis, "Array").shallow_bytes, 1016);
    assert_eq!((figures(&analysis, "(array)").count, figures(&analysis, "(array)").shallow_bytes), (1, 500));
    assert_eq!(figures(&analysis, "First").shallow_bytes, 16);
}

#[test]
fn a_list_counts_what_it_retains_once() {
    let mut heap = Heap::new();
    let mut last = heap.held(0, ("element", "1"), ("object", "Link", 8));
    for _ in 1..100 {
        last = heap.held(last, ("property", "next"), ("object", "Link", 8));
    }
    let analysis = heap.analysis();
    assert_eq!((figures(&analysis, "Link").count, figures(&analysis, "Link").retained_bytes), (100, 800));
    let way = analysis.way_to(last as u32);
    assert_eq!((way.len(), way.iter().map(|step| step.left_out).sum::<usize>()), (64, 36));
}

#[test]
fn what_is_called_what() {
    let mut heap = Heap::new();
    for (kind, name) in [
        ("string", "secret"),
        ("closure", "handler"),
        ("code", "system / BytecodeArray"),
        ("hidden", "system / Foreign"),
        ("regexp", "a+"),
        ("number", "1.5"),
        ("native", "Detached <div class=\"x\" id=\"y\">"),
        ("native", "<p class=\"x\">"),
    ] {
        heap.held(0, ("element", "1"), (kind, name, 8));
    }
    let mut detached = heap.node("native", "<li>", 8);
    heap.0[detached].detachedness = 2;
    heap.edge(0, "element", "2", detached);
    detached = heap.node("native", "Node / BindingData", 8);
    heap.0[detached].detachedness = 2;
    heap.edge(0, "element", "3", detached);
    let analysis = heap.analysis();
    let mut names: Vec<_> = analysis.classes().iter().map(|class| class.name.clone()).collect();
    names.sort();
    let expected = [
        "(compiled code)",
        "(number)",
        "(string)",
        "(system)",
        "<li>",
        "<p>",
        "Detached <div>",
        "Function",
        "Node / BindingData",
        "RegExp",
    ];
    assert_eq!(names, expected);
    let totals = analysis.totals();
    assert_eq!((totals.detached, totals.detached_bytes, totals.native_bytes), (2, 16, 32));
}

#[test]
fn sizes_beyond_32_bits_are_kept() {
    let mut heap = Heap::new();
    heap.held(0, ("element", "1"), ("native", "system / JSArrayBufferData", 5 << 32));
    heap.held(0, ("element", "2"), ("native", "system / JSArrayBufferData", u64::from(u32::MAX)));
    assert_eq!(heap.analysis().totals().native_bytes, (5 << 32) + u64::from(u32::MAX));
}
