//! A heap snapshot of any bytes: an error with an offset, or a heap that can be worked out and compared; no panic.
#![no_main]

use leaktrace::v8::snapshot::{GrowthLimits, History, SnapshotError, analyse, read};
use libfuzzer_sys::fuzz_target;

/// Few inputs hit upon a layout by themselves: the same bytes behind one, too.
const HEAD: &[u8] =
    br#"{"snapshot":{"meta":{"node_fields":["type","name","id","self_size","edge_count","detachedness"],
"node_types":[["hidden","array","string","object","code","closure","native","synthetic"]],
"edge_fields":["type","name_or_index","to_node"],
"edge_types":[["context","element","property","internal","hidden","shortcut","weak"]]}},
"nodes":["#;

fuzz_target!(|bytes: &[u8]| {
    work_through(bytes);
    work_through(&[HEAD, bytes].concat());
});

fn work_through(bytes: &[u8]) {
    let graph = match read(bytes) {
        Ok(graph) => graph,
        Err(SnapshotError::Malformed { offset, .. }) => {
            assert!(offset <= bytes.len() as u64, "the fault lies within the file");
            return;
        }
        Err(SnapshotError::Io(error)) => panic!("{error}"),
    };
    let analysis = analyse(graph);
    let totals = analysis.totals();
    for node in 0..totals.nodes.min(16) as u32 {
        let retained = analysis.retained_of(node);
        assert!(retained >= analysis.shallow_of(node) && retained <= totals.bytes, "node {node}");
        assert!(analysis.way_to(node).len() <= 64);
    }
    let limits = GrowthLimits { min_bytes: 0, min_share: 0.0, top: 8 };
    let mut history = History::begin(&analysis);
    history.advance(&analysis);
    assert!(history.compare(&analysis, limits).growths.len() <= limits.top);
}
