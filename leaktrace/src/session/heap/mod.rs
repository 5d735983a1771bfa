//! `leaktrace heap`: heap snapshots of V8, one or several over time.

mod input;
mod printer;

use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use self::input::STDIN;
use super::printer::Printer;
use crate::{
    cli::{GeneralOptions, HeapOptions},
    error::{ExitCode, Failure},
    output::{
        escape::visible,
        heap_record::{HeapConstructor, HeapGrowth, HeapObject, HeapSnapshot, Origin},
        heap_text::cause,
    },
    v8::snapshot::{Analysis, Comparison, GrowthLimits, History, SnapshotError, analyse, read},
};

/// Columns of text that goes to no terminal.
const COLUMNS: u16 = 100;
/// Less growth is told only on request: V8 itself moves so much while a program runs.
const MIN_GROWTH: u64 = 16 << 10;
const MIN_SHARE: f64 = 0.005;

/// Reads the files that the command line names.
pub(super) fn run(options: &HeapOptions, general: &GeneralOptions) -> Result<(), Failure> {
    check(options)?;
    let mut run =
        Run { options, printer: Printer::open(options.format, general, COLUMNS), first_modified: None };
    let growths = run.files()?;
    match growths {
        Some(growth) if options.fail_on_growth => Err(Failure::new(ExitCode::LeakFound, growth)),
        _ => Ok(()),
    }
}

fn check(options: &HeapOptions) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::new(ExitCode::Usage, message));
    if options.files.iter().filter(|file| file.as_os_str() == STDIN).count() > 1 {
        return usage("standard input can be read only once: name - once");
    }
    if options.fail_on_growth && options.files.len() < 2 {
        return usage("growth needs two snapshots or more: name them, oldest first");
    }
    Ok(())
}

/// A run over the files.
struct Run<'a> {
    options: &'a HeapOptions,
    printer: Printer,
    first_modified: Option<SystemTime>,
}

impl Run<'_> {
    /// Goes through the files, of which one is in memory at a time. Returns what grew most, in words.
    fn files(&mut self) -> Result<Option<String>, Failure> {
        let options = self.options;
        let mut history: Option<History> = None;
        for (index, path) in options.files.iter().enumerate() {
            let file = path.to_string_lossy();
            let (analysis, t) = self.analyse(path)?;
            let origin = Origin { t, file: &file };
            self.printer.snapshot(&HeapSnapshot::new(origin, &analysis))?;
            let is_last = index + 1 == options.files.len();
            match history.take() {
                _ if is_last && options.retainers.is_some() => self.retainers(origin, &analysis)?,
                Some(history) if is_last => {
                    let limits = self.limits();
                    return self.comparison(origin, &history.compare(&analysis, limits));
                }
                None if is_last => self.single(origin, &analysis)?,
                Some(mut known) => {
                    known.advance(&analysis);
                    history = Some(known);
                }
                None => history = Some(History::begin(&analysis)),
            }
        }
        Ok(None)
    }

    fn limits(&self) -> GrowthLimits {
        let (min_bytes, min_share) =
            self.options.min_growth.map_or((MIN_GROWTH, MIN_SHARE), |size| (size, 0.0));
        GrowthLimits { min_bytes, min_share, top: self.options.top }
    }

    /// Reads a file, and tells how many seconds after the first it was written.
    fn analyse(&mut self, path: &Path) -> Result<(Analysis, f64), Failure> {
        let name = path.to_string_lossy();
        let opened = input::open(path).map_err(|error| refusal(&name, &SnapshotError::Io(error)))?;
        let first = *self.first_modified.get_or_insert(opened.modified.unwrap_or(SystemTime::UNIX_EPOCH));
        let since = opened.modified.filter(|_| first != SystemTime::UNIX_EPOCH);
        let t =
            since.and_then(|modified| modified.duration_since(first).ok()).map_or(0.0, |t| t.as_secs_f64());
        let graph = read(opened.bytes).map_err(|error| refusal(&name, &error))?;
        Ok((analyse(graph), t))
    }

    fn single(&mut self, origin: Origin<'_>, analysis: &Analysis) -> Result<(), Failure> {
        let classes = analysis.classes();
        let records = classes.iter().take(self.options.top).map(|class| HeapConstructor::new(origin, class));
        self.printer.constructors(&records.collect::<Vec<_>>())
    }

    fn comparison(&mut self, origin: Origin<'_>, comparison: &Comparison) -> Result<Option<String>, Failure> {
        if comparison.is_out_of_order {
            say(
                "warning: the ids of a snapshot do not go on from those before it: name snapshots of one process, oldest first",
            );
        }
        let classes = comparison.classes.iter().take(self.options.top);
        let classes: Vec<_> = classes.map(|class| HeapConstructor::changed(origin, class)).collect();
        self.printer.constructors(&classes)?;
        let growths: Vec<_> =
            comparison.growths.iter().map(|growth| HeapGrowth::new(origin, growth)).collect();
        let most = growths.first().map(|growth| {
            let (kind, says) = (cause(growth.cause), visible(&growth.says).into_owned());
            format!("the heap grew, {kind}: {says}")
        });
        self.printer.growths(&growths, self.options.files.len())?;
        Ok(most)
    }

    /// What the command line asks for: an object by its id, or the largest of a constructor.
    fn retainers(&mut self, origin: Origin<'_>, analysis: &Analysis) -> Result<(), Failure> {
        let wanted = self.options.retainers.as_deref().unwrap_or_default();
        let nodes = match wanted.strip_prefix('@').map(str::parse) {
            Some(Ok(id)) => analysis.node_with_id(id).into_iter().collect(),
            _ => analysis.largest_of(wanted, self.options.top),
        };
        if nodes.is_empty() {
            let (wanted, file) = (visible(wanted), visible(told(origin.file)));
            let message = format!(
                "{file} has no object {wanted}: name a constructor that it has, or an id such as @1234"
            );
            return Err(Failure::new(ExitCode::Usage, message));
        }
        nodes.into_iter().try_for_each(|node| self.printer.object(&HeapObject::new(origin, analysis, node)))
    }
}

fn refusal(name: &str, error: &SnapshotError) -> Failure {
    let name = visible(told(name)).into_owned();
    let message = match error {
        SnapshotError::Malformed { .. } => format!("{name}: {error}; take the snapshot again"),
        SnapshotError::Io(_) => format!("{name}: {error}"),
    };
    Failure::new(ExitCode::Usage, message)
}

/// The name as messages tell it.
fn told(name: &str) -> &str {
    if name == STDIN { "standard input" } else { name }
}

/// A message on standard error. What cannot be said there cannot be said at all.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "leaktrace: {message}");
}
