//! Programs on V8 that keep memory: the heap's verdict, and the part of the resident set that grows.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Leaktrace, node, node_victim};
use serde_json::Value;

use super::of_type;
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("v8::victims::listener", || leaks_in_the_heap("listener", 1)),
    ("v8::victims::closure", || leaks_in_the_heap("closure", 1)),
    ("v8::victims::global", || leaks_in_the_heap("global", 1)),
    ("v8::victims::map", || leaks_in_the_heap("map", 1)),
    ("v8::victims::timer", || leaks_in_the_heap("timer", 1)),
    ("v8::victims::worker", || leaks_in_the_heap("worker", 1)),
    ("v8::victims::buffer", || grows_elsewhere("buffer", "rss_external")),
    ("v8::victims::fragment", || grows_elsewhere("fragment", "rss_allocator_slack")),
    ("v8::victims::lru", lru),
];

/// Seconds of the trace: growth is called a leak after 50.
const WATCHED_S: f64 = 58.0;

/// Watches a victim and gives everything that was told.
fn watch(mode: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let victim = node_victim(node("20.20.2")?, "v8victims.js", &[mode])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), arguments)?;
    leaktrace.wait_for("the time to pass", |record| {
        record["type"] == "tick" && record["t"].as_f64().is_some_and(|t| t > WATCHED_S)
    })?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Ok(ended.records)
}

/// The last verdict on a kind of subject.
fn last<'a>(records: &'a [Value], kind: &'a str) -> Option<&'a Value> {
    of_type(records, "verdict").rev().find(|one| one["subject"]["kind"] == kind)
}

fn leaks_in_the_heap(mode: &str, isolates: u64) -> Result<()> {
    let records = watch(mode, &["--only", "v8"])?;
    let verdict = last(&records, "v8_heap").context("nothing was said of the heap")?;
    println!("{mode}: {} {} {}", verdict["verdict"], verdict["growth_bytes_per_s"], verdict["evidence"][0]);
    ensure!(verdict["verdict"] == "leak", "{verdict}");
    ensure!(verdict["subject"]["id"].as_u64().is_some_and(|id| id >= isolates), "{verdict}");
    ensure!(verdict["eta_to_limit_s"].as_f64().is_some_and(|eta| eta > 0.0), "no time to the limit: {verdict}");
    let rss = last(&records, "rss").context("nothing was said of the resident set")?;
    let blamed = &rss["evidence"][0]["name"];
    ensure!(blamed == "rss_v8_used", "{mode}: {blamed} is blamed: {rss}");
    Ok(())
}

fn grows_elsewhere(mode: &str, part: &str) -> Result<()> {
    let records = watch(mode, &[])?;
    let tick = of_type(&records, "tick").next_back().context("no tick")?;
    println!("{mode}: {}", tick["v8"]["rss"]);
    let said = of_type(&records, "verdict").filter(|one| one["subject"]["kind"] == "v8_heap");
    for verdict in said {
        ensure!(verdict["verdict"] != "leak", "the heap is flat: {verdict}");
    }
    let blamed = of_type(&records, "verdict").filter(|one| one["subject"]["kind"] == "rss");
    let blamed: Vec<_> = blamed.map(|one| &one["evidence"][0]["name"]).collect();
    ensure!(blamed.last().is_some_and(|name| **name == part), "{mode}: {blamed:?} is blamed");
    Ok(())
}

fn lru() -> Result<()> {
    let records = watch("lru", &["--only", "v8"])?;
    let leak = of_type(&records, "verdict").find(|one| one["verdict"] == "leak");
    ensure!(leak.is_none(), "a bounded cache is no leak: {leak:?}");
    ensure!(last(&records, "v8_heap").is_some(), "nothing was said of the heap");
    Ok(())
}
