//! The sampler of JavaScript call sites within a trace: what it tells, as facts.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::input::Fact;
use crate::{
    cli::TraceOptions,
    error::Failure,
    symbol::Frame,
    target::process::Process,
    v8::inspector::{self, JsEvent, JsFrame, Sampler, SamplingOptions},
};

/// The target's index: other processes are not sampled.
const TARGET: u16 = 0;

/// The sampler, and what it told so far.
pub(super) struct JsSites {
    /// The process that is sampled.
    pub(super) pid: u32,
    sampler: Sampler,
    events: UnboundedReceiver<JsEvent>,
}

impl JsSites {
    /// Opens the inspector of the process and begins to sample; the error says why that is refused.
    pub(super) fn start(process: &Process, options: &TraceOptions) -> Result<Self, Failure> {
        let pid = process.pid;
        let sampling =
            SamplingOptions { interval_bytes: options.tuning.js_interval, every: options.capture.interval };
        let (tell, events) = unbounded_channel();
        let sampler = inspector::open(process).and_then(|inspector| {
            // Nobody listens any more once the trace has ended.
            Sampler::start(inspector, sampling, move |event| drop(tell.send(event)))
        });
        let sampler = sampler.map_err(|error| error.into_failure(pid))?;
        Ok(Self { pid, sampler, events })
    }

    /// What it tells next.
    pub(super) async fn next(&mut self) -> Option<JsEvent> {
        match self.events.recv().await {
            Some(event) => Some(event),
            None => std::future::pending().await,
        }
    }

    /// Stops it, and closes the inspector if we opened it.
    pub(super) fn stop(&mut self) {
        self.sampler.stop();
    }

    /// What it told and nobody has taken.
    pub(super) fn left(&mut self) -> Option<JsEvent> {
        self.events.try_recv().ok()
    }
}

/// What the sampler saw as a fact of the trace, or code and sentence of a notice.
pub(super) fn fact(event: JsEvent, t: f64) -> Result<Fact, (&'static str, String)> {
    Ok(match event {
        JsEvent::Stack { isolate, stack, frames, culprit } => {
            let frames = frames.into_iter().map(frame).collect();
            Fact::JsStack { process: TARGET, isolate, stack, t, frames, culprit }
        }
        JsEvent::Samples { isolate, born, gone } => {
            let born = born.into_iter().map(|sample| (sample.ordinal, sample.stack, sample.size)).collect();
            Fact::JsSamples { process: TARGET, isolate, t, born, gone }
        }
        JsEvent::IsolateEnded { isolate } => Fact::JsIsolateEnded { process: TARGET, isolate, t },
        JsEvent::Notice { code, message } => return Err((code, message)),
    })
}

fn frame(of: JsFrame) -> Frame {
    let text = |text: String| (!text.is_empty()).then_some(text);
    Frame {
        function: text(of.function),
        module: None,
        file: text(of.file),
        line: of.line,
        column: of.column,
        address: String::new(),
        offset: None,
        inlined: false,
    }
}
