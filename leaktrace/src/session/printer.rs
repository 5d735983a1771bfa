//! Where the commands that trace nothing write: lines of JSON, or text for people.

use std::io::{self, IsTerminal as _, Stdout, Write as _};

use crate::{
    cli::{Format, GeneralOptions},
    error::Failure,
    output::{ndjson::NdjsonWriter, record::Record, sink::SinkError, verdict_text::Look},
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
    /// So many columns are there where standard output is no terminal.
    pub(super) fn open(format: Format, general: &GeneralOptions, columns: u16) -> Self {
        let is_terminal = io::stdout().is_terminal();
        let form = if format == Format::Ndjson || format == Format::Auto && !is_terminal {
            Form::Ndjson(NdjsonWriter::new(io::stdout(), "standard output"))
        } else {
            let colour = is_terminal && general.colour(std::env::var_os("NO_COLOR").as_deref());
            let columns = if is_terminal {
                crossterm::terminal::size().map_or(columns, |size| size.0)
            } else {
                columns
            };
            Form::Text(Look { columns, colour })
        };
        Self { form, is_closed: false }
    }

    /// Prints the text or the records, whichever it is. A reader that has gone is no failure.
    pub(super) fn print(
        &mut self,
        text: impl FnOnce(Look) -> String,
        records: impl FnOnce() -> Vec<Record>,
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

    /// Whether nobody reads any more.
    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }
}
