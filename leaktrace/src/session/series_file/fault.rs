//! What can be wrong with a series in a file: where, what, and what to do.

use std::fmt;
use std::io;

use super::MAX_POINTS;
use super::rows::{MAX_COLUMNS, MAX_ROW};
use crate::output::escape::{cut_end, visible};

/// Columns of a value that is shown in a message.
const SHOWN: usize = 40;

/// Why a series cannot be read.
#[derive(Debug)]
pub struct SeriesError {
    /// Line at which the row begins, 1-based; `None` where no line is to blame.
    pub line: Option<u64>,
    /// What is wrong there.
    pub fault: Fault,
}

impl SeriesError {
    /// The error with the name of the file, as compilers write it: `heap.csv:7: bytes is empty: …`.
    pub fn in_file(&self, name: &str) -> String {
        let (name, fault) = (visible(name), &self.fault);
        self.line.map_or_else(|| format!("{name}: {fault}"), |line| format!("{name}:{line}: {fault}"))
    }
}

impl fmt::Display for SeriesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.fault),
            None => write!(f, "{}", self.fault),
        }
    }
}

impl std::error::Error for SeriesError {}

impl From<Fault> for SeriesError {
    fn from(fault: Fault) -> Self {
        Self { line: None, fault }
    }
}

/// What is wrong with a series.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("{}", unreadable(.0))]
    Io(io::Error),
    /// There is nothing in it.
    #[error("is empty: a header t,bytes and rows of seconds and bytes are needed")]
    Empty,
    /// A header and nothing else.
    #[error("has a header and no rows: add rows of seconds and bytes")]
    NoRows,
    /// Not UTF-8, or with zero bytes.
    #[error("this is not text: CSV in UTF-8 is needed")]
    NotText,
    /// The header lacks a column.
    #[error("there is no column '{wanted}': {hint}")]
    NoColumn {
        /// The column.
        wanted: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The header has a column twice.
    #[error("there are two columns '{0}': name the right one, and no other, so")]
    ColumnTwice(&'static str),
    /// A row is longer than is sensible.
    #[error("the row is longer than {} KiB: is this CSV?", MAX_ROW >> 10)]
    LongRow,
    /// A row has more columns than is sensible.
    #[error("the row has more than {MAX_COLUMNS} columns: keep t and bytes")]
    ManyColumns,
    /// A quoted field goes on to the end of the file.
    #[error("a quote is opened here and never closed: close it")]
    OpenQuote,
    /// A row has not as many fields as the header.
    #[error("fields in this row: {fields}, in the header: {header}; is it cut, or is a comma in a number?")]
    Fields {
        /// Fields of the row.
        fields: usize,
        /// Names in the header.
        header: usize,
    },
    /// A field is empty.
    #[error("{0} is empty: leave out rows without a value")]
    NoValue(&'static str),
    /// A field is no number.
    #[error("{column} is '{}', which is no number: write it as 1234, 12.5 or 1.2e9", cut_end(.text, SHOWN))]
    NoNumber {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// A field is infinite or no number.
    #[error("{column} is {}: leave out rows without a value", cut_end(.text, SHOWN))]
    NotFinite {
        /// The column.
        column: &'static str,
        /// What stands there.
        text: String,
    },
    /// A time that is not in seconds.
    #[error("t is {0}, too large for seconds: divide milliseconds by 1000")]
    NoSeconds(f64),
    /// Less than nothing.
    #[error("bytes is {0}: no memory has less than 0 bytes; give amounts, not differences")]
    Negative(f64),
    /// More than there is.
    #[error("bytes is {0:e}: no memory has as many; is it in bytes?")]
    TooLarge(f64),
    /// Times that do not ascend.
    #[error("t goes back from {before} to {t}: sort the rows by t")]
    Unsorted {
        /// This row's time.
        t: f64,
        /// The time before it.
        before: f64,
    },
    /// More points than are kept.
    #[error("more than {MAX_POINTS} rows: keep every tenth")]
    TooManyRows,
}

impl Fault {
    /// The fault at a line.
    pub(super) fn at(self, line: u64) -> SeriesError {
        SeriesError { line: Some(line), fault: self }
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: check its name".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory: name the files in it".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "may not be read: ask for the permission, or pipe it in".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}
