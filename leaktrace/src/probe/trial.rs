//! Tries a return probe in a seccomp-filtered child of our own, before one is set in a target that is filtered.
//!
//! From Linux 6.11 until a fix that distributions back-port at different times, a function with a return probe comes
//! back through a system call that the process never asked for, and its seccomp filter kills it for that. No version
//! number tells whether this kernel has the fix; a child that may die does.

mod child;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write as _},
    num::NonZeroU32,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, ChildStdout, Command},
    time::{Duration, Instant},
};

use leaktrace_common::{Argument, Cookie, Role};

use super::{
    detach::detach_all,
    links::{AttachPoint, Link, Program},
    own_child::{OURSELVES, file_offset, read_some, start},
    programs::Programs,
};
use crate::target::hazard::TrialResult;
pub use child::run_child_if_asked;
use child::{ASKED, READY, probed};

/// So long the child may take to start, and again to end. It needs some milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

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
    command: Command,
    attach: &mut dyn FnMut(NonZeroU32) -> io::Result<Vec<Box<dyn Link>>>,
) -> io::Result<Outcome> {
    let mut child = start(command, READY, Instant::now() + PATIENCE)?;
    let links = attach(child.pid)?;
    let told = match child.input.write_all(b"g") {
        // It is dead already, which its end tells.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        told => told,
    };
    let outcome = told.and_then(|()| wait_for_end(&mut child.process.0, &mut child.output));
    detach_all(links);
    outcome
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
