//! Where the records of a run go, and the programs' own diagnostics.

use std::io::{self, IsTerminal as _};

use tokio::sync::mpsc::UnboundedSender;

use crate::{
    cli::{Format, GeneralOptions, Sort, ViewOptions},
    error::{ExitCode, Failure},
    output::{
        ndjson::NdjsonWriter,
        plain::PlainWriter,
        sink::Sink,
        table::{Request, TableOptions, TableView},
        thread::OutputThread,
    },
    probe::programs::Programs,
};

/// What whoever looks at the output wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// End the run.
    End,
    /// Rank the sites by this.
    Sort(Sort),
}

/// Opens the output that the command line asks for, on a thread of its own.
pub(super) fn open(
    view: &ViewOptions,
    general: &GeneralOptions,
    wishes: UnboundedSender<Wish>,
) -> Result<OutputThread, Failure> {
    let ended = wishes.clone();
    let sink: Box<dyn Sink> = match view.format {
        _ if is_live_view(view) => {
            let colour = general.colour(std::env::var_os("NO_COLOR").as_deref());
            let options = TableOptions { sort: view.sort, older_than: view.older_than, colour };
            let view = TableView::open(options, move |request| {
                // Nobody hears a wish after the end.
                let _ = wishes.send(match request {
                    Request::End => Wish::End,
                    Request::Sort(sort) => Wish::Sort(sort),
                });
            });
            Box::new(view.map_err(|error| {
                let message = format!("could not draw on the terminal: {error}; try --format ndjson");
                Failure::new(ExitCode::OutputFailed, message)
            })?)
        }
        Format::Table => Box::new(PlainWriter::new(io::stdout(), io::stderr())),
        Format::Auto | Format::Ndjson => Box::new(NdjsonWriter::new(io::stdout(), "standard output")),
    };
    let on_end = move || {
        let _ = ended.send(Wish::End);
    };
    OutputThread::spawn(sink, on_end).map_err(|error| {
        Failure::new(ExitCode::Internal, format!("could not start the output thread: {error}"))
    })
}

/// Is the output the live view on a terminal?
pub(super) fn is_live_view(view: &ViewOptions) -> bool {
    view.format != Format::Ndjson && io::stdout().is_terminal()
}

/// Passes the BPF programs' own diagnostics on to our log, where `-v` asked for them.
pub(super) fn log_programs(programs: &mut Programs) {
    let Some(mut logger) = programs.logger() else { return };
    tokio::spawn(async move {
        loop {
            logger.flush();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
}
