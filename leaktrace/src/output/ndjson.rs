//! Records as NDJSON: one JSON object a line, each line flushed.

use std::io::Write;

use serde::Serialize;

use super::record::Record;
use super::sink::{Sink, SinkError};

/// Writes one JSON object a line; a reader has each line as soon as it is written.
pub struct NdjsonWriter<W> {
    writer: W,
    what: String,
    line: Vec<u8>,
}

impl<W: Write> NdjsonWriter<W> {
    /// Writes to `writer`, which error messages call `what` (`standard output`, or a path).
    pub fn new(writer: W, what: impl Into<String>) -> Self {
        Self { writer, what: what.into(), line: Vec::new() }
    }

    /// Writes one line and flushes it.
    pub fn write(&mut self, object: &impl Serialize) -> Result<(), SinkError> {
        self.line(object)?;
        self.flush()
    }

    /// Writes one line without flushing: for files of many lines.
    pub(super) fn line(&mut self, object: &impl Serialize) -> Result<(), SinkError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, object)
            .map_err(|error| SinkError::from_io(&self.what, error.into()))?;
        self.line.push(b'\n');
        // One write a line: a reader of a pipe never sees half of a short one.
        self.writer.write_all(&self.line).map_err(|error| SinkError::from_io(&self.what, error))
    }

    pub(super) fn flush(&mut self) -> Result<(), SinkError> {
        self.writer.flush().map_err(|error| SinkError::from_io(&self.what, error))
    }
}

impl<W: Write + Send> Sink for NdjsonWriter<W> {
    fn record(&mut self, record: &Record) -> Result<(), SinkError> {
        self.write(record)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::NdjsonWriter;
    use crate::output::fixture;
    use crate::output::record::Record;
    use crate::output::sink::{Sink, SinkError};

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_record_is_one_line_and_reads_back() {
        let mut out = Vec::new();
        let mut writer = NdjsonWriter::new(&mut out, "standard output");
        let records = fixture::every_record();
        for record in &records {
            writer.record(record).unwrap();
        }
        writer.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        let read: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, records);
    }

    #[test]
    fn a_closed_pipe_and_a_full_disk_are_told_apart() {
        let record = &fixture::every_record()[0];
        let closed = NdjsonWriter::new(Fails(io::ErrorKind::BrokenPipe), "standard output").record(record);
        assert!(matches!(closed, Err(SinkError::Closed)));
        let full = NdjsonWriter::new(Fails(io::ErrorKind::StorageFull), "standard output").record(record);
        assert!(matches!(full, Err(SinkError::Write { .. })));
    }
}
