//! The same ledger under every allocator that we claim to trace.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    Build, Language, Leaktrace, Totals, Victim, rust_victim, system_library, victim_source,
};

use crate::Case;
use crate::exactness::compare;

pub(crate) const CASES: &[Case] = &[
    ("allocators::musl_static", || ledger(&Build::new("ledger.c", Language::Musl))),
    ("allocators::jemalloc_preloaded", || preloaded("libjemalloc.so.2", "libjemalloc2")),
    ("allocators::tcmalloc_preloaded", || preloaded("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4")),
    ("allocators::mimalloc_preloaded", || preloaded("libmimalloc.so.2", "libmimalloc2.0")),
    ("allocators::jemalloc_linked", || linked("-ljemalloc")),
    ("allocators::tcmalloc_linked", || linked("-l:libtcmalloc_minimal.so.4")),
    ("allocators::mimalloc_linked", || linked("-l:libmimalloc.so.2")),
    ("allocators::rust_system", || rust("rust_system")),
    ("allocators::rust_jemalloc", || rust("rust_jemalloc")),
    ("allocators::plugin_loaded_while_tracing", plugin),
];

fn ledger(build: &Build) -> Result<()> {
    let victim = Victim::start(build.path()?, &[])?;
    let pid = victim.pid();
    compare(victim, pid, 20_000, 4)
}

fn linked(library: &str) -> Result<()> {
    // --no-as-needed: the victim names no symbol that only this library has.
    ledger(&Build::new("ledger.c", Language::C).flags(&["-Wl,--no-as-needed", library]))
}

fn preloaded(library: &str, package: &str) -> Result<()> {
    let program = Build::new("ledger.c", Language::C).path()?;
    let victim = Victim::preloaded(program, &[], &system_library(library, package)?)?;
    let pid = victim.pid();
    compare(victim, pid, 20_000, 4)
}

fn rust(name: &str) -> Result<()> {
    let mut victim = Victim::start(rust_victim(name)?, &[])?;
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    let ledger = victim.go_for_totals("go 20000")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    ensure!(victim.quit()?.success(), "{name} did not end well");
    Ok(())
}

fn plugin() -> Result<()> {
    let plugin = Build::new("plugin_alloc.c", Language::SharedC).path()?;
    let plugin = plugin.to_str().context("a path that is no text")?;
    ensure!(victim_source("plugin_alloc.c").exists(), "no plugin source");
    let mut victim = Victim::start(Build::new("dlopener.c", Language::C).path()?, &[plugin])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    victim.send("load")?;
    victim.expect("loaded")?;
    leaktrace.wait_for_notice("allocator_found")?;
    let before = Totals::of(&leaktrace.wait_for("a tick", |record| record["type"] == "tick")?)?;
    let ledger = victim.go_for_totals("go 20000")?;
    let ended = leaktrace.stop()?;
    let after = Totals::of(ended.summary()?)?;
    after.expect_nothing_lost()?;
    // libc's own allocations of the dlopen are before the tick.
    let seen =
        (after.allocs - before.allocs, after.frees - before.frees, after.live_bytes - before.live_bytes);
    ensure!(seen == (ledger.allocs, ledger.frees, ledger.bytes), "saw {seen:?}, the ledger has {ledger:?}");
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}
