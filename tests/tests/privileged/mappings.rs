//! `--mmap`: against a victim with a ledger of each page, and beside the heap, which it must not touch.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use leaktrace_tests::{
    Build, DEADLINE, Ended, Language, Leaktrace, MappingLedger, MappingReport, Totals, Victim, dumped_ranges,
    system_library,
};
use serde_json::Value;

use crate::Case;
use crate::exactness::compare_with;

pub(crate) const CASES: &[Case] = &[
    ("mappings::one_thread", || exact(Language::C, &[], 20_000, 1)),
    ("mappings::four_threads", || exact(Language::C, &[], 20_000, 4)),
    ("mappings::four_threads_by_plain_probes", || exact(Language::C, &["--plain-probes"], 10_000, 4)),
    ("mappings::musl_static", || exact(Language::Musl, &[], 10_000, 4)),
    ("mappings::replayed", replayed),
    ("mappings::losses_are_counted_when_the_ring_is_too_small", too_small_a_ring),
    ("mappings::the_heap_of_glibc_stays_as_it_is", || heap(Language::C, &[])),
    ("mappings::the_heap_of_musl_stays_as_it_is", || heap(Language::Musl, &[])),
    ("mappings::the_heap_stays_as_it_is_by_plain_probes", || heap(Language::C, &["--plain-probes"])),
    ("mappings::the_heap_of_jemalloc_stays_as_it_is", || preloaded("libjemalloc.so.2", "libjemalloc2")),
    ("mappings::what_small_calls_map_is_the_allocators_own", small_calls),
    ("mappings::what_operator_new_maps_is_the_allocators_own", operator_new),
    ("mappings::sites_of_both_kinds", sites),
    ("mappings::thread_stacks", thread_stacks),
    ("mappings::nothing_is_probed_unless_asked_for", not_asked_for),
];

fn mapper(language: Language) -> Result<PathBuf> {
    Build::new("mapper.c", language).path()
}

/// Traces a mapper through `operations`: what it says, and what leaktrace told.
fn trace(program: &Path, options: &[&str], operations: u64, threads: u32) -> Result<(MappingReport, Ended)> {
    let mut victim = Victim::start(program, &[])?;
    let mut arguments = vec!["--mmap"];
    arguments.extend(options);
    let leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    let seed = std::env::var("LEAKTRACE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    victim.go(operations, seed, threads)?;
    let report = victim.report_mappings()?;
    let ended = leaktrace.stop()?;
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok((report, ended))
}

fn expect_equal(report: &MappingReport, summary: &Value) -> Result<()> {
    Totals::of(summary)?.expect_nothing_lost()?;
    let traced = MappingLedger::of(summary)?;
    if traced != report.ledger {
        bail!("traced {traced:?}, the ledger has {:?}", report.ledger);
    }
    Ok(())
}

fn exact(language: Language, options: &[&str], operations: u64, threads: u32) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dump = directory.path().join("live");
    let path = dump.display().to_string();
    let mut all = vec!["--dump-live", &path];
    all.extend(options);
    let (report, ended) = trace(&mapper(language)?, &all, operations, threads)?;
    ended.expect_success()?;
    expect_equal(&report, ended.summary()?)?;
    let dumped = dumped_ranges(&dump)?;
    ensure!(dumped == report.ranges, "the ranges differ: {} and {}", dumped.len(), report.ranges.len());
    let everything = report.operations.iter().all(|count| *count > 100);
    ensure!(report.operations.len() == 7 && everything, "not everything happened: {:?}", report.operations);
    // The victim never allocates after it is ready.
    let heap = Totals::of(ended.summary()?)?;
    ensure!((heap.allocs, heap.frees, heap.unknown_frees) == (0, 0, 0), "mappings in the heap: {heap:?}");
    Ok(())
}

fn replayed() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let recording = directory.path().join("recording").display().to_string();
    let (report, ended) = trace(&mapper(Language::C)?, &["--record", &recording], 5_000, 2)?;
    ended.expect_success()?;
    let replayed = Leaktrace::run(&["replay", &recording])?;
    replayed.expect_success()?;
    expect_equal(&report, replayed.summary()?)?;
    ensure!(replayed.summary()? == ended.summary()?, "the replay tells something else");
    Ok(())
}

fn too_small_a_ring() -> Result<()> {
    let (report, ended) = trace(&mapper(Language::C)?, &["--ring-size", "4096"], 20_000, 4)?;
    ended.expect_success()?;
    let totals = Totals::of(ended.summary()?)?;
    ensure!(totals.losses.get("ring_full_mappings").is_some_and(|count| *count > 0), "{totals:?}");
    let traced = MappingLedger::of(ended.summary()?)?;
    ensure!(traced.maps < report.ledger.maps, "losses counted, yet nothing is missing");
    for tick in ended.of_type("tick") {
        let mapped = MappingLedger::of(tick)?;
        ensure!(mapped.live <= mapped.mapped && mapped.count <= mapped.maps, "does not add up: {mapped:?}");
    }
    Ok(())
}

/// The heap's ledger under `--mmap`: equal, and nothing that malloc mapped for itself is a mapping.
fn heap(language: Language, options: &[&str]) -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", language).path()?, &[])?;
    let pid = victim.pid();
    let mut all = vec!["--mmap"];
    all.extend(options);
    let ended = compare_with(&all, victim, pid, 20_000, 4)?;
    let mapped = MappingLedger::of(ended.summary()?)?;
    ensure!((mapped.maps, mapped.live, mapped.reserved) == (0, 0, 0), "malloc's own: {mapped:?}");
    Ok(())
}

