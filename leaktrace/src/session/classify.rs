//! `leaktrace classify`: series that were measured anywhere, through the same engine as those of a trace.

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use super::printer::Printer;
use super::series_file::{Fault, Repeated, SeriesError, SeriesFile, read_series};
use crate::{
    cli::{ClassifyOptions, GeneralOptions},
    error::{ExitCode, Failure},
    output::{
        escape::visible,
        record::Record,
        verdict::{About, VerdictRecord},
        verdict_text::render,
    },
    verdict::{Circumstances, Samples, judge},
};

/// Columns of text that goes to no terminal.
const COLUMNS: u16 = 80;
/// What standard input is called.
const STDIN: &str = "-";
/// Bytes that are read at once.
const BUFFER: usize = 64 << 10;

/// Judges the files that the command line names.
pub(super) fn run(options: &ClassifyOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let stdin = [PathBuf::from(STDIN)];
    let files = match options.files.as_slice() {
        [] if io::stdin().is_terminal() => return Err(nothing_to_judge()),
        [] => stdin.as_slice(),
        files => files,
    };
    let printer = Printer::open(options.format, general, COLUMNS);
    let mut run = Run { options, printer, is_first: true, fault: None, bad_files: 0, leak: None };
    for file in files {
        run.file(file)?;
        if run.is_over() {
            break;
        }
    }
    run.end()
}

fn nothing_to_judge() -> Failure {
    Failure::new(
        ExitCode::Usage,
        "nothing to judge: name CSV files, or pipe one in; leaktrace classify --help tells more",
    )
}

/// The verdict on a series from a file.
pub fn verdict_of(name: &str, samples: &Samples, limit_bytes: Option<u64>) -> VerdictRecord {
    let last = samples.bytes().last().copied().unwrap_or_default();
    let circumstances = Circumstances {
        headroom_bytes: limit_bytes.map(|limit| (limit as f64 - last).max(0.0)),
        ..Circumstances::default()
    };
    let about = About {
        t: samples.times().last().copied().unwrap_or_default(),
        file: Some(name.to_owned()),
        // The figures of a series are bounded by its reader; `as` would saturate.
        live_bytes: last.round() as u64,
        ..About::default()
    };
    VerdictRecord::new(&judge(samples, &circumstances), about)
}

/// A run over the files.
struct Run<'a> {
    options: &'a ClassifyOptions,
    printer: Printer,
    /// Nothing was printed yet.
    is_first: bool,
    /// What was wrong with the last file that could not be judged.
    fault: Option<String>,
    bad_files: usize,
    /// The first file with a leak at or above the asked confidence, and how sure that is.
    leak: Option<(String, f64)>,
}

impl Run<'_> {
    /// Judges a file. Fails only where the output does.
    fn file(&mut self, path: &Path) -> Result<(), Failure> {
        let name = path.to_string_lossy();
        let series = match read(path) {
            Ok(series) => series,
            Err(error) => {
                self.refuse(error.in_file(told(&name)));
                return Ok(());
            }
        };
        if let Some(repeated) = series.repeated {
            warn_of_repeated(&name, repeated);
        }
        let record = verdict_of(&name, &series.samples, self.options.limit);
        if self.leak.is_none() && self.options.fail_on_leak.is_some_and(|asked| record.is_leak_at(asked)) {
            self.leak = Some((visible(told(&name)).into_owned(), record.confidence));
        }
        self.print(&record, &series.samples)
    }

    /// Several files: each fault is told when it is met. A single one is the failure of the run.
    fn refuse(&mut self, fault: String) {
        if self.options.files.len() > 1 {
            say(&fault);
        }
        self.bad_files += 1;
        self.fault = Some(fault);
    }

    fn print(&mut self, record: &VerdictRecord, samples: &Samples) -> Result<(), Failure> {
        let gap = if std::mem::take(&mut self.is_first) { "" } else { "\n" };
        self.printer.print(
            |look| format!("{gap}{}", render(record, samples, look)),
            || vec![Record::Verdict(record.clone())],
        )
    }

    /// Without a reader only the exit code is left to work for.
    const fn is_over(&self) -> bool {
        self.printer.is_closed() && self.options.fail_on_leak.is_none()
    }

    fn end(self) -> Result<(), Failure> {
        match (self.fault, self.options.files.len(), self.leak) {
            (Some(_), files @ 2.., _) => {
                let message = format!("{} of {files} files could not be judged, see above", self.bad_files);
                Err(Failure::new(ExitCode::Usage, message))
            }
            (Some(fault), _, _) => Err(Failure::new(ExitCode::Usage, fault)),
            (None, _, Some((name, confidence))) => {
                let message = format!("{name} is a leak, with confidence {confidence}");
                Err(Failure::new(ExitCode::LeakFound, message))
            }
            (None, _, None) => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<SeriesFile, SeriesError> {
    if path.as_os_str() == STDIN {
        return read_series(io::stdin().lock());
    }
    let file = File::open(path).map_err(Fault::Io)?;
    read_series(BufReader::with_capacity(BUFFER, file))
}

/// The name as messages tell it.
fn told(name: &str) -> &str {
    if name == STDIN { "standard input" } else { name }
}

fn warn_of_repeated(name: &str, repeated: Repeated) {
    let (name, Repeated { rows, first_line }) = (visible(told(name)), repeated);
    let rows = if rows == 1 { "1 row repeats".to_owned() } else { format!("{rows} rows repeat") };
    say(&format!(
        "warning: {name}:{first_line}: {rows} the time before, here first; the last value of a time counts"
    ));
}

/// A message on standard error. What cannot be said there cannot be said at all.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "leaktrace: {message}");
}
