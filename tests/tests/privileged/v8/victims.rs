//! Programs on V8 that keep memory: the heap's verdict, and the part of the resident set that grows.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Leaktrace, node, node_victim};
use serde_json::Value;

use super::of_type;
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("v8::victims::listener", || leaks_in_the_heap("listener")),
    ("v8::victims::closure", || leaks_in_the_heap("closure")),
    ("v8::victims::global", || leaks_in_the_heap("global")),
    ("v8::victims::map", || leaks_in_the_heap("map")),
    ("v8::victims::timer", || leaks_in_the_heap("timer")),
    ("v8::victims::worker", || leaks_in_the_heap("worker")),
    // The wrappers of Buffers stay in the heap, so it leaks a little, too.
    ("v8::victims::buffer", || grows_elsewhere("buffer", "rss_external", false)),
    ("v8::victims::fragment", || grows_elsewhere("fragment", "rss_allocator_slack", true)),
    ("v8::victims::lru", lru),
];

/// What is not said by then, in seconds of the trace, is not said: growth is called a leak after 50.
const PATIENCE_S: f64 = 180.0;
/// Where nothing is to be said, this long is enough.
const QUIET_S: f64 = 55.0;

/// Watches a victim until all of `wanted` was told, or for `seconds`; gives everything that was told.
fn watch(
    mode: &str,
    arguments: &[&str],
    seconds: f64,
    wanted: &[&dyn Fn(&Value) -> bool],
) -> Result<Vec<Value>> {
    let victim = node_victim(node("20.20.2")?, "v8victims.js", &[mode])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), arguments)?;
    let mut is_over = false;
    while !is_over {
        let tick = leaktrace.wait_for("a tick", |record| record["type"] == "tick")?;
        let told = |one: &&dyn Fn(&Value) -> bool| leaktrace.records().iter().any(one);
        let is_told = !wanted.is_empty() && wanted.iter().all(told);
        is_over = is_told || tick["t"].as_f64().is_none_or(|t| t > seconds);
    }
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Ok(ended.records)
}

fn is_leak(record: &Value, kind: &str) -> bool {
    record["type"] == "verdict" && record["subject"]["kind"] == kind && record["verdict"] == "leak"
}

fn blames(record: &Value, part: &str) -> bool {
    record["type"] == "verdict" && record["subject"]["kind"] == "rss" && record["evidence"][0]["name"] == part
}

/// The last verdict on a kind of subject.
fn last<'a>(records: &'a [Value], kind: &'a str) -> Option<&'a Value> {
    of_type(records, "verdict").rev().find(|one| one["subject"]["kind"] == kind)
}

fn leaks_in_the_heap(mode: &str) -> Result<()> {
    let is_leaking = |record: &Value| is_leak(record, "v8_heap");
    let is_blamed = |record: &Value| blames(record, "rss_v8_used");
    let records = watch(mode, &["--only", "v8"], PATIENCE_S, &[&is_leaking, &is_blamed])?;
    // On a machine that is busy a victim works in fits and starts, and a verdict may be taken back for a while.
    let verdict = records.iter().find(|record| is_leaking(record));
    let verdict = verdict.or(last(&records, "v8_heap")).context("nothing was said of the heap")?;
    println!("{mode}: {} at {} s, {} B/s", verdict["verdict"], verdict["t"], verdict["growth_bytes_per_s"]);
    ensure!(is_leaking(verdict), "{verdict}");
    ensure!(
        verdict["eta_to_limit_s"].as_f64().is_some_and(|eta| eta > 0.0),
        "no time to the limit: {verdict}"
    );
    let rss: Vec<_> = of_type(&records, "verdict").filter(|one| one["subject"]["kind"] == "rss").collect();
    ensure!(rss.iter().any(|one| is_blamed(one)), "{mode}: {rss:?}");
    Ok(())
}

fn grows_elsewhere(mode: &str, part: &str, heap_is_flat: bool) -> Result<()> {
    let is_blamed = |record: &Value| blames(record, part);
    let quiet =
        |record: &Value| record["type"] == "tick" && record["t"].as_f64().is_some_and(|t| t > QUIET_S);
    let records = watch(mode, &[], PATIENCE_S, &[&is_blamed, &quiet])?;
    let tick = of_type(&records, "tick").next_back().context("no tick")?;
    println!("{mode}: {}", tick["v8"]["rss"]);
    if heap_is_flat {
        let leak = records.iter().find(|record| is_leak(record, "v8_heap"));
        ensure!(leak.is_none(), "the heap is flat: {leak:?}");
    }
    let rss: Vec<_> = of_type(&records, "verdict").filter(|one| one["subject"]["kind"] == "rss").collect();
    ensure!(rss.iter().any(|one| is_blamed(one)), "{mode}: {rss:?}");
    Ok(())
}

fn lru() -> Result<()> {
    let is_said = |record: &Value| record["type"] == "verdict" && record["subject"]["kind"] == "v8_heap";
    let quiet =
        |record: &Value| record["type"] == "tick" && record["t"].as_f64().is_some_and(|t| t > QUIET_S);
    let records = watch("lru", &["--only", "v8"], PATIENCE_S, &[&is_said, &quiet])?;
    let leak = of_type(&records, "verdict").find(|one| one["verdict"] == "leak");
    ensure!(leak.is_none(), "a bounded cache is no leak: {leak:?}");
    ensure!(last(&records, "v8_heap").is_some(), "nothing was said of the heap");
    Ok(())
}
