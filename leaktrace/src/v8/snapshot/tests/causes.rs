//! What grew and why, on heaps made by hand; real ones are in `tests/heap.rs`.

use rstest::rstest;

use super::made::Heap;
use crate::v8::snapshot::{Cause, Comparison, Container, GrowthLimits, History};

const LIMITS: GrowthLimits = GrowthLimits { min_bytes: 100, min_share: 0.0, top: 10 };

/// A program with a module whose context holds a container, and so many entries.
struct Program {
    heap: Heap,
    context: usize,
    container: usize,
}

impl Program {
    fn new(container: &str) -> Self {
        let mut heap = Heap::new();
        let global = heap.held(0, ("shortcut", "1"), ("object", "global", 8));
        let function = heap.held(global, ("property", "main"), ("closure", "main", 8));
        let context = heap.held(function, ("internal", "context"), ("object", "system / Context", 8));
        let native = heap.node("hidden", "system / NativeContext", 8);
        heap.edge(context, "internal", "previous", native);
        let container = heap.held(context, ("context", "kept"), ("object", container, 16));
        Self { heap, context, container }
    }

    fn add(&mut self, entries: usize) {
        for index in 0..entries {
            let edge = ("element", index.to_string());
            self.heap.held(self.container, (edge.0, &edge.1), ("object", "Entry", 64));
        }
    }
}

fn over_time(heaps: &[&Heap]) -> Comparison {
    let (last, before) = heaps.split_last().unwrap();
    let mut before = before.iter().map(|heap| heap.analysis());
    let mut history = History::begin(&before.next().unwrap());
    before.for_each(|analysis| history.advance(&analysis));
    history.compare(&last.analysis(), LIMITS)
}

#[rstest]
#[case("Map", Cause::UnboundedCollection, Container::Map)]
#[case("Set", Cause::UnboundedCollection, Container::Set)]
#[case("Array", Cause::GlobalVariable, Container::Array)]
#[case("Object", Cause::UnboundedCollection, Container::Object)]
fn what_only_grows_is_told_with_its_holder(
    #[case] class: &str,
    #[case] cause: Cause,
    #[case] container: Container,
) {
    let mut program = Program::new(class);
    program.add(10);
    let first = program.heap.clone();
    program.add(10);
    let second = program.heap.clone();
    program.add(10);
    let comparison = over_time(&[&first, &second, &program.heap]);
    let [growth] = comparison.growths.as_slice() else { panic!("{:?}", comparison.growths) };
    assert_eq!((growth.bytes, growth.class_count, growth.class.as_str()), (1280, 20, "Entry"));
    let why = &growth.explanation;
    assert_eq!((why.cause, why.container, why.name.as_deref()), (cause, container, Some("kept")));
    assert_eq!(why.container_id, program.heap.0[program.container].id);
    let entries = &comparison.classes.iter().find(|class| class.now.name == "Entry").unwrap();
    assert_eq!((entries.new, entries.deleted, entries.survived, entries.grew_always), (20, 0, 10, true));
}

#[test]
fn entries_that_are_replaced_are_no_growth() {
    let mut program = Program::new("Map");
    program.add(20);
    let first = program.heap.clone();
    let mut second = first.clone();
    // All entries are new ones, as many as before.
    for node in &mut second.0[program.container + 1..] {
        node.id += 1000;
    }
    let comparison = over_time(&[&first, &second]);
    assert!(comparison.growths.is_empty(), "{:?}", comparison.growths);
    let entries = &comparison.classes.iter().find(|class| class.now.name == "Entry").unwrap();
    assert_eq!((entries.new, entries.deleted, entries.survived, entries.grew_always), (20, 20, 0, false));
}

#[test]
fn what_grew_and_shrank_again_is_no_growth() {
    let mut program = Program::new("Map");
    program.add(10);
    let first = program.heap.clone();
    program.add(20);
    let second = program.heap.clone();
    let mut third = first.clone();
    let mut program = Program { heap: third, ..program };
    program.add(5);
    third = program.heap;
    assert!(over_time(&[&first, &second, &third]).growths.is_empty());
    assert_eq!(over_time(&[&first, &third]).growths.len(), 1, "from the first to the last it did");
}

#[test]
fn snapshots_in_the_wrong_order_are_noticed() {
    let mut program = Program::new("Map");
    program.add(1);
    let first = program.heap.clone();
    program.add(10);
    assert!(over_time(&[&program.heap, &first]).is_out_of_order);
    assert!(!over_time(&[&first, &program.heap]).is_out_of_order);
}

#[test]
fn detached_nodes_and_their_circle_are_named() {
    let mut program = Program::new("Array");
    let first = program.heap.clone();
    for index in 0..10 {
        let edge = index.to_string();
        let node = program.heap.held(program.container, ("element", &edge), ("native", "Detached <div>", 64));
        let child = program.heap.held(node, ("property", "child"), ("object", "Wrapper", 8));
        program.heap.edge(child, "property", "owner", node);
    }
    let comparison = over_time(&[&first, &program.heap]);
    let growth = &comparison.growths[0];
    assert_eq!(growth.explanation.cause, Cause::DetachedDom);
    assert!(growth.is_circular);
    assert!(
        growth.explanation.says.contains("Array in the module's variable 'kept'"),
        "{:?}",
        growth.explanation
    );
}

#[test]
fn many_small_places_of_one_kind_are_added_up() {
    let mut program = Program::new("Map");
    let sessions: Vec<_> = (0..50)
        .map(|index| {
            let edge = index.to_string();
            program.heap.held(program.container, ("element", &edge), ("object", "Session", 16))
        })
        .collect();
    let first = program.heap.clone();
    for session in sessions {
        program.heap.held(session, ("property", "log"), ("object", "Line", 24));
    }
    let comparison = over_time(&[&first, &program.heap]);
    let [growth] = comparison.growths.as_slice() else { panic!("{:?}", comparison.growths) };
    assert_eq!((growth.places, growth.bytes, growth.class.as_str()), (50, 1200, "Line"));
    assert_eq!(growth.explanation.container_class, "Session");
}

#[test]
fn an_inner_function_is_no_module() {
    let mut program = Program::new("Array");
    let outer = program.heap.held(program.context, ("context", "outer"), ("object", "system / Context", 8));
    // The scope of the container lies within another one now.
    program.heap.0[program.context].edges.retain(|(_, name, _)| name != "previous");
    program.heap.edge(program.context, "internal", "previous", outer);
    program.add(1);
    let first = program.heap.clone();
    program.add(10);
    let comparison = over_time(&[&first, &program.heap]);
    let why = &comparison.growths[0].explanation;
    assert_eq!(
        (why.cause, why.holder.as_str()),
        (Cause::UnboundedCollection, "variable 'kept' of a function")
    );
}
