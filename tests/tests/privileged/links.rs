//! The kinds of kernel link: each is exact, and each comes and goes under a target at work without a trace.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Totals, Victim, no_probes_in};

use crate::Case;
use crate::exactness::compare_with;
use crate::verdicts::soak_time;

pub(crate) const CASES: &[Case] = &[
    ("links::perf_is_exact", || exact("perf", "perf")),
    ("links::multi_is_exact", || exact("multi", "uprobe_multi")),
    ("links::session_is_exact", || exact("session", "uprobe_session")),
    ("links::session_comes_and_goes", || come_and_go("session", 8, 1000)),
    ("links::multi_comes_and_goes", || come_and_go("multi", 8, 1000)),
    ("links::perf_comes_and_goes", || come_and_go("perf", 2, 50)),
];

/// A thousand cycles take half an hour: so often it is told how far they are.
const TOLD_EVERY: u32 = 100;

fn exact(asked: &str, told: &str) -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    let ended = compare_with(&["--links", asked], victim, pid, 20_000, 4)?;
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["links"] == told, "held by other links: {}", header["capture"]);
    Ok(())
}

/// Attached and detached while eight threads of the target allocate: it lives, its blocks are whole, its code is the
/// file's again. `cargo xtask soak` does it more often.
fn come_and_go(links: &str, cycles: u32, soak_cycles: u32) -> Result<()> {
    let cycles = if soak_time()?.is_some() { soak_cycles } else { cycles };
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    victim.go_while(2000, 8, || {
        (1..=cycles).try_for_each(|cycle| {
            if cycle % TOLD_EVERY == 0 {
                println!("{links}: cycle {cycle} of {cycles}");
            }
            cycle_once(pid, links).with_context(|| format!("cycle {cycle}"))
        })
    })?;
    println!("{links}: attached and detached {cycles} times");
    no_probes_in(pid)?;
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
