//! `leaktrace replay`: a recording through the same pipeline as the run that wrote it.

use std::{thread::sleep, time::Duration};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    engine::dump_live,
    input::{Fact, Input, Tick},
    pipeline::Pipeline,
    ranking::View,
    sinks::{self, Wish},
};
use crate::{
    cli::{GeneralOptions, ReplayOptions},
    error::{ExitCode, Failure},
    heap::Limits,
    output::{
        record::{EndReason, Level, Record},
        thread::OutputThread,
    },
    trace_file::Reader,
};

/// Replays as the command line asks.
pub(super) fn run(options: &ReplayOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let mut reader = Reader::open(&options.file)?;
    let name = options.file.display().to_string();
    let damaged = |error: &dyn std::fmt::Display| {
        Failure::new(ExitCode::OutputFailed, format!("could not replay {name}: {error}"))
    };
    let (wishes, wanted) = unbounded_channel();
    let mut replay = Replay {
        pipeline: Pipeline::new(
            View { top: options.view.top, sort: options.view.sort, older_than: options.view.older_than },
            Limits::default(),
        ),
        output: Some(sinks::open(&options.view, general, wishes)?),
        wanted,
        // People watch at the pace of the run; programs read as fast as they can.
        paced: sinks::is_live_view(&options.view),
        t: 0.0,
        last: None,
        records: Vec::new(),
    };
    let mut read = Ok(());
    loop {
        let frame = match reader.next() {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(error) => {
                read = Err(damaged(&error));
                break;
            }
        };
        match Input::from_frame(frame.0, frame.1) {
            Ok(Some(input)) => {
                if !replay.take(&input) {
                    break;
                }
            }
            Ok(None) => {}
            Err(error) => {
                read = Err(damaged(&format_args!("a part of it cannot be read ({error})")));
                break;
            }
        }
    }
    replay.finish(options, read)
}

struct Replay {
    pipeline: Pipeline,
    output: Option<OutputThread>,
    wanted: UnboundedReceiver<Wish>,
    paced: bool,
    t: f64,
    last: Option<Record>,
    records: Vec<Record>,
}

impl Replay {
    /// Takes one input; `false` when nothing more is wanted.
    fn take(&mut self, input: &Input) -> bool {
        if let Input::Fact(Fact::Tick(tick)) = input {
            self.pause_until(tick.t);
        }
        while let Ok(wish) = self.wanted.try_recv() {
            match wish {
                Wish::End => return false,
                Wish::Sort(sort) => self.pipeline.sort_by(sort),
            }
        }
        self.pipeline.step(input, &mut self.records);
        if matches!(input, Input::Fact(Fact::End { .. })) {
            self.last = self.records.pop();
        }
        self.send_records();
        true
    }

    fn send_records(&mut self) {
        let Some(output) = &mut self.output else { return };
        for record in self.records.drain(..) {
            output.send_waiting(record);
        }
    }

    fn pause_until(&mut self, t: f64) {
        // A recording is input like any other: a time that is no time must not make us wait for ever.
        let pause = (t - self.t).clamp(0.0, 60.0);
        self.t = t;
        if self.paced && pause > 0.0 {
            sleep(Duration::from_secs_f64(pause));
        }
    }

    fn finish(mut self, options: &ReplayOptions, read: Result<(), Failure>) -> Result<(), Failure> {
        if self.last.is_none() {
            // The run that wrote it was killed, or the file is damaged: what is there is summed up.
            let message = "the recording has no end: the run that wrote it was cut off; this is what came before";
            self.records.push(self.pipeline.notice(Level::Warning, "recording_cut", message));
            let tick = Tick { t: self.t, ..self.pipeline.last_tick() };
            let reason = EndReason::RecordingCut;
            let end = Fact::End { tick, reason, own_cpu_s: 0.0, own_peak_rss_bytes: 0 };
            self.pipeline.step(&Input::Fact(end), &mut self.records);
            self.last = self.records.pop();
            self.send_records();
        }
        let dumped = options.view.dump_live.as_ref().map_or(Ok(()), |path| dump_live(&self.pipeline, path));
        if self.paced && self.last.is_some() {
            // The view stays until its reader has seen enough.
            self.wait_for_end();
        }
        let written = self.output.take().map_or(Ok(()), |output| output.finish(self.last.take()));
        written.or_else(|error| error.into_failure().map_or(Ok(()), Err))?;
        dumped?;
        read
    }

    fn wait_for_end(&mut self) {
        while let Some(wish) = self.wanted.blocking_recv() {
            if wish == Wish::End {
                return;
            }
        }
    }
}
