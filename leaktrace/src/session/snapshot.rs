//! `leaktrace snapshot`: says what it costs, checks that memory suffices, asks, and takes a heap snapshot.

mod cost;
mod file;

use std::{
    io::{self, BufRead as _, BufWriter, IsTerminal as _, Write as _},
    path::PathBuf,
    thread,
    time::Duration,
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};

use self::{cost::Cost, file::Partial};
use super::clock::wall_time;
use crate::{
    cli::SnapshotOptions,
    error::{ExitCode, Failure},
    output::{escape::visible, text},
    target::process::Process,
    v8::inspector::{self, Inspector, InspectorError, Progress, Taken, take_snapshot},
};

/// Takes a snapshot as the command line asks.
pub(super) fn run(options: &SnapshotOptions) -> Result<(), Failure> {
    let process = Process::open(options.pid)?;
    let cost = Cost::of(process.pid).map_err(|error| super::safety::gone(process.pid, &error))?;
    say(&format!("process {} ({}): {cost}", process.pid, visible(&process.comm)));
    if let Some(why) = cost.is_too_high().filter(|_| !options.force) {
        let message = format!(
            "refused to take a snapshot of process {}: {why}; --force takes it all the same",
            process.pid
        );
        return Err(Failure::new(ExitCode::RefusedForSafety, message));
    }
    ask(options)?;
    let path = options.output.clone().unwrap_or_else(|| default_path(&process));
    let partial = Partial::create(path)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(ExitCode::Internal, format!("could not start the event loop: {error}"))
    })?;
    runtime.block_on(take(&process, partial))
}

/// Goes on only where somebody said so.
fn ask(options: &SnapshotOptions) -> Result<(), Failure> {
    if options.yes {
        return Ok(());
    }
    let refused = |message: &str| Err(Failure::new(ExitCode::RefusedForSafety, message));
    if !io::stdin().is_terminal() {
        return refused("refused to stop the process for a snapshot without being sure: give --yes");
    }
    let mut err = io::stderr();
    let _ = write!(err, "Take it? [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    match (read, answer.trim()) {
        (Ok(_), "y" | "Y" | "yes") => Ok(()),
        _ => refused("no snapshot was taken, as you wished"),
    }
}

/// `node-1234-20261124T061500Z.heapsnapshot`; the name of the process is its own choice, and no path.
fn default_path(process: &Process) -> PathBuf {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name: String = process.comm.chars().filter(is_plain).collect();
    let name = if name.is_empty() { "node" } else { &name };
    let time: String = wall_time().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    PathBuf::from(format!("{name}-{}-{time}.heapsnapshot", process.pid))
}

async fn take(process: &Process, partial: Partial) -> Result<(), Failure> {
    let pid = process.pid;
    // From here on a signal must not end us before the inspector is closed again.
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::new(ExitCode::Internal, format!("could not listen for signals: {error}"))
        })
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let ended = async {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    };
    let inspector = inspector::open(process).map_err(|error| error.into_failure(pid))?;
    let bar = bar();
    let mut out = BufWriter::with_capacity(1 << 20, partial.file());
    let taken = take_snapshot(&inspector, &mut out, |progress| show(&bar, progress), ended).await;
    bar.finish_and_clear();
    drop(out);
    tell_open(&inspector, &taken);
    match taken.result {
        Ok(bytes) => {
            let path = partial.keep()?;
            say(&format!("wrote {} ({})", path.display(), text::bytes(bytes)));
            // What a script wants to know.
            let _ = writeln!(io::stdout(), "{}", path.display());
            Ok(())
        }
        Err(error) => Err(failed(process, error, partial)),
    }
}

/// Why there is no snapshot; what there is of it is removed.
fn failed(process: &Process, error: InspectorError, partial: Partial) -> Failure {
    let error = match error {
        InspectorError::Closed if ends(process) => InspectorError::Gone,
        other => other,
    };
    let what = match &error {
        InspectorError::Output(_) => "could not write the snapshot",
        _ => "the snapshot is not complete and was removed",
    };
    drop(partial);
    let failure = error.into_failure(process.pid);
    Failure::new(failure.code, format!("{what}: {}", failure.message))
}

/// Whether a process that has closed the connection is on its way out: the kernel closes its files a moment before it is
/// gone.
fn ends(process: &Process) -> bool {
    const LOOKS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(10);
    (0..LOOKS).any(|look| {
        if look > 0 {
            thread::sleep(PAUSE);
        }
        !process.is_alive()
    })
}

fn tell_open(inspector: &Inspector, taken: &Taken) {
    if let Some(why) = &taken.left_open {
        say(&format!(
            "the inspector that was opened at {} stays open: {why}; process._debugEnd() in the process closes it",
            inspector.address
        ));
    }
}

fn bar() -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {bar:40} {percent}% {elapsed}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message("collecting garbage");
    bar
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Walking { done, total } => {
            bar.set_message("walking the heap");
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
        Progress::Written(bytes) => {
            if bar.length().is_some()
                && let Ok(style) = ProgressStyle::with_template("{msg} {elapsed}")
            {
                bar.unset_length();
                bar.set_style(style);
            }
            bar.set_message(format!("writing: {}", HumanBytes(bytes)));
        }
    }
}

/// Messages go to standard error, and nobody is hurt where that is closed.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "leaktrace: {message}");
}
