//! The kinds of kernel link: each is exact, and each comes and goes under a target at work without a trace.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Totals, Victim, altered_code};

use crate::Case;
use crate::exactness::compare_with;

pub(crate) const CASES: &[Case] = &[
    ("links::perf_is_exact", || exact("perf", "perf")),
    ("links::multi_is_exact", || exact("multi", "uprobe_multi")),
    ("links::session_is_exact", || exact("session", "uprobe_session")),
    ("links::session_comes_and_goes", || come_and_go("session", 8)),
    ("links::multi_comes_and_goes", || come_and_go("multi", 8)),
    ("links::perf_comes_and_goes", || come_and_go("perf", 2)),
];

fn exact(asked: &str, told: &str) -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    let ended = compare_with(&["--links", asked], victim, pid, 20_000, 4)?;
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["links"] == told, "held by other links: {}", header["capture"]);
    Ok(())
}

/// Attached and detached while eight threads of the target allocate: it lives, its blocks are whole, its code is the
/// file's again. `cargo xtask soak` does the same for minutes.
fn come_and_go(links: &str, cycles: u32) -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut seed = 1;
            while !is_over.load(Relaxed) {
                victim.go(2000, seed, 8)?;
                seed += 1;
            }
            anyhow::Ok(seed)
        });
        let traced = (0..cycles)
            .try_for_each(|cycle| cycle_once(pid, links).with_context(|| format!("cycle {cycle}")));
        is_over.store(true, Relaxed);
        let worked = work.join().map_err(|_| anyhow!("the victim's thread panicked"))?;
        traced.and(worked.context("the victim").map(|_| ()))
    })?;
    ensure!(altered_code(pid)?.is_empty(), "probes stayed behind");
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

fn cycle_once(pid: u32, links: &str) -> Result<()> {
    let mut leaktrace = Leaktrace::attach(pid, &["--links", links, "--interval", "100ms"])?;
    leaktrace.wait_for("allocations", |record| record["type"] == "tick" && record["allocs"] != 0)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_nothing_lost()
}
