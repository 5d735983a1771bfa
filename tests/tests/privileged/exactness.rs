//! Against a victim that keeps its own ledger, every number is equal.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use leaktrace_tests::{
    Build, Ended, Language, Leaktrace, Ledger, Totals, Victim, altered_code, dumped_blocks, no_probes_in,
};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("exactness::one_thread", || glibc(100_000, 1)),
    ("exactness::eight_threads", || glibc(25_000, 8)),
    ("exactness::losses_are_counted_when_the_ring_is_too_small", too_small_a_ring),
    ("exactness::code_is_restored_after_the_end_and_after_sigkill", code_is_restored),
];

/// Traces a ready ledger victim through `operations`, and compares everything.
pub(crate) fn compare(victim: Victim, pid: u32, operations: u64, threads: u32) -> Result<()> {
    compare_with(&[], victim, pid, operations, threads).map(|_| ())
}

/// The same with further options; what the trace told.
pub(crate) fn compare_with(
    options: &[&str],
    mut victim: Victim,
    pid: u32,
    operations: u64,
    threads: u32,
) -> Result<Ended> {
    let directory = tempfile::tempdir()?;
    let dump = directory.path().join("live");
    let (ended, ledger) = trace(&mut victim, pid, operations, threads, &dump, options)?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    let dumped = dumped_blocks(&dump)?;
    if dumped != ledger.live {
        let missing = ledger.live.iter().filter(|(address, size)| dumped.get(address) != Some(size)).count();
        let extra = dumped.iter().filter(|(address, size)| ledger.live.get(address) != Some(size)).count();
        bail!("the live sets differ: {missing} blocks missing, {extra} that are not the ledger's");
    }
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(ended)
}

fn trace(
    victim: &mut Victim,
    pid: u32,
    operations: u64,
    threads: u32,
    dump: &Path,
    options: &[&str],
) -> Result<(Ended, Ledger)> {
    let dump = dump.display().to_string();
    let mut arguments = vec!["--dump-live", &dump];
    arguments.extend(options);
    let leaktrace = Leaktrace::attach(pid, &arguments)?;
    victim.go(operations, 7, threads)?;
    let ledger = victim.report()?;
    Ok((leaktrace.stop()?, ledger))
}

fn glibc(operations: u64, threads: u32) -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    compare(victim, pid, operations, threads)
}

fn too_small_a_ring() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let directory = tempfile::tempdir()?;
    let pid = victim.pid();
    let dump = directory.path().join("live");
    let (ended, ledger) = trace(&mut victim, pid, 50_000, 8, &dump, &["--ring-size", "4096"])?;
    ended.expect_success()?;
    // Reading the totals fails on anything negative.
    for tick in ended.of_type("tick") {
        Totals::of(tick)?;
    }
    let totals = Totals::of(ended.summary()?)?;
    ensure!(totals.lost() > 0, "a ring of one page lost nothing: {totals:?}");
    ensure!(totals.allocs < ledger.allocs, "losses counted, yet nothing is missing");
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

fn code_is_restored() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    ensure!(altered_code(victim.pid())?.is_empty(), "the victim's code differs before the trace");
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    ensure!(!altered_code(victim.pid())?.is_empty(), "the comparison does not see probes in place");
    leaktrace.stop()?.expect_success()?;
    no_probes_in(victim.pid())?;
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    leaktrace.signal(rustix::process::Signal::KILL)?;
    ensure!(!leaktrace.finish()?.status.success(), "SIGKILL did not kill leaktrace");
    // The kernel takes the probes out when the last descriptor goes, which may be shortly after the exit.
    let deadline = std::time::Instant::now() + leaktrace_tests::DEADLINE;
    while !altered_code(victim.pid())?.is_empty() {
        ensure!(std::time::Instant::now() < deadline, "probes stayed behind after SIGKILL");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    victim.go(1000, 1, 8)?;
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}
