//! Reads a series from CSV: a header with the columns `t` (seconds) and `bytes`, then one point a row.
//!
//! The text is never held: at most one row of it, and the points.

mod fault;
mod rows;

#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Cursor, Read};

pub use fault::{Fault, SeriesError};
use rows::Rows;

use crate::verdict::Samples;

/// The most points: ten million take 160 MB.
const MAX_POINTS: usize = 10_000_000;
/// Later times are no seconds: since 1970, these are over in the year 5138, while milliseconds are there already.
const MAX_TIME_S: f64 = 1e11;
/// No memory has more bytes.
const MAX_BYTES: f64 = (1_u64 << 63) as f64;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// A series as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesFile {
    /// Its points; at least one.
    pub samples: Samples,
    /// Where a time was repeated: the last value of each time counts.
    pub repeated: Option<Repeated>,
}

/// Rows that repeat the time of the row before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// How many rows.
    pub rows: u64,
    /// Line of the first of them.
    pub first_line: u64,
}

/// Reads a series to its end, or to the first thing that is wrong with it.
pub fn read_series(source: impl BufRead) -> Result<SeriesFile, SeriesError> {
    read_at_most(source, MAX_POINTS)
}

fn read_at_most(source: impl BufRead, max_points: usize) -> Result<SeriesFile, SeriesError> {
    let mut points = Points::begin(source, max_points)?;
    let mut failed = None;
    let samples = Samples::new(std::iter::from_fn(|| {
        points.next().unwrap_or_else(|error| {
            failed = Some(error);
            None
        })
    }));
    match failed {
        Some(error) => Err(error),
        None if samples.is_empty() => Err(Fault::NoRows.into()),
        None => Ok(SeriesFile { samples, repeated: points.repeated }),
    }
}

/// The points of a series, in order of time.
struct Points<R> {
    rows: Rows<R>,
    columns: Columns,
    /// The next point, until a row with another time says that it was the last of its time.
    pending: Option<(f64, f64)>,
    /// How many more points may follow.
    room: usize,
    repeated: Option<Repeated>,
}

impl<R: BufRead> Points<Skipped<R>> {
    /// Reads the header.
    fn begin(mut source: R, room: usize) -> Result<Self, SeriesError> {
        let mut head = Vec::with_capacity(BOM.len());
        source.by_ref().take(BOM.len() as u64).read_to_end(&mut head).map_err(Fault::Io)?;
        if head == BOM {
            head.clear();
        }
        let mut rows = Rows::new(Cursor::new(head).chain(source));
        if !rows.next()? {
            return Err(Fault::Empty.into());
        }
        let columns = Columns::of(&rows).map_err(|fault| fault.at(rows.line))?;
        Ok(Self { rows, columns, pending: None, room, repeated: None })
    }
}

/// What was looked at for a byte order mark, and the rest.
type Skipped<R> = io::Chain<Cursor<Vec<u8>>, R>;

impl<R: BufRead> Points<R> {
    fn next(&mut self) -> Result<Option<(f64, f64)>, SeriesError> {
        while self.rows.next()? {
            let line = self.rows.line;
            let (t, bytes) = self.columns.point(&self.rows).map_err(|fault| fault.at(line))?;
            match self.pending {
                Some((before, _)) if t < before => return Err(Fault::Unsorted { t, before }.at(line)),
                Some((before, _)) if t <= before => self.repeat(line),
                _ if self.room == 0 => return Err(Fault::TooManyRows.at(line)),
                _ => {
                    self.room -= 1;
                    if let Some(point) = self.pending.replace((t, bytes)) {
                        return Ok(Some(point));
                    }
                }
            }
            self.pending = Some((t, bytes));
        }
        Ok(self.pending.take())
    }

    fn repeat(&mut self, line: u64) {
        let repeated = self.repeated.get_or_insert(Repeated { rows: 0, first_line: line });
        repeated.rows += 1;
    }
}

/// Where the two columns are.
struct Columns {
    t: usize,
    bytes: usize,
    count: usize,
}

impl Columns {
    /// Finds them in the header, which is the row just read.
    fn of<R: BufRead>(header: &Rows<R>) -> Result<Self, Fault> {
        let names: Vec<&[u8]> = header.fields().collect();
        if names.iter().any(|name| name.contains(&0) || std::str::from_utf8(name).is_err()) {
            return Err(Fault::NotText);
        }
        let place = |wanted: &'static str| {
            let mut found =
                names.iter().enumerate().filter(|(_, name)| name.trim_ascii() == wanted.as_bytes());
            match (found.next(), found.next()) {
                (Some((place, _)), None) => Ok(place),
                (Some(_), Some(_)) => Err(Fault::ColumnTwice(wanted)),
                (None, _) => Err(Fault::NoColumn { wanted, hint: hint(&names) }),
            }
        };
        Ok(Self { t: place("t")?, bytes: place("bytes")?, count: names.len() })
    }

    /// The point of the row just read.
    fn point<R: BufRead>(&self, row: &Rows<R>) -> Result<(f64, f64), Fault> {
        let fields = row.fields().count();
        if fields != self.count {
            return Err(Fault::Fields { fields, header: self.count });
        }
        let t = number("t", row.field(self.t))?;
        if t.abs() > MAX_TIME_S {
            return Err(Fault::NoSeconds(t));
        }
        let bytes = number("bytes", row.field(self.bytes))?;
        if bytes < 0.0 {
            return Err(Fault::Negative(bytes));
        }
        if bytes > MAX_BYTES {
            return Err(Fault::TooLarge(bytes));
        }
        Ok((t, bytes))
    }
}

/// What a header without the wanted columns probably lacks.
fn hint(names: &[&[u8]]) -> &'static str {
    let all_numbers = names.iter().all(|name| number("", name).is_ok());
    let other_separator = |byte| names.len() == 1 && names.iter().any(|name| name.contains(&byte));
    if all_numbers {
        "the first line is a row of numbers: put the line t,bytes before it"
    } else if other_separator(b';') || other_separator(b'\t') {
        "columns are separated by commas, not by semicolons or tabs"
    } else {
        "the first line must name the columns, as in t,bytes"
    }
}

/// A finite number.
fn number(column: &'static str, field: &[u8]) -> Result<f64, Fault> {
    let field = field.trim_ascii();
    if field.is_empty() {
        return Err(Fault::NoValue(column));
    }
    let text = || String::from_utf8_lossy(field).into_owned();
    let number = std::str::from_utf8(field).ok().and_then(|text| text.parse::<f64>().ok());
    match number {
        None => Err(Fault::NoNumber { column, text: text() }),
        Some(number) if !number.is_finite() => Err(Fault::NotFinite { column, text: text() }),
        Some(number) => Ok(number),
    }
}
