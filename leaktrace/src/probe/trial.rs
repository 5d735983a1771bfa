//! Tries a return probe in a seccomp-filtered child of our own, before one is set in a target that is filtered.
//!
//! From Linux 6.11 until a fix that distributions back-port at different times, a function with a return probe comes
//! back through a system call that the process never asked for, and its seccomp filter kills it for that. No version
//! number tells whether this kernel has the fix; a child that may die does.

mod child;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read as _, Write as _},
    num::NonZeroU32,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use leaktrace_common::{Argument, Cookie, Role};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    links::{AttachPoint, Link, Program, detach_all},
    programs::Programs,
};
use crate::target::{hazard::TrialResult, maps};
pub use child::run_child_if_asked;
use child::{ASKED, READY, probed};

/// So long the child may take to start, and again to end. It needs some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// More is not read of what the child says before it is ready.
const MAX_OUTPUT: usize = 64 << 10;
/// Our own program, whatever became of its name.
const OURSELVES: &str = "/proc/self/exe";

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It returned from the function and ended as it should.
    Lived,
    /// A signal of this number killed it.
    Killed(i32),
}

/// Sets a return probe in a filtered child of our own and sees whether it lives.
///
/// Takes some tenths of a second, and starts this program anew: its `main` must begin with [`run_child_if_asked`].
pub fn run(programs: &mut Programs) -> TrialResult {
    judge(child_command, |pid| attach_both(programs, pid))
}

/// A child that dies with the probe must live without it, or the probe was not what killed it.
fn judge(
    command: impl Fn() -> Command,
    mut attach: impl FnMut(NonZeroU32) -> io::Result<Vec<Box<dyn Link>>>,
) -> TrialResult {
    let result = match run_child(command(), &mut attach) {
        Ok(Outcome::Lived) => Ok(TrialResult::Survived),
        Ok(Outcome::Killed(signal)) => {
            tracing::debug!("signal {signal} ended the filtered child that had a return probe");
            run_child(command(), &mut |_| Ok(Vec::new())).map(|outcome| match outcome {
                Outcome::Lived => TrialResult::Died,
                Outcome::Killed(_) => TrialResult::Failed,
            })
        }
        Err(error) => Err(error),
    };
    result.unwrap_or_else(|error| {
        tracing::debug!("a return probe could not be tried: {error}");
        TrialResult::Failed
    })
}

fn child_command() -> Command {
    let mut command = Command::new(OURSELVES);
    command.env(ASKED, "1");
    command
}

/// Runs a child once: attaches when it is ready, lets it go, and waits for its end.
fn run_child(
    mut command: Command,
    attach: &mut dyn FnMut(NonZeroU32) -> io::Result<Vec<Box<dyn Link>>>,
) -> io::Result<Outcome> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Reaped(command.spawn()?);
    let mut output = child.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut input = child.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    wait_until_ready(&mut output)?;
    let pid = NonZeroU32::new(child.0.id()).ok_or(io::ErrorKind::NotFound)?;
    let links = attach(pid)?;
    let outcome = input.write_all(b"g").and_then(|()| wait_for_end(&mut child.0, &mut output));
    detach_all(links);
    outcome
}

/// A child that is ended and waited for, come what may.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until_ready(output: &mut ChildStdout) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while !said.windows(READY.len()).any(|part| part == READY.as_bytes()) {
        if !read_some(output, deadline, &mut said)? || said.len() > MAX_OUTPUT {
            return Err(io::Error::other("the child ended, or did not say that it is ready"));
        }
    }
    Ok(())
}

/// The child's end closes its output; after that, waiting for it takes no time.
fn wait_for_end(child: &mut Child, output: &mut ChildStdout) -> io::Result<Outcome> {
    let deadline = Instant::now() + PATIENCE;
    let mut said = Vec::new();
    while read_some(output, deadline, &mut said)? {
        said.clear();
    }
    let status = child.wait()?;
    match (status.signal(), status.success()) {
        (Some(signal), _) => Ok(Outcome::Killed(signal)),
        (None, true) => Ok(Outcome::Lived),
        (None, false) => Err(io::Error::other(format!("the child could not filter itself ({status})"))),
    }
}

/// Reads what there is; false at the end. Gives up at the deadline.
fn read_some(output: &mut ChildStdout, deadline: Instant, into: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut buffer = [0; 4096];
    let count = output.read(&mut buffer)?;
    into.extend(buffer.iter().take(count));
    Ok(count > 0)
}

/// The pair of probes that an allocation function gets. The function returns null, which is no allocation: so the
/// trial leaves no record in the ring, and no loss in the counters.
fn attach_both(programs: &mut Programs, pid: NonZeroU32) -> io::Result<Vec<Box<dyn Link>>> {
    let mut links = attach(programs, Program::AllocReturn, pid)?;
    links.extend(attach(programs, Program::AllocEnter, pid)?);
    Ok(links)
}

fn attach(programs: &mut Programs, program: Program, pid: NonZeroU32) -> io::Result<Vec<Box<dyn Link>>> {
    let none = Argument::None;
    let cookie = Cookie {
        function: 0,
        role: Role::Allocate,
        size: Argument::First,
        count: none,
        pointer: none,
        process: 0,
        is_leaf: false,
    };
    let point = AttachPoint {
        program,
        path: PathBuf::from(OURSELVES),
        file_offset: file_offset(probed as *const () as u64)?,
        cookie: cookie.to_bits(),
        pid,
    };
    programs.attach(&[point]).map_err(io::Error::other)
}

/// Where in our own file the code at an address of ours lies. The child is the same file, wherever it is loaded.
fn file_offset(address: u64) -> io::Result<u64> {
    let maps = maps::read(std::process::id())?;
    let mapping = maps.iter().find(|mapping| mapping.contains(address) && mapping.executable);
    let offset = mapping.and_then(|mapping| mapping.offset.checked_add(address - mapping.start));
    offset.ok_or_else(|| io::Error::other("our own code is not mapped from a file"))
}
