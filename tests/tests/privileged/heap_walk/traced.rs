//! Walks beside a trace.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{DEADLINE, Leaktrace};
use serde_json::Value;

use super::{figure, quit, tell, victim};
use crate::Case;

pub(super) const CASES: &[Case] = &[("heap_walk::while_tracing", while_tracing)];

/// A heap that only scatters, and one that leaks: the resident set of both grows, and only the first is fragmentation.
pub(crate) const WAITING: &[Case] = &[
    ("heap_walk::growth_is_fragmentation", || growth(&["reserve 300000"], "scatter 500", true)),
    ("heap_walk::growth_is_a_leak", || growth(&[], "keep 500", false)),
];

fn growth(before: &[&str], step: &str, is_fragmentation: bool) -> Result<()> {
    let mut victim = victim(1)?;
    let pid = victim.pid().to_string();
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--heap-walk"])?;
    for command in before {
        tell(&mut victim, command)?;
    }
    let deadline = Instant::now() + 3 * DEADLINE;
    let is_wanted = |record: &Value| {
        let evidence = record["evidence"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_explained = evidence.iter().any(|evidence| evidence["name"] == "heap_free");
        let is_rss = record["type"] == "verdict" && record["subject"]["kind"] == "rss";
        // At first the blocks in reserve are most of what grew.
        let is_named = record["cause"].as_str().is_some_and(|cause| cause.starts_with("fragmentation: "));
        is_rss && is_explained && (is_named || !is_fragmentation)
    };
    let told = loop {
        ensure!(Instant::now() < deadline, "no verdict on the resident set tells of free memory");
        tell(&mut victim, step)?;
        std::thread::sleep(Duration::from_millis(250));
        if let Some(told) = leaktrace.records_so_far()?.iter().find(|record| is_wanted(record)) {
            break told.clone();
        }
    };
    let cause = told["cause"].as_str().unwrap_or_default();
    println!("process {pid}: {} {}: {cause}; {}", told["verdict"], told["t"], told["evidence"][0]["says"]);
    ensure!(cause.starts_with("fragmentation: ") == is_fragmentation, "{told}");
    leaktrace.stop()?.expect_success()?;
    quit(victim)
}

/// With `--heap-walk`: a walk at the attach and one at the end, ticks that tell the last one, and a replay that tells the same.
fn while_tracing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let recording = directory.path().join("trace").to_str().context("a path that is no text")?.to_owned();
    let mut victim = victim(1)?;
    let pid = victim.pid().to_string();
    let mut leaktrace = Leaktrace::start(&["--pid", &pid, "--heap-walk", "--record", &recording])?;
    let first = leaktrace.wait_for("the first walk", |record| record["type"] == "heap_walk")?;
    tell(&mut victim, "fragment 40000")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let walks: Vec<&Value> = ended.of_type("heap_walk").collect();
    let last = walks.last().context("no walk")?;
    ensure!(walks.len() == 2 && *walks.first().context("no walk")? == &first, "{} walks", walks.len());
    let walked = figure(&last["heap"], "live_bytes")?;
    let live = figure(ended.summary()?.pointer("/processes/0").context("no process")?, "live_bytes")?;
    // The trace counts what was asked for, the walk what may be used.
    ensure!(walked.abs_diff(live) <= live / 50, "{walked} live bytes by the walk, by the trace {live}");
    let mut ticks = ended.of_type("tick");
    ensure!(
        ticks.all(|tick| tick["fragmentation"]["utilisation"].is_f64()),
        "a tick does not tell of the walk"
    );
    let replayed = Leaktrace::run(&["replay", &recording])?;
    let again: Vec<&Value> = replayed.of_type("heap_walk").collect();
    ensure!(again == walks, "a replay tells other walks");

    let plain = Leaktrace::run(&["--pid", &pid, "--duration", "100ms"])?;
    ensure!(plain.of_type("heap_walk").count() == 0, "a walk that nobody asked for");
    quit(victim)
}
