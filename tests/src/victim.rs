//! A running victim program and its line protocol.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::{DEADLINE, Ledger, Lines, MappingReport};

/// A victim that has said `ready`. Dropping it kills its own process, and no other.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines,
    pid: u32,
    ready: String,
}

impl Victim {
    /// Starts a program and waits for its `ready PID`.
    pub fn start(program: impl AsRef<OsStr>, arguments: &[&str]) -> Result<Self> {
        Self::spawn(Command::new(program).args(arguments))
    }

    /// Starts a program with another allocator (a library of Debian's) in front of libc's.
    pub fn preloaded(program: impl AsRef<OsStr>, arguments: &[&str], library: &Path) -> Result<Self> {
        Self::spawn(Command::new(program).args(arguments).env("LD_PRELOAD", library))
    }

    /// Starts a prepared command and waits for its `ready PID`.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let lines = Lines::read(child.stdout.take().context("no stdout")?);
        let stdin = child.stdin.take();
        let pid = child.id();
        let mut victim = Self { child, stdin, lines, pid, ready: String::new() };
        victim.ready = victim.expect("ready")?;
        let told = victim.ready.split(' ').nth(1).and_then(|word| word.parse().ok());
        victim.pid = told.context("a ready line without a process id")?;
        Ok(victim)
    }

    /// The process id, as the victim sees it (the same as ours unless it is in another namespace).
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Process id of what was spawned, as we see it.
    pub fn spawned_pid(&self) -> u32 {
        self.child.id()
    }

    /// The words behind the process id in the ready line.
    pub fn ready_words(&self) -> impl Iterator<Item = &str> {
        self.ready.split(' ').skip(2)
    }

    /// Sends one line.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("the victim's input is closed")?;
        stdin.write_all(format!("{line}\n").as_bytes())?;
        Ok(stdin.flush()?)
    }

    /// The next line, which must begin with `word`.
    pub fn expect(&self, word: &str) -> Result<String> {
        let line =
            self.lines.next(DEADLINE).with_context(|| format!("waiting for `{word}` from the victim"))?;
        if line.split(' ').next() != Some(word) {
            bail!("the victim said `{line}` where `{word}` was due");
        }
        Ok(line)
    }

    /// Ledger victims: `operations` on each of `threads` threads, waited for.
    pub fn go(&mut self, operations: u64, seed: u64, threads: u32) -> Result<()> {
        self.send(&format!("go {operations} {seed} {threads}"))?;
        self.expect("done").map(|_| ())
    }

    /// Ledger victims: as many operations at a time, again and again, while something else is done.
    pub fn go_while<T>(
        &mut self,
        operations: u64,
        threads: u32,
        done: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let work = scope.spawn(|| {
                let mut seed = 1;
                while !is_over.load(Relaxed) {
                    self.go(operations, seed, threads)?;
                    seed += 1;
                }
                anyhow::Ok(())
            });
            let done = done();
            is_over.store(true, Relaxed);
            let worked = work.join().map_err(|_| anyhow!("the victim's thread panicked"))?;
            let done = done?;
            worked.context("the victim")?;
            Ok(done)
        })
    }

    /// Ledger victims: the account so far.
    pub fn report(&mut self) -> Result<Ledger> {
        self.send("report")?;
        let mut ledger = Ledger { pid: self.pid, ..Ledger::default() };
        while ledger.take(&self.lines.next(DEADLINE)?)? {}
        Ok(ledger)
    }

    /// The mapper victim: the account so far.
    pub fn report_mappings(&mut self) -> Result<MappingReport> {
        self.send("report")?;
        let mut report = MappingReport::default();
        while report.take(&self.lines.next(DEADLINE)?)? {}
        Ok(report)
    }

    /// Victims that answer `go` with one line of totals: that account.
    pub fn go_for_totals(&mut self, line: &str) -> Result<Ledger> {
        self.send(line)?;
        let totals = Ledger::from_totals(&self.expect("allocs")?)?;
        Ok(Ledger { pid: self.pid, ..totals })
    }

    /// The next line, whatever it says.
    pub fn line(&self) -> Result<String> {
        self.lines.next(DEADLINE)
    }

    /// The lines that have come and were not read yet.
    pub fn lines_so_far(&self) -> Vec<String> {
        self.lines.so_far()
    }

    /// Sends `quit`, closes the input, and waits for the end.
    pub fn quit(mut self) -> Result<ExitStatus> {
        // A victim that has already gone is found out by its status.
        let _ = self.send("quit");
        self.finish()
    }

    /// Closes the input and waits for the end.
    pub fn finish(mut self) -> Result<ExitStatus> {
        self.stdin = None;
        wait_for_exit(&mut self.child, DEADLINE)
    }

    /// Kills the process and waits for its end.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill()?;
        Ok(self.child.wait()?)
    }

    /// The whole run of a victim that answers `go` with one line and ends: the line and the status.
    pub fn run(mut self) -> Result<(String, ExitStatus)> {
        self.send("go")?;
        let line = self.line()?;
        Ok((line, self.finish()?))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child's end; after `timeout` it is killed, and that is a failure.
pub(crate) fn wait_for_exit(child: &mut Child, timeout: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("process {} did not end in {timeout:?}", child.id());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// A library of Debian's, by its file name; the error names the package.
pub fn system_library(name: &str, package: &str) -> Result<PathBuf> {
    let path = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
    if !path.exists() {
        bail!("no {}; install the Debian package {package}", path.display());
    }
    Ok(path)
}
