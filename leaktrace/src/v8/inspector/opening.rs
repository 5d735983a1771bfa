//! Uses the inspector of a process, or opens it by SIGUSR1.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{
    decision::{Decision, decide},
    endpoint,
    error::InspectorError,
    facts,
};
use crate::target::process::Process;

/// So long may the inspector take to open. It does so within milliseconds unless the process is stopped.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// An inspector that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspector {
    /// The process, by its id here.
    pub pid: u32,
    /// Where it listens, as the process sees it.
    pub address: SocketAddr,
    /// Path of its websocket.
    pub(super) path: String,
    /// It was opened by us, and is ours to close.
    pub opened_by_us: bool,
}

/// Finds the open inspector of a process, or opens it; an error says why neither could be done.
///
/// Nothing is sent to the process unless it is known to take it well (see `decision::decide`).
pub fn open(process: &Process) -> Result<Inspector, InspectorError> {
    let facts = facts::gather(process).map_err(|error| lost(process, error))?;
    tracing::info!("of the inspector of process {} is known: {facts:?}", process.pid);
    match decide(&facts) {
        Decision::Use(address) => found(process, address, false),
        Decision::Refuse(why) => Err(InspectorError::Refused(why)),
        Decision::Signal => {
            signal(process)?;
            let address = wait_until_open(process)?;
            found(process, address, true)
        }
    }
}

fn found(process: &Process, address: SocketAddr, opened_by_us: bool) -> Result<Inspector, InspectorError> {
    let pid = process.pid;
    match endpoint::websocket_path(pid, address) {
        Ok(path) => Ok(Inspector { pid, address, path, opened_by_us }),
        Err(error) if opened_by_us => Err(stays_open(address, &error)),
        Err(error) => Err(error),
    }
}

/// The inspector that we opened can be neither used nor closed.
pub(super) fn stays_open(address: SocketAddr, error: &InspectorError) -> InspectorError {
    InspectorError::Protocol(format!("{error}; it was opened at {address} and stays open"))
}

/// Sends SIGUSR1 to exactly this process: a number may have been given to another one meanwhile, a pidfd not.
fn signal(process: &Process) -> Result<(), InspectorError> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw).ok_or(InspectorError::Gone)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| lost(process, errno.into()))?;
    if !process.is_alive() {
        return Err(InspectorError::Gone);
    }
    pidfd_send_signal(&handle, Signal::USR1).map_err(|errno| lost(process, errno.into()))
}

fn wait_until_open(process: &Process) -> Result<SocketAddr, InspectorError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(address) = facts::look_for_open(process).map_err(|error| lost(process, error))? {
            return Ok(address);
        }
        if !process.is_alive() {
            return Err(InspectorError::Gone);
        }
        if Instant::now() >= deadline {
            let why = format!(
                "nothing listens {} s after SIGUSR1; is the process stopped, so that it opens later, or its port \
                 taken? Its standard error may tell",
                PATIENCE.as_secs()
            );
            return Err(InspectorError::NotOpened(why));
        }
        sleep(LOOK_EVERY);
    }
}

/// An error while looking at a process that may have ended.
fn lost(process: &Process, error: std::io::Error) -> InspectorError {
    if process.is_alive() { InspectorError::Io(error) } else { InspectorError::Gone }
}
