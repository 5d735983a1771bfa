//! The recording's own thread: compressing and writing never delays the events.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

use super::input::{Fact, Input};
use crate::{
    error::{ExitCode, Failure},
    trace_file::{Writer, Written},
};

/// As many inputs may wait for a slow disk: batches of events are at most some 256 KiB.
const QUEUE: usize = 256;

/// Keeps the inputs of a trace in a file.
pub(super) struct Recorder {
    queue: SyncSender<Input>,
    thread: JoinHandle<Result<(), Failure>>,
    /// Set by the thread when the file takes no more.
    full: Arc<AtomicBool>,
    stopped: bool,
    /// Inputs were left out that the thread knows nothing of.
    has_gap: bool,
}

impl Recorder {
    /// Creates the file and starts the thread.
    pub(super) fn create(path: &Path, limit: u64) -> Result<Self, Failure> {
        let writer = Writer::create(path, limit)?;
        let (queue, inputs) = sync_channel(QUEUE);
        let name = path.display().to_string();
        let full = Arc::new(AtomicBool::new(false));
        let is_full = Arc::clone(&full);
        let thread = Builder::new()
            .name("recording".to_owned())
            .spawn(move || write(writer, &inputs, &is_full, &name))
            .map_err(|error| {
                Failure::new(ExitCode::Internal, format!("could not start a thread: {error}"))
            })?;
        Ok(Self { queue, thread, full, stopped: false, has_gap: false })
    }

    /// Keeps one input. Says why, once, where the recording cannot go on: the trace does, and a gap in the middle of
    /// a recording would make everything after it wrong.
    pub(super) fn keep(&mut self, input: Input) -> Option<&'static str> {
        if self.stopped {
            return None;
        }
        if self.full.load(Ordering::Relaxed) {
            self.stopped = true;
            return Some(
                "the recording ends here, at its size limit or a write error; up to here it can be replayed",
            );
        }
        match self.queue.try_send(input) {
            Ok(()) => None,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                (self.stopped, self.has_gap) = (true, true);
                Some(
                    "the recording ends here: the disk is slower than the events; up to here it can be replayed",
                )
            }
        }
    }

    /// Keeps the last input, for which there is always room, and waits until everything is written.
    ///
    /// Where a slow disk left a gap, the recording has no end: figures of the end behind it would not fit together.
    pub(super) fn finish(self, last: Input) -> Result<(), Failure> {
        if !self.has_gap {
            // The thread takes everything until the queue is closed, so this waits but does not fail.
            let _ = self.queue.send(last);
        }
        drop(self.queue);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write(mut writer: Writer, inputs: &Receiver<Input>, full: &AtomicBool, name: &str) -> Result<(), Failure> {
    let mut result = Ok(());
    let mut last = None;
    for input in inputs {
        if matches!(input, Input::Fact(Fact::End { .. })) {
            last = Some(input);
        } else if result.is_ok() {
            result = keep(&mut writer, &input).map(|kept| full.store(!kept, Ordering::Relaxed));
            if result.is_err() {
                full.store(true, Ordering::Relaxed);
            }
        }
    }
    let last = last.as_ref().and_then(|input| input.to_frame().ok());
    let finished = writer.finish(last.as_ref().map(|(kind, payload)| (*kind, payload.as_ref())));
    result.and(finished).map_err(|error| {
        let message =
            format!("could not write the recording {name}: {error}; free some space or choose another disk");
        Failure::new(ExitCode::OutputFailed, message)
    })
}

/// Writes one input; `false` once the size limit is reached.
fn keep(writer: &mut Writer, input: &Input) -> std::io::Result<bool> {
    let (kind, payload) = input.to_frame()?;
    let mut written = writer.frame(kind, &payload)?;
    // A crash loses no more than the time since the last tick.
    if matches!(input, Input::Fact(Fact::Tick(_))) && written == Written::Kept {
        written = writer.flush()?;
    }
    Ok(written == Written::Kept)
}
