//! What hits cost is measured when a trace begins, and nothing of the measuring shows in the trace.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Ended, Language, Leaktrace, Totals, Victim};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("prices::everything_traced", || quiet(&[], true)),
    ("prices::by_multi_links", || quiet(&["--links", "multi"], true)),
    ("prices::plain_probes", || quiet(&["--plain-probes"], true)),
    ("prices::samples", || quiet(&["--sample", "512KiB"], true)),
    ("prices::large_blocks", || quiet(&["--min-size", "4K"], true)),
    ("prices::a_small_ring", || quiet(&["--ring-size", "64KiB"], false)),
    ("prices::by_perf_links", || quiet(&["--links", "perf"], false)),
];

/// A target that does nothing: what is told is what the calibration left behind.
fn quiet(options: &[&str], is_measured: bool) -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[options, &["--interval", "100ms"]].concat())?;
    leaktrace
        .wait_for("a later tick", |record| record["type"] == "tick" && record["t"].as_f64() > Some(0.5))?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    check_prices(&ended, is_measured)?;
    let summary = ended.summary()?;
    Totals::of(summary)?.expect_nothing_lost()?;
    ensure!(summary["events"] == 0, "events of a process that does nothing: {summary}");
    for tick in ended.of_type("tick") {
        let overhead = &tick["overhead"];
        ensure!(overhead["passed_per_s"] == 0.0 && overhead["target_cpu_share"] == 0.0, "{overhead}");
    }
    ensure!(victim.quit()?.success(), "the target was harmed");
    Ok(())
}

fn check_prices(ended: &Ended, is_measured: bool) -> Result<()> {
    let header = ended.of_type("header").next().context("no header")?;
    let prices = &header["capture"]["hit_ns"];
    println!("{prices}");
    ensure!(prices["calibrated"] == is_measured, "{prices}");
    for name in ["nop5", "emulated", "single_step"] {
        let ns = prices[name].as_u64().context("no price")?;
        ensure!((50..100_000).contains(&ns), "{name}: {prices}");
    }
    Ok(())
}
