//! Nothing dies: a traced program gives the same result and exit code as an untraced one.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Lines, Totals, Victim, system_library};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("survival::exceptions_libstdcxx", || exceptions(None, &["4", "1000"])),
    ("survival::exceptions_jemalloc", || {
        exceptions(Some(("libjemalloc.so.2", "libjemalloc2")), &["4", "1000"])
    }),
    ("survival::exceptions_tcmalloc", || {
        exceptions(Some(("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4")), &["4", "1000"])
    }),
    // Debian's mimalloc is built as C: its operator new aborts where others throw.
    ("survival::exceptions_mimalloc", || {
        exceptions(Some(("libmimalloc.so.2", "libmimalloc2.0")), &["4", "1000", "gentle"])
    }),
    ("survival::jumps_cancel_fork_signals", jumps),
    ("survival::exec_is_followed", exec),
    ("survival::a_second_leaktrace", second_leaktrace),
    ("survival::bpftrace_on_the_same_target", bpftrace),
];

/// Starts the program twice by `start`, traces the second run, and compares line and status.
fn same_result(start: impl Fn() -> Result<Victim>) -> Result<()> {
    let untraced = start()?.run()?;
    let victim = start()?;
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    let traced = victim.run()?;
    let ended = leaktrace.finish()?;
    ensure!(untraced == traced, "untraced {untraced:?}, traced {traced:?}");
    ended.expect_success()?;
    let summary = ended.summary()?;
    ensure!(summary["ended"] == "target_exited", "why it ended: {summary}");
    ensure!(Totals::of(summary)?.allocs > 10_000, "the trace saw next to nothing: {summary}");
    Ok(())
}

fn exceptions(library: Option<(&str, &str)>, arguments: &[&str]) -> Result<()> {
    let program = Build::new("throwing.cpp", Language::Cpp).path()?;
    same_result(|| match library {
        Some((name, package)) => Victim::preloaded(&program, arguments, &system_library(name, package)?),
        None => Victim::start(&program, arguments),
    })
}

fn jumps() -> Result<()> {
    let program = Build::new("jumps.c", Language::C).path()?;
    same_result(|| Victim::start(&program, &["50"]))
}

fn exec() -> Result<()> {
    let mut victim = Victim::start(Build::new("execer.c", Language::C).path()?, &[])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    victim.send("go 1000")?;
    victim.expect("again")?;
    leaktrace.wait_for_notice("target_exec")?;
    let before = Totals::of(&leaktrace.wait_for("a tick", |record| record["type"] == "tick")?)?;
    let ledger = victim.go_for_totals("go 20000")?;
    let ended = leaktrace.stop()?;
    let after = Totals::of(ended.summary()?)?;
    after.expect_nothing_lost()?;
    ensure!(after.allocs - before.allocs == ledger.allocs, "{before:?}, then {after:?}, ledger {ledger:?}");
    // The blocks of the old image went with it.
    ensure!(after.live_bytes - before.live_bytes == ledger.bytes, "{before:?}, then {after:?}");
    ensure!(before.live_bytes < 1_000_000, "blocks of the old image are still counted: {before:?}");
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}

fn second_leaktrace() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let first = Leaktrace::attach(victim.pid(), &[])?;
    let second = Leaktrace::attach(victim.pid(), &[])?;
    victim.go(20_000, 3, 4)?;
    let ledger = victim.report()?;
    for leaktrace in [first, second] {
        let ended = leaktrace.stop()?;
        Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    }
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

fn bpftrace() -> Result<()> {
    let libc = system_library("libc.so.6", "libc6")?;
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let mut other = Probing::start(&libc, victim.pid())?;
    let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
    victim.go(5_000, 3, 4)?;
    let ledger = victim.report()?;
    let ended = leaktrace.stop()?;
    other.end()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

/// A bpftrace with the classic probes on a process.
struct Probing(std::process::Child);

impl Probing {
    fn start(libc: &Path, pid: u32) -> Result<Self> {
        let script = format!(
            "BEGIN {{ printf(\"attached\\n\"); }} uprobe:{0}:malloc /pid == {pid}/ {{ @e = count(); }} \
             uretprobe:{0}:malloc /pid == {pid}/ {{ @r = count(); }} uprobe:{0}:free /pid == {pid}/ {{ @f = count(); }}",
            libc.display()
        );
        let mut command = Command::new("bpftrace");
        command.args(["-e", &script, "-p", &pid.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("no bpftrace: install the Debian package bpftrace")?;
        let lines = Lines::read(child.stdout.take().context("no stdout")?);
        let probing = Self(child);
        while lines.next(leaktrace_tests::DEADLINE)? != "attached" {}
        Ok(probing)
    }

    fn end(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
