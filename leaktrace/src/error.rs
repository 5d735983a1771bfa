//! Failures a user can meet, each with its exit code.

/// Exit codes are an interface: scripts branch on them. `docs/output.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Traced, and ended as asked.
    Traced = 0,
    /// The command line cannot be used.
    Usage = 2,
    /// There is no such process.
    NoSuchProcess = 3,
    /// A capability or permission is missing.
    NoPermission = 4,
    /// This kernel or this target is not supported.
    Unsupported = 5,
    /// Attaching could hurt the target.
    RefusedForSafety = 6,
    /// The output or a recording could not be written or read.
    OutputFailed = 7,
    /// A leak at or above the asked confidence was found.
    LeakFound = 10,
    /// Our own fault.
    Internal = 70,
}

/// A failure that we foresaw: one sentence that says what failed, on what, and what to do.
///
/// Anything else that reaches `main` is a bug, and exits with [`ExitCode::Internal`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// How the process exits.
    pub code: ExitCode,
    /// One sentence, lower case, without a full stop: what failed, on what, what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its exit code and sentence.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