/// jemalloc also maps and unmaps outside of calls that allocate: that is seen, and is not part of the heap.
fn preloaded(library: &str, package: &str) -> Result<()> {
    let program = Build::new("ledger.c", Language::C).path()?;
    let victim = Victim::preloaded(program, &[], &system_library(library, package)?)?;
    let pid = victim.pid();
    let ended = compare_with(&["--mmap"], victim, pid, 20_000, 4)?;
    let mapped = MappingLedger::of(ended.summary()?)?;
    ensure!(mapped.live <= mapped.mapped, "does not add up: {mapped:?}");
    Ok(())
}

/// With `--min-size` no record is made of small blocks; what malloc maps for them is its own all the same.
fn small_calls() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let leaktrace = Leaktrace::attach(victim.pid(), &["--mmap", "--min-size", "1GiB"])?;
    victim.go(20_000, 7, 4)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let totals = Totals::of(ended.summary()?)?;
    totals.expect_nothing_lost()?;
    ensure!((totals.allocs, totals.live_count) == (0, 0), "small blocks: {totals:?}");
    let mapped = MappingLedger::of(ended.summary()?)?;
    ensure!((mapped.maps, mapped.live, mapped.reserved) == (0, 0, 0), "malloc's own: {mapped:?}");
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

/// jemalloc and mimalloc map by the C library's mmap, within their own `operator new`: 100 MB here.
fn operator_new() -> Result<()> {
    let program = Build::new("newer.cpp", Language::Cpp).path()?;
    let libraries = [("libjemalloc.so.2", "libjemalloc2"), ("libmimalloc.so.2", "libmimalloc2.0")];
    for (library, package) in libraries {
        for options in [&["--mmap"][..], &["--mmap", "--min-size", "1GiB"]] {
            let mut victim = Victim::preloaded(&program, &[], &system_library(library, package)?)?;
            let leaktrace = Leaktrace::attach(victim.pid(), options)?;
            let ledger = victim.go_for_totals("go 3000")?;
            let ended = leaktrace.stop()?;
            ended.expect_success()?;
            let (heap, mapped) = (Totals::of(ended.summary()?)?, MappingLedger::of(ended.summary()?)?);
            ensure!(mapped == MappingLedger::default(), "{library}'s own: {mapped:?}");
            if options.len() == 1 {
                heap.expect_equal(&ledger)?;
            } else {
                ensure!((heap.allocs, heap.live_count, heap.lost()) == (0, 0, 0), "small blocks: {heap:?}");
            }
            ensure!(victim.quit()?.success(), "the victim did not end well");
        }
    }
    Ok(())
}

/// The sites of a process in its summary: kind, live bytes, live count.
fn sites_of(summary: &Value, function: &str) -> Vec<(String, u64, u64)> {
    let sites = summary["sites"].as_array().into_iter().flatten();
    let named = sites.filter(|site| site["function"] == function);
    named
        .map(|site| {
            let number = |name: &str| site[name].as_u64().unwrap_or(u64::MAX);
            let kind = site["kind"].as_str().unwrap_or("none").to_owned();
            (kind, number("live_bytes"), number("live_count"))
        })
        .collect()
}

fn sites() -> Result<()> {
    const SIZE: u64 = 1 << 18; // above glibc's mmap threshold: malloc maps each block for itself
    let mut victim = Victim::start(mapper(Language::C)?, &[])?;
    let leaktrace = Leaktrace::attach(victim.pid(), &["--mmap"])?;
    victim.send(&format!("pools 20 {SIZE}"))?;
    victim.expect("pooled")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let summary = ended.summary()?;
    let mut sites = sites_of(summary, "pools");
    sites.sort();
    let expected = ["heap", "mapping"].map(|kind| (kind.to_owned(), 20 * SIZE, 20));
    ensure!(sites == expected, "{sites:?}");
    let (heap, mapped) = (Totals::of(summary)?, MappingLedger::of(summary)?);
    heap.expect_nothing_lost()?;
    ensure!((heap.live_bytes, heap.live_count) == (20 * SIZE, 20), "{heap:?}");
    ensure!((mapped.live, mapped.count, mapped.maps) == (20 * SIZE, 20, 20), "{mapped:?}");
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}

/// The C library maps the stacks of threads, without access first, and then makes them accessible.
fn thread_stacks() -> Result<()> {
    const STACK: u64 = 256 << 10;
    for language in [Language::C, Language::Musl] {
        let mut victim = Victim::start(mapper(language)?, &[])?;
        let leaktrace = Leaktrace::attach(victim.pid(), &["--mmap"])?;
        victim.send("stacks 12")?;
        victim.expect("parked")?;
        let ended = leaktrace.stop()?;
        ended.expect_success()?;
        let mapped = MappingLedger::of(ended.summary()?)?;
        // A guard page and the thread's own data are part of it, by each library in its way.
        let (least, most) = (12 * (STACK - (16 << 10)), 12 * (STACK + (16 << 10)));
        ensure!(mapped.count == 12 && (least..=most).contains(&mapped.live), "{language:?}: {mapped:?}");
        ensure!(victim.quit()?.success(), "the victim did not end well");
    }
    Ok(())
}

fn not_asked_for() -> Result<()> {
    let mut victim = Victim::start(mapper(Language::C)?, &[])?;
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    victim.go(1000, 7, 2)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let header = ended.of_type("header").next().context("no header")?;
    let probes = header["probes"].as_array().context("no probes")?;
    let names = ["mmap", "mmap64", "munmap", "mremap", "mprotect"];
    ensure!(!probes.is_empty(), "nothing is probed in {DEADLINE:?}");
    ensure!(!probes.iter().any(|probe| names.iter().any(|name| probe["function"] == *name)), "{header}");
    let summary = ended.summary()?;
    ensure!(summary["processes"][0]["mapped"].is_null(), "figures of what was not traced: {summary}");
    ensure!(summary["events"] == 0, "events of what was not traced: {summary}");
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}
