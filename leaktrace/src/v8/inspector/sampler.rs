//! A sampler of the JavaScript heap on a thread of its own, and what it tells.

use std::{
    sync::mpsc::{SyncSender, sync_channel},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    error::InspectorError,
    opening::Inspector,
    sampling::Sampling,
    sites::{JsFrame, JsSample},
};

/// Profiles nest a few frames of ours for each frame of theirs.
const STACK: usize = 32 << 20;

/// How the heap is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingOptions {
    /// About one allocation in so many bytes is noted.
    pub interval_bytes: u64,
    /// Time from one look to the next, if looks are cheap.
    pub every: Duration,
}

/// What a sampler tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsEvent {
    /// A stack that samples will name.
    Stack {
        /// Number of the isolate: 0 is the main thread.
        isolate: u32,
        /// Number of the stack within it.
        stack: u32,
        /// Innermost first.
        frames: Vec<JsFrame>,
        /// The innermost frame of the program itself.
        culprit: Option<usize>,
    },
    /// A look at an isolate.
    Samples {
        /// Number of the isolate.
        isolate: u32,
        /// Objects that are new since the look before.
        born: Vec<JsSample>,
        /// Ordinals of those that were collected.
        gone: Vec<u64>,
    },
    /// An isolate has ended with all that it held.
    IsolateEnded {
        /// Number of the isolate.
        isolate: u32,
    },
    /// Something that the user should know.
    Notice {
        /// A stable name.
        code: &'static str,
        /// One sentence.
        message: String,
    },
}

/// A sampler at work. Dropping it stops it and closes the inspector, if we opened it.
#[derive(Debug)]
pub struct Sampler {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Sampler {
    /// Begins to sample, and comes back once it does. What is seen goes to `tell`, on the sampler's thread.
    pub fn start(
        inspector: Inspector,
        options: SamplingOptions,
        tell: impl FnMut(JsEvent) + Send + 'static,
    ) -> Result<Self, InspectorError> {
        let (stop, stopped) = oneshot::channel();
        let (started, has_started) = sync_channel(1);
        let thread = Builder::new().name("inspector".to_owned()).stack_size(STACK).spawn(move || {
            run(inspector, options, Box::new(tell), stopped, &started);
        })?;
        // The thread only ends without a word when it panics; then joining tells.
        match has_started.recv() {
            Ok(Ok(())) => Ok(Self { stop: Some(stop), thread: Some(thread) }),
            Ok(Err(error)) => Err(error),
            Err(_) => match thread.join() {
                Ok(()) => Err(InspectorError::Closed),
                Err(panic) => std::panic::resume_unwind(panic),
            },
        }
    }

    /// Stops, closes the inspector if we opened it, and waits until that is done.
    pub fn stop(&mut self) {
        // A sampler that ended by itself listens no more.
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Who is told.
pub(super) type Tell = Box<dyn FnMut(JsEvent) + Send>;

fn run(
    inspector: Inspector,
    options: SamplingOptions,
    tell: Tell,
    stopped: oneshot::Receiver<()>,
    started: &SyncSender<Result<(), InspectorError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(started.send(Err(error.into()))),
    };
    runtime.block_on(async {
        match Sampling::begin(inspector, options, tell).await {
            Ok(sampling) => {
                let _ = started.send(Ok(()));
                sampling.until(stopped).await;
            }
            Err(error) => drop(started.send(Err(error))),
        }
    });
}
