//! `leaktrace replay`: a recording through the same pipeline as the run that wrote it.

use std::{io::Read, path::Path, thread::sleep, time::Duration};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{
    engine::dump_live,
    fail_on_leak,
    input::{Fact, Input, Tick},
    pipeline::Pipeline,
    ranking::View,
    sinks::{self, Wish},
    stacks,
};
use crate::{
    cli::{GeneralOptions, ReplayOptions, StackOptions},
    error::{ExitCode, Failure},
    heap::Limits,
    output::{
        record::{EndReason, Level, Record},
        thread::OutputThread,
    },
    trace_file::{Ending, Reader},
};

/// Replays as the command line asks.
pub(super) fn run(options: &ReplayOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let mut reader = Reader::open(&options.file)?;
    stacks::create(&options.view.stacks, Some(&options.file))?;
    let (wishes, wanted) = unbounded_channel();
    let output = sinks::open(&options.view, general, wishes)?;
    let view = View { top: options.view.top, sort: options.view.sort, older_than: options.view.older_than };
    // People watch at the pace of the run; programs read as fast as they can.
    let mut replay = Replay::new(view, output, wanted, sinks::is_live_view(&options.view));
    let played = replay.play(&mut reader);
    let played = played.map_err(|error| {
        let message = format!("could not replay {}: {error}", options.file.display());
        Failure::new(ExitCode::OutputFailed, message)
    });
    let (dump, stacks) = (options.view.dump_live.as_deref(), &options.view.stacks);
    replay.finish(dump, stacks, options.verdicts.fail_on_leak, played)
}

/// A recording being replayed.
pub(super) struct Replay {
    pipeline: Pipeline,
    output: OutputThread,
    wanted: UnboundedReceiver<Wish>,
    paced: bool,
    t: f64,
    last: Option<Record>,
    records: Vec<Record>,
}

impl Replay {
    /// A replay of which nothing was read yet.
    pub(super) fn new(
        view: View,
        output: OutputThread,
        wanted: UnboundedReceiver<Wish>,
        paced: bool,
    ) -> Self {
        let pipeline = Pipeline::new(view, Limits::default());
        Self { pipeline, output, wanted, paced, t: 0.0, last: None, records: Vec::new() }
    }

    /// Plays the recording to its end, to where it is damaged, or until nothing more is wanted.
    pub(super) fn play<R: Read>(&mut self, reader: &mut Reader<R>) -> Result<(), String> {
        while let Some((kind, payload)) = reader.next().map_err(|error| error.to_string())? {
            let input = Input::from_frame(kind, payload);
            let input = input.map_err(|error| format!("a part of it cannot be read ({error})"))?;
            if input.is_some_and(|input| !self.take(&input)) {
                return Ok(());
            }
        }
        if reader.ending() == Some(Ending::Full) {
            let message =
                "the recording reached its size limit before the run ended: what came later is not in it";
            self.notice("recording_full", message);
        }
        Ok(())
    }

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
        for record in self.records.drain(..) {
            self.output.send_waiting(record);
        }
    }

    fn notice(&mut self, code: &str, message: &str) {
        self.output.send_waiting(self.pipeline.notice(Level::Warning, code, message));
    }

    fn pause_until(&mut self, t: f64) {
        // A recording is input like any other: a time that is no time must not make us wait for ever.
        let pause = (t - self.t).clamp(0.0, 60.0);
        self.t = t;
        if self.paced && pause > 0.0 {
            sleep(Duration::from_secs_f64(pause));
        }
    }

    /// The end: the summary, the live blocks, the call sites, and until all is written.
    pub(super) fn finish(
        mut self,
        dump: Option<&Path>,
        stacks: &StackOptions,
        fail_on_leak: Option<f64>,
        played: Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.last.is_none() {
            // The run that wrote it was killed, or its disk too slow, or the file is damaged: what is there is summed up.
            let message = "the recording has no end: its run was killed, or the disk too slow; this is what came before";
            self.notice("recording_cut", message);
            let tick = Tick { t: self.t, ..self.pipeline.last_tick() };
            let reason = EndReason::RecordingCut;
            let end = Fact::End { tick, reason, own_cpu_s: 0.0, own_peak_rss_bytes: 0 };
            self.pipeline.step(&Input::Fact(end), &mut self.records);
            self.last = self.records.pop();
            self.send_records();
        }
        let dumped = dump.map_or(Ok(()), |path| dump_live(&self.pipeline, path));
        let drawn = stacks::write(&self.pipeline, stacks);
        if self.paced {
            // The view stays until its reader has seen enough.
            self.wait_for_end();
        }
        let written = self.output.finish(self.last.take());
        written.or_else(|error| error.into_failure().map_or(Ok(()), Err))?;
        dumped?;
        drawn?;
        played?;
        fail_on_leak::check(&self.pipeline, fail_on_leak)
    }

    fn wait_for_end(&mut self) {
        while let Some(wish) = self.wanted.blocking_recv() {
            if wish == Wish::End {
                return;
            }
        }
    }
}
