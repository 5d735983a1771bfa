//! Where records go, and how going there can fail.

use std::io;

use super::record::Record;
use crate::error::{ExitCode, Failure};

/// Takes the records of one run, in order.
pub trait Sink: Send {
    /// Takes one record.
    fn record(&mut self, record: &Record) -> Result<(), SinkError>;

    /// Nothing follows: whatever is still to be shown is shown, and the terminal is as it was before.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Why a sink takes no more records.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The reader of our output went away (`| head`): the end of the run, and no failure.
    #[error("the output was closed by its reader")]
    Closed,
    /// Writing failed.
    #[error("could not write {what}: {source}")]
    Write {
        /// What was written to: `standard output`, or a path.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl SinkError {
    /// The error behind a failed write to `what`.
    pub fn from_io(what: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Write { what: what.to_owned(), source },
        }
    }

    /// What the run ends with: nothing where the reader just went away.
    pub fn into_failure(self) -> Option<Failure> {
        match self {
            Self::Closed => None,
            Self::Write { what, source } => {
                let remedy = match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space there",
                    _ => "check where the output goes",
                };
                let message = format!("could not write {what}: {source}; {remedy}");
                Some(Failure::new(ExitCode::OutputFailed, message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::SinkError;
    use crate::error::ExitCode;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let error = SinkError::from_io("standard output", io::ErrorKind::BrokenPipe.into());
        assert!(error.into_failure().is_none());
    }

    #[test]
    fn a_full_disk_is_one() {
        let error = SinkError::from_io("standard output", io::ErrorKind::StorageFull.into());
        let failure = error.into_failure().unwrap();
        assert_eq!(failure.code, ExitCode::OutputFailed);
        assert!(failure.message.contains("free some space"), "{failure}");
    }
}
