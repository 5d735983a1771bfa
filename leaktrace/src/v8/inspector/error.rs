//! What can go wrong with an inspector, and which exit code that is.

use std::{io, time::Duration};

use crate::error::{ExitCode, Failure};

/// Why the inspector could not be used, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum InspectorError {
    /// Opening it could hurt the target, or it is not known that it could not.
    #[error("refused to open the inspector: {0}")]
    Refused(String),
    /// It was asked to open and did not.
    #[error("the inspector did not open: {0}")]
    NotOpened(String),
    /// The target went away.
    #[error("the process ended")]
    Gone,
    /// The connection was cut by the other side.
    #[error("the inspector closed the connection")]
    Closed,
    /// No answer within this time.
    #[error("the inspector did not answer {what} within {} s; is the process stopped in a debugger?", .after.as_secs())]
    Timeout {
        /// What was asked.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// What came is not what an inspector sends.
    #[error("the inspector sent what cannot be read: {0}")]
    Protocol(String),
    /// It answered with an error.
    #[error("the inspector refused {method}: {message}")]
    Remote {
        /// The method that was called.
        method: String,
        /// Its words, cut.
        message: String,
    },
    /// The network let us down.
    #[error("could not talk to the inspector: {0}")]
    Io(#[from] io::Error),
    /// Our own output could not be written.
    #[error("{0}")]
    Output(io::Error),
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

impl InspectorError {
    /// As a failure of the whole run, about process `pid`.
    pub fn into_failure(self, pid: u32) -> Failure {
        let code = match &self {
            Self::Refused(_) => ExitCode::RefusedForSafety,
            Self::Gone => ExitCode::NoSuchProcess,
            Self::Output(_) => ExitCode::OutputFailed,
            Self::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => ExitCode::NoPermission,
            _ => ExitCode::Unsupported,
        };
        Failure::new(code, format!("process {pid}: {self}"))
    }
}
