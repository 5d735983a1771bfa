//! Attaches one of the tracers that are compared, and reads what it says at its end.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::account::{Account, leaktrace_account};
use super::bcc;
use crate::command::Cmd;
use crate::privilege::Root;

/// Without a limit on what tracing may cost.
const UNLIMITED: [&str; 2] = ["--max-overhead", "none"];

/// A twentieth of a CPU.
const BUDGET: [&str; 2] = ["--max-overhead", "5%"];

/// How long a tracer may take to attach or to end. bpftrace takes seconds to detach.
const PATIENCE: Duration = Duration::from_mins(1);

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// No tracer.
    Untraced,
    /// leaktrace that traces everything, whatever it costs.
    Leaktrace,
    /// leaktrace with uprobe_multi links in the place of sessions.
    Multi,
    /// leaktrace with one ring, whatever the number of CPUs.
    OneRing,
    /// leaktrace that takes one allocation in about 512 KiB.
    Sampled,
    /// leaktrace that may take a twentieth of a CPU.
    Budget,
    /// The same, with uprobe_multi links.
    MultiBudget,
    /// The shape of bcc's memleak.
    Bcc,
    /// The same, and at its end it prints the stacks of the blocks that are left.
    BccStacks,
    /// leaktrace that watches V8's heap only.
    V8Only,
}

impl Variant {
    /// In the order in which a round runs them.
    pub(crate) const ALL: [Self; 5] =
        [Self::Untraced, Self::Leaktrace, Self::Sampled, Self::Budget, Self::Bcc];

    const fn is_bpftrace(self) -> bool {
        matches!(self, Self::Bcc | Self::BccStacks)
    }
}

/// A tracer at work.
#[derive(Debug)]
pub(crate) struct Tracer {
    variant: Variant,
    root: Root,
    child: Child,
    printed: JoinHandle<String>,
    messages: JoinHandle<String>,
}

