//! Runs the leaktrace binary and reads its NDJSON while it runs.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::victim::wait_for_exit;
use crate::{DEADLINE, Lines};

/// A running leaktrace. Dropping it ends it with SIGKILL: its own process, and no other.
#[derive(Debug)]
pub struct Leaktrace {
    child: Child,
    lines: Lines,
    stderr: Option<JoinHandle<String>>,
    records: Vec<Value>,
    started: Instant,
    attached_at: Option<Duration>,
}

/// What a run of leaktrace left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Every record of its stdout, in order.
    pub records: Vec<Value>,
    /// What it said on stderr.
    pub stderr: String,
}

impl Leaktrace {
    /// Starts leaktrace with arguments; it prints NDJSON, because its stdout is a pipe. A trace has no limit on what it may
    /// cost, unless the arguments give one: victims do nothing but allocate, and every block of theirs is counted.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        const TRACE: [&str; 3] = ["--pid", "--comm", "--"];
        let is_trace = arguments.first().is_some_and(|first| first.starts_with("--"))
            && arguments.iter().any(|one| TRACE.contains(one))
            && !arguments.contains(&"--max-overhead");
        let unlimited: &[&str] = if is_trace { &["--max-overhead", "none"] } else { &[] };
        Self::spawn(Command::new(leaktrace_binary()?).args(unlimited).args(arguments))
    }

    /// The same with the limit that a user has who gives none.
    pub fn attach_by_default(pid: u32, arguments: &[&str]) -> Result<Self> {
        let pid = pid.to_string();
        let mut leaktrace =
            Self::spawn(Command::new(leaktrace_binary()?).args(["--pid", &pid]).args(arguments))?;
        leaktrace.wait_attached()?;
        Ok(leaktrace)
    }

    /// Starts a prepared command.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let lines = Lines::read(child.stdout.take().context("no stdout")?);
        let mut stderr = child.stderr.take().context("no stderr")?;
        let stderr = thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let started = Instant::now();
        Ok(Self { child, lines, stderr: Some(stderr), records: Vec::new(), started, attached_at: None })
    }

    /// Starts leaktrace on a process and waits until it traces (see [`Self::wait_attached`]).
    pub fn attach(pid: u32, arguments: &[&str]) -> Result<Self> {
        let pid = pid.to_string();
        let mut all = vec!["--pid", &pid];
        all.extend(arguments);
        let mut leaktrace = Self::start(&all)?;
        leaktrace.wait_attached()?;
        Ok(leaktrace)
    }

    /// Waits for the first tick, which comes directly after the attach: the time from the start until then.
    pub fn wait_attached(&mut self) -> Result<Duration> {
        self.wait_for("the first tick", |record| record["type"] == "tick")?;
        Ok(self.started.elapsed())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What has been read so far.
    pub fn records(&self) -> &[Value] {
        &self.records
    }

    /// All records until now, without waiting for more.
    pub fn records_so_far(&mut self) -> Result<&[Value]> {
        for line in self.lines.so_far() {
            let record = parse(&line)?;
            self.note_time(&record);
            self.records.push(record);
        }
        Ok(&self.records)
    }

    /// The first record that was not read before and fulfils `wanted`. Ends with an error, and leaktrace's own
    /// message, when leaktrace ends or the deadline passes first.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = self.lines.next_before(deadline).with_context(|| format!("waiting for {what}"))?;
            let Some(line) = line else {
                let status = wait_for_exit(&mut self.child, DEADLINE)?;
                let said = self.take_stderr();
                bail!("leaktrace ended ({status}) before {what}: {}", said.trim());
            };
            let record = parse(&line)?;
            self.note_time(&record);
            self.records.push(record.clone());
            if wanted(&record) {
                return Ok(record);
            }
        }
    }

    /// When `t` was 0, on the kernel's monotonic clock: the earliest that the records read so far allow. None of them
    /// can have come before its own time, and the one that was read the soonest tells best.
    pub fn attached_at(&self) -> Option<Duration> {
        self.attached_at
    }

    fn note_time(&mut self, record: &Value) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0));
        let Some(t) = record["t"].as_f64().and_then(|t| Duration::try_from_secs_f64(t).ok()) else { return };
        let zero = now.saturating_sub(t);
        self.attached_at = Some(self.attached_at.map_or(zero, |earlier| earlier.min(zero)));
    }

    /// Waits for a notice with a code.
    pub fn wait_for_notice(&mut self, code: &str) -> Result<Value> {
        self.wait_for(&format!("notice {code}"), |record| {
            record["type"] == "notice" && record["code"] == code
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends the trace as Ctrl-C does, and collects everything.
    pub fn stop(self) -> Result<Ended> {
        // It may have ended by itself, which its records tell.
        let _ = self.signal(Signal::INT);
        self.finish()
    }

    /// Waits until leaktrace ends by itself, and collects everything.
    pub fn finish(mut self) -> Result<Ended> {
        for line in self.lines.rest(DEADLINE)? {
            self.records.push(parse(&line)?);
        }
        let status = wait_for_exit(&mut self.child, DEADLINE)?;
        let stderr = self.take_stderr();
        Ok(Ended { status, records: std::mem::take(&mut self.records), stderr })
    }

    /// Runs leaktrace to its end, for command lines that are expected to fail or to be short.
    pub fn run(arguments: &[&str]) -> Result<Ended> {
        Self::start(arguments)?.finish()
    }

    /// Runs it with its stdout on a file or device: only status and stderr are known then.
    pub fn run_into(arguments: &[&str], stdout: File) -> Result<Ended> {
        let output = Command::new(leaktrace_binary()?)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ended { status: output.status, records: Vec::new(), stderr })
    }

    fn take_stderr(&mut self) -> String {
        self.stderr.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Leaktrace {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// Records of one type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
        self.records.iter().filter(move |record| record["type"] == kind)
    }

    /// The last line, which must be the summary.
    pub fn summary(&self) -> Result<&Value> {
        let last =
            self.records.last().with_context(|| format!("no records; stderr: {}", self.stderr.trim()))?;
        if last["type"] != "summary" {
            bail!("the last line is no summary: {last}; stderr: {}", self.stderr.trim());
        }
        Ok(last)
    }

    /// Fails unless leaktrace ended with `code` and one line on stderr that is no panic.
    pub fn expect_failure(&self, code: i32) -> Result<()> {
        let said = self.stderr.trim();
        if self.status.code() != Some(code)
            || said.is_empty()
            || said.contains('\n')
            || said.contains("panicked")
        {
            bail!("wanted one line and exit code {code}, got {} and: {said}", self.status);
        }
        Ok(())
    }

    /// Fails unless leaktrace ended with 0.
    pub fn expect_success(&self) -> Result<()> {
        if !self.status.success() {
            bail!("leaktrace ended with {}: {}", self.status, self.stderr.trim());
        }
        Ok(())
    }
}

/// The binary under test: `LEAKTRACE_BIN`, or the one that cargo built beside this test.
pub fn leaktrace_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LEAKTRACE_BIN") {
        return Ok(path.into());
    }
    // target/PROFILE/deps/TEST -> target/PROFILE/leaktrace
    let test = env::current_exe()?;
    let profile = test.ancestors().nth(2).context("the test program lies outside a target directory")?;
    let path = profile.join("leaktrace");
    if !path.exists() {
        bail!("no {}; build it with `cargo build --package leaktrace` or set LEAKTRACE_BIN", path.display());
    }
    Ok(path)
}

fn parse(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))
}
