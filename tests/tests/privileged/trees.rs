//! Trees of processes with --children: each has a live map of its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Ledger, Nginx, Postgres, Totals, Victim};
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("trees::forked_workers", || workers(&["3"])),
    ("trees::forked_and_executed_workers", || workers(&["--exec", "3"])),
    ("trees::postgres", postgres),
    ("trees::nginx", nginx),
];

/// The last tick of each process.
fn last_ticks(records: &[Value]) -> BTreeMap<u64, &Value> {
    let ticks = records.iter().filter(|record| record["type"] == "tick");
    ticks.filter_map(|tick| Some((tick["pid"].as_u64()?, tick))).collect()
}

fn workers(arguments: &[&str]) -> Result<()> {
    let mut victim = Victim::start(Build::new("forker.c", Language::C).path()?, arguments)?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--children"])?;
    victim.send("go 10000")?;
    let forked = victim.expect("forked")?;
    let pids: Vec<u64> = forked.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
    let mut before = BTreeMap::new();
    for pid in &pids {
        // Its first tick says that it is being followed.
        if !last_ticks(leaktrace.records()).contains_key(pid) {
            leaktrace.wait_for(&format!("a tick of {pid}"), |r| r["type"] == "tick" && r["pid"] == *pid)?;
        }
        let ticks = last_ticks(leaktrace.records());
        before.insert(*pid, Totals::of(ticks.get(pid).context("no tick of a worker")?)?);
    }
    victim.send("work")?;
    let mut ledgers = Vec::new();
    for _ in &pids {
        ledgers.push(Ledger::from_totals(&victim.expect("worker")?)?);
    }
    victim.expect("done")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let summary = ended.summary()?;
    for ledger in ledgers {
        let pid = u64::from(ledger.pid);
        let after = Totals::of_process(summary, pid)?;
        let before = before.get(&pid).with_context(|| format!("no first tick of {pid}"))?;
        after.expect_nothing_lost()?;
        let seen =
            (after.allocs - before.allocs, after.frees - before.frees, after.live_bytes - before.live_bytes);
        ensure!(seen == (ledger.allocs, ledger.frees, ledger.bytes), "{pid}: saw {seen:?}, has {ledger:?}");
    }
    ensure!(victim.quit()?.success(), "a worker did not end well");
    Ok(())
}

/// Traces a tree through `load`: enough must be seen in processes other than the root.
fn tree(root: u32, load: impl FnOnce() -> Result<()>) -> Result<()> {
    let leaktrace = Leaktrace::attach(root, &["--children"])?;
    load()?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let summary = ended.summary()?;
    Totals::of(summary)?.expect_nothing_lost()?;
    let mut in_children = 0;
    let processes = summary["processes"].as_array().context("no processes in the summary")?;
    for pid in processes.iter().filter_map(|process| process["pid"].as_u64()) {
        let totals = Totals::of_process(summary, pid)?;
        ensure!(totals.frees <= totals.allocs + totals.unknown_frees, "{pid}: {totals:?}");
        in_children += if pid == u64::from(root) { 0 } else { totals.allocs };
    }
    ensure!(in_children >= 10_000, "only {in_children} allocations seen in the children");
    Ok(())
}

fn postgres() -> Result<()> {
    let postgres = Postgres::start()?;
    tree(postgres.pid(), || postgres.load(2_000))
}

fn nginx() -> Result<()> {
    let nginx = Nginx::start()?;
    tree(nginx.pid(), || nginx.load(5_000))
}
