//! Samples by bytes: what is told is true, what is estimated is near, whichever link holds the probes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    Build, Ended, Language, Leaktrace, Ledger, Totals, Victim, dumped_blocks, system_library,
};
use serde_json::Value;

use crate::Case;

/// Most blocks of the victim are smaller, some much larger.
const INTERVAL: u64 = 2048;

pub(crate) const CASES: &[Case] = &[
    ("sampling::by_sessions", || with(&["--links", "session"])),
    ("sampling::by_multi_links", || with(&["--links", "multi"])),
    ("sampling::by_perf_links", || with(&["--links", "perf"])),
    ("sampling::by_plain_probes", || with(&["--plain-probes"])),
    ("sampling::musl_static", musl),
    ("sampling::jemalloc_preloaded", || preloaded("libjemalloc.so.2", "libjemalloc2")),
    ("sampling::tcmalloc_preloaded", || preloaded("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4")),
    ("sampling::mimalloc_preloaded", || preloaded("libmimalloc.so.2", "libmimalloc2.0")),
];

fn with(options: &[&str]) -> Result<()> {
    check(Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?, options)
}

fn musl() -> Result<()> {
    check(Victim::start(Build::new("ledger.c", Language::Musl).path()?, &[])?, &[])
}

fn preloaded(library: &str, package: &str) -> Result<()> {
    let program = Build::new("ledger.c", Language::C).path()?;
    check(Victim::preloaded(program, &[], &system_library(library, package)?)?, &[])
}

fn check(mut victim: Victim, options: &[&str]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dump = directory.path().join("live");
    let (interval, path) = (INTERVAL.to_string(), dump.display().to_string());
    let mut arguments = vec!["--sample", &interval, "--dump-live", &path];
    arguments.extend(options);
    let leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    victim.go(50_000, 7, 4)?;
    let ledger = victim.report()?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    check_samples(&ledger, &dump, INTERVAL)?;
    check_estimates(&ended, &ledger, 0.12)?;
    let unknown = Totals::of(ended.summary()?)?.unknown_frees;
    ensure!(unknown == 0, "{unknown} frees of blocks that are no samples");
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

/// Each sample that lives is a block of the ledger, as large as it is there; and no large one is missing.
pub(crate) fn check_samples(ledger: &Ledger, dump: &Path, interval: u64) -> Result<()> {
    let samples = dumped_blocks(dump)?;
    let wrong = samples.iter().filter(|(address, size)| ledger.live.get(address) != Some(size)).count();
    ensure!(wrong == 0, "{wrong} of {} samples are no blocks of the ledger", samples.len());
    // One in a billion of these is not taken.
    let large = |(_, size): &(&u64, &u64)| **size > 20 * interval;
    let missing =
        ledger.live.iter().filter(large).filter(|(address, _)| !samples.contains_key(address)).count();
    ensure!(missing == 0, "{missing} large blocks are missing");
    println!("{} samples of {} live blocks", samples.len(), ledger.live.len());
    ensure!(samples.len() < ledger.live.len(), "everything was taken");
    Ok(())
}

/// Six standard errors are enough for anybody.
const FAR: f64 = 6.0;

/// Counts may be off by this share: most blocks are small, and few of them samples.
pub(crate) fn check_estimates(ended: &Ended, ledger: &Ledger, counts: f64) -> Result<()> {
    let totals = Totals::of(ended.summary()?)?;
    totals.expect_nothing_lost()?;
    let live: u64 = ledger.live.values().sum();
    let process = ended.summary()?.pointer("/processes/0").context("no process")?;
    let (low, high) = interval(process)?;
    let error = (high - low) / 2.0 / 1.96;
    println!("live {live}, estimated {} with an error of {error:.0}", totals.live_bytes);
    ensure!(totals.live_bytes.abs_diff(live) as f64 <= FAR * error, "{live} live bytes, {totals:?}");
    let near = |name: &str, estimated: u64, exact: u64, far: f64| {
        let off = (estimated as f64 / exact as f64 - 1.0).abs();
        println!("{name}: {estimated} of {exact}, {:.1} % off", off * 100.0);
        ensure!(off < far, "{estimated} {name}, {exact} by the ledger");
        Ok(())
    };
    let allocated = process["alloc_bytes"].as_u64().context("no bytes")?;
    near("bytes allocated", allocated, ledger.alloc_bytes.context("the ledger tells no bytes")?, 0.02)?;
    near("allocations", totals.allocs, ledger.allocs, counts)?;
    near("frees", totals.frees, ledger.frees, counts)
}

fn interval(record: &Value) -> Result<(f64, f64)> {
    let bound = |at: usize| record["live_bytes_ci95"][at].as_f64().context("no interval");
    Ok((bound(0)?, bound(1)?))
}
