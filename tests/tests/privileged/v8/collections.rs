//! Every collection that V8 traces is reported, with its kind, sizes and pause; isolates are kept apart.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use leaktrace_tests::{Leaktrace, NODES, TracedGc, node, node_victim};
use serde_json::Value;

use super::{of_type, wait_for_collections};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("v8::collections::node_16", || collections(NODES[0])),
    ("v8::collections::node_18", || collections(NODES[1])),
    ("v8::collections::node_20", || collections(NODES[2])),
    ("v8::collections::node_22", || collections(NODES[3])),
    ("v8::collections::node_24", || collections(NODES[4])),
    ("v8::collections::node_26", || collections(NODES[5])),
];

/// Two workers beside the main thread.
fn collections(version: &str) -> Result<()> {
    let victim = node_victim(node(version)?, "v8gc.js", &["2"])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--only", "v8"])?;
    let mut isolates = 0;
    // Each of the three collects several times.
    for _ in 0..10 {
        wait_for_collections(&mut leaktrace, 3)?;
        let mut counts = BTreeMap::<u64, u32>::new();
        for gc in of_type(leaktrace.records(), "gc") {
            *counts.entry(gc["isolate"].as_u64().context("no isolate")?).or_default() += 1;
        }
        isolates = counts.values().filter(|count| **count >= 3).count();
        if isolates == 3 {
            break;
        }
    }
    ensure!(isolates == 3, "{isolates} isolates collected three times");
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let last = of_type(&ended.records, "summary").next().context("no summary")?;
    ensure!(last["losses"]["total"] == 0, "{}", last["losses"]);
    // V8 prints a line before it goes on; what was reported last may still be on its way here.
    let mut lines = victim.lines_so_far();
    for _ in 0..20 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        lines.extend(victim.lines_so_far());
    }
    let mut traced = BTreeMap::<String, Vec<TracedGc>>::new();
    for gc in lines.iter().filter_map(|line| TracedGc::of(line)) {
        traced.entry(gc.isolate.clone()).or_default().push(gc);
    }
    let mut taken = Vec::new();
    for isolate in 1..=3_u64 {
        let own: Vec<&Value> =
            of_type(&ended.records, "gc").filter(|gc| gc["isolate"].as_u64() == Some(isolate)).collect();
        let address = the_same(&own, &traced)?;
        println!("node {version}: isolate {isolate} is {address}, {} collections", own.len());
        ensure!(!taken.contains(&address), "{address} is two isolates");
        taken.push(address);
    }
    Ok(())
}

/// The isolate of V8's trace that has exactly these collections in a row.
fn the_same(own: &[&Value], traced: &BTreeMap<String, Vec<TracedGc>>) -> Result<String> {
    for (address, all) in traced {
        if all.windows(own.len()).any(|row| own.iter().zip(row).all(|(own, traced)| agree(own, traced))) {
            return Ok(address.clone());
        }
    }
    bail!("no isolate of V8's trace has these collections: {own:?}; it has {traced:?}")
}

/// The same kind, sizes to 0.1 MB, the pause to 1 ms or 10 %.
fn agree(own: &Value, traced: &TracedGc) -> bool {
    let mib = |name: &str| own[name].as_u64().map_or(f64::NAN, |bytes| bytes as f64 / 1_048_576.0);
    let pause = own["pause_ms"].as_f64().unwrap_or(f64::NAN);
    let off = (pause - traced.pause).abs();
    own["kind"] == traced.kind
        && (mib("before_bytes") - traced.before).abs() <= 0.1
        && (mib("after_bytes") - traced.after).abs() <= 0.1
        && (off <= 1.0 || off <= 0.1 * traced.pause)
}
