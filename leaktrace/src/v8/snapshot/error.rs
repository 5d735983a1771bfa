//! Why a snapshot could not be read.

use std::io;

/// What is wrong with the bytes, and where.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// They could not be read at all.
    #[error("could not be read: {0}")]
    Io(io::Error),
    /// They are no heap snapshot, or a damaged one.
    #[error("byte {offset}: {message}")]
    Malformed {
        /// Where the fault was noticed, counted in bytes of the (uncompressed) text.
        offset: u64,
        /// What is wrong, one clause.
        message: String,
    },
}

impl SnapshotError {
    /// A fault of the text.
    pub(super) fn at(offset: u64, message: impl Into<String>) -> Self {
        Self::Malformed { offset, message: message.into() }
    }
}
