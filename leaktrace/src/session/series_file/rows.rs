//! The rows of a CSV text, one at a time, each with the line at which it begins.
//!
//! csv-core splits a row into its fields; the csv crate above it would let a row grow without bound, and counts lines
//! wrongly behind CR LF and empty lines.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader};

use super::fault::{Fault, SeriesError};

/// The most bytes of the fields of one row.
pub(super) const MAX_ROW: usize = 64 << 10;
/// The most columns.
pub(super) const MAX_COLUMNS: usize = 1024;

/// The rows of a CSV text, one at a time.
pub(super) struct Rows<R> {
    source: R,
    parser: Reader,
    /// The fields of the row, back to back.
    text: Box<[u8]>,
    /// Where each of them ends.
    ends: Box<[usize]>,
    /// How many fields there are.
    count: usize,
    /// Line at which the row begins, 1-based.
    pub(super) line: u64,
    /// Line of the next byte.
    next_line: u64,
    last_byte: u8,
}

/// The row so far.
#[derive(Default)]
struct Partial {
    text: usize,
    ends: usize,
    has_begun: bool,
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            parser: Reader::new(),
            text: vec![0; MAX_ROW].into(),
            ends: vec![0; MAX_COLUMNS].into(),
            count: 0,
            line: 1,
            next_line: 1,
            last_byte: 0,
        }
    }

    /// Reads the next row that is not blank; `false` at the end.
    pub(super) fn next(&mut self) -> Result<bool, SeriesError> {
        while self.read()? {
            if !self.is_blank() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the next row that is not empty, spaces or not; `false` at the end.
    fn read(&mut self) -> Result<bool, SeriesError> {
        let mut partial = Partial::default();
        loop {
            let input = match self.source.fill_buf() {
                Ok(input) => input,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Io(error).at(self.next_line)),
            };
            if input.is_empty() {
                return self.end(&partial);
            }
            if !partial.has_begun {
                let empty = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
                if empty > 0 {
                    self.take(empty);
                    continue;
                }
                partial.has_begun = true;
                self.line = self.next_line;
            }
            let text = self.text.get_mut(partial.text..).unwrap_or_default();
            let ends = self.ends.get_mut(partial.ends..).unwrap_or_default();
            let (result, bytes, written, fields) = self.parser.read_record(input, text, ends);
            partial.text += written;
            partial.ends += fields;
            self.take(bytes);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => return Err(Fault::LongRow.at(self.line)),
                ReadRecordResult::OutputEndsFull => return Err(Fault::ManyColumns.at(self.line)),
                ReadRecordResult::Record | ReadRecordResult::End => {
                    self.count = partial.ends;
                    return Ok(true);
                }
            }
        }
    }

    /// The end of the text, which may stand for the end of the last line. Within quotes it does not: what they swallowed
    /// may have been rows.
    fn end(&mut self, partial: &Partial) -> Result<bool, SeriesError> {
        if !partial.has_begun {
            return Ok(false);
        }
        let text = self.text.get_mut(partial.text..).unwrap_or_default();
        let ends = self.ends.get_mut(partial.ends..).unwrap_or_default();
        let (result, _, _, fields) = self.parser.read_record(b"\n", text, ends);
        match result {
            ReadRecordResult::InputEmpty => Err(Fault::OpenQuote.at(self.line)),
            ReadRecordResult::OutputFull => Err(Fault::LongRow.at(self.line)),
            ReadRecordResult::OutputEndsFull => Err(Fault::ManyColumns.at(self.line)),
            ReadRecordResult::Record | ReadRecordResult::End => {
                self.count = partial.ends + fields;
                Ok(true)
            }
        }
    }

    /// Takes bytes of the source's buffer as read, and counts their lines: they end in LF, CR LF or CR.
    fn take(&mut self, bytes: usize) {
        // The buffer is the one just looked at: this reads nothing, and cannot fail.
        for &byte in self.source.fill_buf().unwrap_or_default().iter().take(bytes) {
            let second_half = byte == b'\n' && self.last_byte == b'\r';
            self.next_line += u64::from(matches!(byte, b'\r' | b'\n') && !second_half);
            self.last_byte = byte;
        }
        self.source.consume(bytes);
    }

    /// The fields of the row.
    pub(super) fn fields(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.count).map(|place| self.field(place))
    }

    /// A field of the row; empty where there is none.
    pub(super) fn field(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before));
        match (start, self.ends.get(place)) {
            (Some(&start), Some(&end)) if place < self.count => self.text.get(start..end).unwrap_or_default(),
            _ => &[],
        }
    }

    /// A line with nothing but spaces.
    fn is_blank(&self) -> bool {
        self.count == 1 && self.field(0).trim_ascii().is_empty()
    }
}