impl Tracer {
    /// Attaches a tracer to a process and waits until its probes are in place. `None` for [`Variant::Untraced`].
    pub(crate) fn attach(variant: Variant, root: Root, leaktrace: &Path, pid: u32) -> Result<Option<Self>> {
        let command = match variant {
            Variant::Untraced => return Ok(None),
            Variant::Leaktrace => leaktrace_with(root, leaktrace, pid, &UNLIMITED),
            Variant::Multi => {
                leaktrace_with(root, leaktrace, pid, &[&UNLIMITED[..], &["--links", "multi"]].concat())
            }
            Variant::OneRing => {
                leaktrace_with(root, leaktrace, pid, &[&UNLIMITED[..], &["--rings", "1"]].concat())
            }
            Variant::Sampled => {
                leaktrace_with(root, leaktrace, pid, &[&UNLIMITED[..], &["--sample", "512KiB"]].concat())
            }
            Variant::Budget => leaktrace_with(root, leaktrace, pid, &BUDGET),
            Variant::MultiBudget => {
                leaktrace_with(root, leaktrace, pid, &[&BUDGET[..], &["--links", "multi"]].concat())
            }
            Variant::V8Only => leaktrace_with(root, leaktrace, pid, &["--only", "v8"]),
            Variant::Bcc | Variant::BccStacks => root
                .command("env")
                .arg(format!("BPFTRACE_MAX_MAP_KEYS={}", bcc::MAP_KEYS))
                .args(["bpftrace", "-B", "line", "-p", &pid.to_string(), "-e"])
                .arg(bcc::script(pid, &bcc::allocator_of(pid)?, variant == Variant::BccStacks)),
        };
        let mut command = command.into_std();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {variant:?}"))?;
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().context("no output of the tracer")?;
        let printed = thread::spawn(move || {
            let mut printed = String::new();
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                printed.push_str(&line);
                printed.push('\n');
                // Nobody listens any more once the tracer is attached.
                let _ = sender.send(line);
            }
            printed
        });
        let mut stderr = child.stderr.take().context("no messages of the tracer")?;
        let messages = thread::spawn(move || {
            let mut text = String::new();
            // Messages only explain failures; half of them is better than none.
            let _ = stderr.read_to_string(&mut text);
            text
        });
        let mut tracer = Self { variant, root, child, printed, messages };
        if !tracer.wait_until_attached(&lines) {
            tracer.interrupt();
            let _ = tracer.wait();
            bail!("{variant:?} did not attach: {}", tracer.messages.join().unwrap_or_default().trim());
        }
        Ok(Some(tracer))
    }

    fn wait_until_attached(&self, lines: &Receiver<String>) -> bool {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let is_attached = if self.variant.is_bpftrace() {
                line == "attached"
            } else {
                line.contains("\"type\":\"tick\"")
            };
            if is_attached {
                return true;
            }
        }
        false
    }

    /// Waits for the end of a tracer whose target has ended.
    pub(crate) fn finish(self) -> Result<Account> {
        let variant = self.variant;
        let printed = self.output()?;
        if !variant.is_bpftrace() {
            return leaktrace_account(&printed);
        }
        let seen = bcc::parse(&printed);
        Ok(Account { events: seen.events, lost: seen.lost, ..Account::default() })
    }

    /// Ends a tracer whose target goes on, and gives all that it printed.
    pub(super) fn end(self) -> Result<String> {
        self.interrupt();
        self.output()
    }

    /// Waits for the end, and gives all that was printed; bpftrace counts its losses among its messages.
    fn output(mut self) -> Result<String> {
        let ended = self.wait()?;
        let printed = self.printed.join().unwrap_or_default();
        let messages = self.messages.join().unwrap_or_default();
        if !ended {
            bail!("{:?} ended badly: {}", self.variant, messages.trim());
        }
        Ok(if self.variant.is_bpftrace() { printed + &messages } else { printed })
    }

    /// Ends a tracer whose target goes on.
    pub(crate) fn detach(self) -> Result<Account> {
        self.interrupt();
        self.finish()
    }

    /// Ends a tracer whose target goes on, and tells how long that took, from the signal on.
    pub(super) fn stop(mut self) -> Result<Duration> {
        let asked = Instant::now();
        self.interrupt();
        self.wait()?;
        let took = asked.elapsed();
        self.output()?;
        Ok(took)
    }

    fn interrupt(&self) {
        // It may have ended by itself, which is as good.
        if self.root == Root::Direct {
            let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        } else {
            let _ = self.root.command("kill").args(["-INT", &self.child.id().to_string()]).run();
        }
    }

    /// Waits until the tracer ends, and ends it by force if it does not. Returns whether it ended well.
    fn wait(&mut self) -> Result<bool> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().context("cannot wait for the tracer")? {
                return Ok(status.success());
            }
            // How long it takes to end is measured, too.
            thread::sleep(Duration::from_micros(500));
        }
        self.child.kill().context("cannot end the tracer")?;
        self.child.wait().context("cannot wait for the tracer")?;
        bail!("{:?} did not end within {} s", self.variant, PATIENCE.as_secs())
    }
}

/// A server of a bench, ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts a server whose first line of output, where it is asked for, is returned.
    pub(crate) fn start(command: Cmd, wants_line: bool) -> Result<(Self, String)> {
        let text = command.describe();
        let mut command = command.into_std();
        command.stdin(Stdio::null()).stdout(if wants_line { Stdio::piped() } else { Stdio::null() });
        let child = command.spawn().with_context(|| format!("cannot start `{text}`"))?;
        let mut server = Self { child };
        let mut line = String::new();
        if let Some(stdout) = server.child.stdout.as_mut() {
            BufReader::new(stdout)
                .read_line(&mut line)
                .with_context(|| format!("cannot read from `{text}`"))?;
        }
        Ok((server, line))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the bench's programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// How root is reached.
    pub(crate) root: Root,
    /// The release build of leaktrace.
    pub(crate) leaktrace: PathBuf,
    /// The churn program.
    pub(crate) churn: PathBuf,
}

fn leaktrace_with(root: Root, leaktrace: &Path, pid: u32, options: &[&str]) -> Cmd {
    root.command(leaktrace)
        .args(["--pid", &pid.to_string(), "--format", "ndjson"])
        .args(options.iter().copied())
}
