//! Against figures that are not a victim's own ledger, and with the other way to probe.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    Build, Language, Leaktrace, Redis, Totals, Victim, dumped_blocks, system_library, within_percent,
};

use crate::Case;
use crate::exactness::compare_with;

pub(crate) const CASES: &[Case] = &[
    ("accuracy::plain_probes", || plain_probes(None)),
    ("accuracy::plain_probes_jemalloc", || {
        plain_probes(Some(&system_library("libjemalloc.so.2", "libjemalloc2")?))
    }),
    ("accuracy::redis_used_memory", redis_used_memory),
    ("accuracy::glibc_mallinfo", glibc_mallinfo),
];

fn plain_probes(preload: Option<&Path>) -> Result<()> {
    let program = Build::new("ledger.c", Language::C).path()?;
    let victim = match preload {
        Some(library) => Victim::preloaded(program, &[], library)?,
        None => Victim::start(program, &[])?,
    };
    let pid = victim.pid();
    let ended = compare_with(&["--plain-probes"], victim, pid, 20_000, 4)?;
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["mode"] == "plain_probes", "the mode is {}", header["capture"]);
    let mut probes = header["probes"].as_array().context("no probes")?.iter();
    ensure!(probes.all(|probe| probe["kind"] != "return"), "a return probe: {}", header["probes"]);
    Ok(())
}

/// redis counts usable sizes, leaktrace requested ones. With jemalloc's classes the value (5 bytes of header, a zero
/// at the end), the key and the object are as large as requested; the entry of the table is 24 of 32 bytes.
fn redis_used_memory() -> Result<()> {
    const VALUE: usize = 4096 - 6;
    /// Blocks of the idle server from before the trace that may go: redis forgets them, leaktrace never knew them.
    const OLD_BLOCKS: u64 = 50;
    let redis = Redis::start()?;
    let leaktrace = Leaktrace::attach(redis.pid(), &[])?;
    let before = redis.used_memory()?;
    redis.set_new_keys(10_000, VALUE)?;
    let after = redis.used_memory()?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let totals = Totals::of(ended.summary()?)?;
    totals.expect_plausible(10_000)?;
    let (used, live) = (after - before, i64::try_from(totals.live_bytes)?);
    println!("redis: used_memory +{used}, live bytes +{live}, unknown frees {}", totals.unknown_frees);
    ensure!(totals.unknown_frees <= OLD_BLOCKS, "{} unknown frees", totals.unknown_frees);
    ensure!(within_percent(used, live, 1.0), "used_memory changed by {used}, live bytes by {live}");
    Ok(())
}

/// The bytes of glibc's chunk for a block: the size and one word before it, in steps of 16, at least 32.
const fn chunk(size: u64) -> u64 {
    let bytes = (size + 8 + 15) & !15;
    if bytes < 32 { 32 } else { bytes }
}

fn glibc_mallinfo() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let dump = directory.path().join("live");
    let mut command = Command::new(Build::new("mallinfo.c", Language::C).path()?);
    // What lies in a thread's cache counts as in use, though it is free.
    let mut victim = Victim::spawn(command.env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0"))?;
    let leaktrace =
        Leaktrace::attach(victim.pid(), &["--dump-live", dump.to_str().context("a path that is no text")?])?;
    let before = used(&mut victim)?;
    let ledger = victim.go_for_totals("go 20000")?;
    let after = used(&mut victim)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    let chunks: u64 = dumped_blocks(&dump)?.values().map(|size| chunk(*size)).sum();
    let (heap, live) = (after - before, i64::try_from(chunks)?);
    println!("glibc: chunks in use +{heap}, chunks of the live set +{live}");
    ensure!(within_percent(heap, live, 1.0), "mallinfo2 changed by {heap}, the live set's chunks by {live}");
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}

fn used(victim: &mut Victim) -> Result<i64> {
    victim.send("used")?;
    let line = victim.expect("used")?;
    let bytes = line.split(' ').nth(1).context("no bytes")?;
    Ok(bytes.parse()?)
}
