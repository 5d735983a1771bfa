//! Where the records of `leaktrace heap` go: lines of JSON, or text.

use std::io::{self, IsTerminal as _, Stdout, Write as _};

use crate::{
    cli::{Format, GeneralOptions},
    error::Failure,
    output::{
        heap_record::{HeapConstructor, HeapGrowth, HeapObject, HeapSnapshot},
        heap_text,
        ndjson::NdjsonWriter,
        record::Record,
        sink::SinkError,
        verdict_text::Look,
    },
};

/// Standard output, in the form that was asked for.
pub(super) struct Printer {
    form: Form,
    /// Nobody reads any more.
    is_closed: bool,
}

enum Form {
    Ndjson(NdjsonWriter<Stdout>),
    Text(Look),
}

impl Printer {
    pub(super) fn open(format: Format, general: &GeneralOptions) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let form = if format == Format::Ndjson || format == Format::Auto && !is_terminal {
            Form::Ndjson(NdjsonWriter::new(io::stdout(), "standard output"))
        } else {
            let colour = is_terminal && general.colour(std::env::var_os("NO_COLOR").as_deref());
            let columns =
                if is_terminal { crossterm::terminal::size().map_or(100, |size| size.0) } else { 100 };
            Form::Text(Look { columns, colour })
        };
        Self { form, is_closed: false }
    }

    pub(super) fn snapshot(&mut self, record: &HeapSnapshot) -> Result<(), Failure> {
        self.print(|look| heap_text::snapshot(record, look), || vec![Record::HeapSnapshot(record.clone())])
    }

    pub(super) fn constructors(&mut self, records: &[HeapConstructor]) -> Result<(), Failure> {
        self.print(
            |look| heap_text::constructors(records, look),
            || records.iter().cloned().map(Record::HeapConstructor).collect(),
        )
    }

    /// What grew in so many files.
    pub(super) fn growths(&mut self, records: &[HeapGrowth], files: usize) -> Result<(), Failure> {
        self.print(
            |look| match records {
                [] => heap_text::no_growth(files),
                records => records.iter().map(|record| heap_text::growth(record, look)).collect(),
            },
            || records.iter().cloned().map(Record::HeapGrowth).collect(),
        )
    }

    pub(super) fn object(&mut self, record: &HeapObject) -> Result<(), Failure> {
        self.print(|look| heap_text::object(record, look), || vec![Record::HeapObject(record.clone())])
    }

    fn print(
        &mut self,
        text: impl Fn(Look) -> String,
        records: impl Fn() -> Vec<Record>,
    ) -> Result<(), Failure> {
        if self.is_closed {
            return Ok(());
        }
        let printed = match &mut self.form {
            Form::Ndjson(writer) => records().iter().try_for_each(|record| writer.write(record)),
            Form::Text(look) => {
                let mut out = io::stdout().lock();
                let written = out.write_all(text(*look).as_bytes()).and_then(|()| out.flush());
                written.map_err(|error| SinkError::from_io("standard output", error))
            }
        };
        printed.or_else(|error| {
            self.is_closed = true;
            error.into_failure().map_or(Ok(()), Err)
        })
    }
}
