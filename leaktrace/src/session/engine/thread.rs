//! The loop of the event thread.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
    time::{Instant, sleep},
};

use super::{Command, Happening, Parts, Told, code_ranges, dump_live, internal, naming::NAMES_EVERY};
use crate::{
    cli::StackOptions,
    error::Failure,
    event::{Event, Ring},
    heap::Limits,
    output::{
        record::{Level, Record},
        thread::OutputThread,
    },
    session::{
        backoff::Backoff,
        copies::Copies,
        fail_on_leak,
        input::{Fact, Input},
        pipeline::Pipeline,
        recorder::Recorder,
        stacks,
    },
    symbol::{QUEUE_LIMIT, Symbolizer},
    target::{maps, v8::Hook},
};

/// The ring is looked at this often while events come, and this seldom while none do. The kernel wakes us by itself
/// for a large batch, and for the life of processes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// So many batches are taken before commands are looked at again.
const BATCHES_AT_ONCE: usize = 16;
/// Where looking for code brings nothing, it becomes as rare as this.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// So many heaps of V8 are told of.
const MAX_HEAPS: usize = 4096;

/// A process, as far as the event thread looks at it itself.
pub(super) struct Watched {
    pub(super) pid: u32,
    /// Raised whenever its addresses may mean something else.
    pub(super) generation: u32,
    /// When its maps may be read again for an address that is no known code.
    pub(super) look: Backoff,
}

pub(super) struct EventThread {
    pub(super) commands: UnboundedReceiver<Command>,
    /// Commands that wait until the events before them have been read.
    pub(super) held_back: VecDeque<Command>,
    pub(super) ring: Ring,
    pub(super) copies: Copies,
    pub(super) pipeline: Pipeline,
    pub(super) output: OutputThread,
    pub(super) recorder: Option<Recorder>,
    pub(super) fail_on_leak: Option<f64>,
    pub(super) stacks: StackOptions,
    pub(super) happenings: UnboundedSender<Happening>,
    pub(super) symbolizer: Symbolizer,
    /// Sites that are not shown, whose names were asked for.
    pub(super) quiet: HashSet<u32>,
    pub(super) processes: HashMap<u16, Watched>,
    /// Heaps of V8 that were told of.
    pub(super) heaps: HashSet<(u16, u64)>,
    pub(super) records: Vec<Record>,
    pub(super) pause: Duration,
    pub(super) names_due: Instant,
    /// For whoever keeps what tracing takes within bounds.
    pub(super) told: Arc<Told>,
}

impl EventThread {
    /// The thread's work with all that takes part in it; what must be known first is taken at once.
    pub(super) fn new(
        parts: Parts,
        ring: Ring,
        commands: UnboundedReceiver<Command>,
        symbolizer: Symbolizer,
        told: Arc<Told>,
    ) -> Self {
        let mut thread = Self {
            commands,
            held_back: VecDeque::new(),
            ring,
            copies: parts.copies,
            pipeline: Pipeline::new(parts.view, Limits::default()),
            output: parts.output,
            recorder: parts.recorder,
            fail_on_leak: parts.fail_on_leak,
            stacks: parts.stacks,
            happenings: parts.happenings,
            symbolizer,
            quiet: HashSet::new(),
            processes: HashMap::new(),
            heaps: HashSet::new(),
            records: Vec::new(),
            pause: PAUSE.0,
            names_due: Instant::now() + NAMES_EVERY / 2,
            told,
        };
        for fact in parts.first {
            thread.fact(fact);
        }
        thread
    }

    pub(super) async fn run(mut self) -> Result<(), Failure> {
        loop {
            while let Some(command) = self.held_back.pop_front() {
                match command {
                    Command::Fact(fact) => self.fact(*fact),
                    Command::Copies(process, copies) => self.copies.are_made(process, copies),
                    Command::Sort(sort) => self.pipeline.sort_by(sort),
                    Command::Held(most) => {
                        let held = self.pipeline.live_addresses(most);
                        // The supervisor is gone only when the trace ends.
                        let _ = self.happenings.send(Happening::Held(held));
                    }
                    Command::Finish(end, dump, all_read) => {
                        self.read_up_to(&end);
                        drop(all_read);
                        return self.finish(*end, dump).await;
                    }
                }
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.held_back.push_back(command),
                    None => return Ok(()),
                },
                ready = self.ring.readable() => {
                    ready.map_err(|error| internal("wait for the ring buffer", &error))?;
                    self.drain(Until::Batches(BATCHES_AT_ONCE));
                }
                () = sleep(self.pause) => self.drain(Until::Batches(BATCHES_AT_ONCE)),
            }
            self.ask_for_names();
        }
    }

    fn fact(&mut self, mut fact: Fact) {
        if let Some(t) = older_events_until(&fact) {
            self.drain(Until::Time(self.pipeline.at_ns(t)));
        }
        match &mut fact {
            Fact::Process { process, pid, .. } => {
                let look = Backoff::new(2 * PAUSE.1, LONGEST_LOOK);
                let watched = Watched { pid: *pid, generation: 0, look };
                self.processes.insert(*process, watched);
                self.copies.begin(*process, *pid);
            }
            // JIT compilers add code without telling, which walks stop at until then.
            Fact::Tick(_) => {
                self.copies.look_at_all();
            }
            Fact::Gone { process, .. } => {
                // Its maps were read when its first names were asked for; nobody asks for it from now on.
                self.ask_for_all_names(*process, QUEUE_LIMIT);
                self.processes.remove(process);
                self.copies.end(*process);
            }
            Fact::Symbols { site, quiet, .. } => *quiet = self.quiet.remove(site),
            Fact::Code { process, .. } => {
                self.copies.look(*process);
                if let Some(watched) = self.processes.get_mut(process) {
                    watched.generation += 1;
                }
            }
            _ => {}
        }
        let is_away = match fact {
            Fact::LookAway { .. } => Some(true),
            Fact::LookAgain { .. } => Some(false),
            _ => None,
        };
        self.step(Input::Fact(fact));
        if let Some(is_away) = is_away {
            self.told.is_away.store(is_away, Ordering::Release);
        }
    }

    /// Takes what waits in the ring. A target that never rests must not keep us here for ever.
    fn drain(&mut self, until: Until) {
        self.copies.settle();
        let mut rare = Vec::new();
        let mut records = 0;
        let mut batches = 0;
        while !until.is_reached(batches, self.ring.newest_ns()) {
            let copies = &mut self.copies;
            let unwind = |record: &[u8]| copies.unwind(record);
            let Some(taken) = self.ring.take(unwind, |record| rare.push(record.to_vec())) else {
                break;
            };
            records += taken.records;
            // What came while this was taken is no reason to look again at once.
            batches += if taken.is_full { 1 } else { BATCHES_AT_ONCE };
            // A process is told of before its probes are placed: what was told by now is older than these records.
            self.take_facts();
            self.tell_code();
            for record in rare.drain(..) {
                if let Ok(event) = Event::decode(&record) {
                    self.look_at(&event);
                }
            }
            self.step(Input::Events(taken.batch));
        }
        self.told.note(&self.pipeline);
        let pause = if records > 0 { self.pause / 2 } else { self.pause * 2 };
        self.pause = pause.clamp(PAUSE.0, PAUSE.1);
    }

    /// Tells where code was found by whoever unwinds stacks: the stacks that come after rest on it.
    fn tell_code(&mut self) {
        for (process, ranges) in self.copies.take_changed() {
            if let Some(watched) = self.processes.get_mut(&process)
                && self.pipeline.code(process) != Some(ranges.as_slice())
            {
                watched.generation += 1;
                self.step(Input::Fact(Fact::Code { process, ranges }));
            }
        }
    }

    /// Takes the facts told so far; what wants older events to be read first is held back.
    pub(super) fn take_facts(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Fact(fact) if self.held_back.is_empty() && older_events_until(&fact).is_none() => {
                    self.fact(*fact);
                }
                Command::Copies(process, copies) if self.held_back.is_empty() => {
                    self.copies.are_made(process, copies);
                }
                command => self.held_back.push_back(command),
            }
        }
    }

    /// Sees to what an event asks for before the pipeline takes it.
    fn look_at(&mut self, event: &Event<'_>) {
        let process = event.header().process;
        let happening = match event {
            Event::Stack { frames, .. } | Event::MappingStack { frames, .. } => {
                if frames.iter().any(|address| !self.pipeline.knows_code(process, address)) {
                    self.refresh_code(process);
                }
                return;
            }
            Event::Exec { .. } => {
                self.copies.changes(process);
                self.heaps.retain(|(of, _)| *of != process);
                Happening::Exec(process)
            }
            Event::GcStep { header, object, .. } => {
                let is_heap = matches!(
                    Hook::of_function(header.function),
                    Some(Hook::Scavenge | Hook::MarkCompact | Hook::MinorMarkSweep)
                );
                if !is_heap || self.heaps.len() >= MAX_HEAPS || !self.heaps.insert((process, *object)) {
                    return;
                }
                Happening::Heap(process, *object)
            }
            Event::ObjectsChanged { .. } => {
                self.copies.changes(process);
                Happening::ObjectsChanged(process)
            }
            Event::Fork { .. } => Happening::Fork,
            _ => return,
        };
        // The supervisor is gone only when the trace ends.
        let _ = self.happenings.send(happening);
    }

    /// Reads where a process has code: JIT compilers and dlopen add some without telling. A stack may also hold words
    /// that never were code, so looking again and again becomes rarer while it brings nothing.
    fn refresh_code(&mut self, process: u16) {
        let Some(watched) = self.processes.get_mut(&process) else { return };
        if !watched.look.is_due() {
            return;
        }
        let Ok(maps) = maps::read(watched.pid) else { return };
        let ranges = code_ranges(&maps);
        if self.pipeline.code(process) != Some(ranges.as_slice()) {
            watched.look.found(2 * PAUSE.0);
            watched.generation += 1;
            self.step(Input::Fact(Fact::Code { process, ranges }));
        }
    }

    fn step(&mut self, input: Input) {
        self.pipeline.step(&input, &mut self.records);
        if let Some(recorder) = &mut self.recorder
            && let Some(stopped) = recorder.keep(input)
        {
            self.records.push(self.pipeline.notice(Level::Warning, "recording_stopped", stopped));
        }
        for record in self.records.drain(..) {
            self.output.send(record);
        }
    }

    fn read_up_to(&mut self, end: &Fact) {
        if let Fact::End { tick, .. } = end {
            self.drain(Until::Time(self.pipeline.at_ns(tick.t)));
            self.pipeline.advance(tick.t);
        }
    }

    /// The end, once all events are read: the names still missing, the summary, the live blocks, the call sites.
    async fn finish(mut self, end: Fact, dump: Option<PathBuf>) -> Result<(), Failure> {
        self.wait_for_names().await;
        let end = Input::Fact(end);
        self.pipeline.step(&end, &mut self.records);
        // After the end is told, as a replay does it: ages are those at the end.
        let dumped = dump.map_or(Ok(()), |path| dump_live(&self.pipeline, &path));
        let drawn = stacks::write(&self.pipeline, &self.stacks);
        let judged = fail_on_leak::check(&self.pipeline, self.fail_on_leak);
        let recorded = self.recorder.take().map_or(Ok(()), |recorder| recorder.finish(end));
        let last = self.records.pop();
        for record in self.records.drain(..) {
            self.output.send(record);
        }
        let written = self.output.finish(last).map_err(crate::output::sink::SinkError::into_failure);
        dumped?;
        drawn?;
        recorded?;
        written.or_else(|failure| failure.map_or(Ok(()), Err))?;
        judged
    }
}

/// How far the ring is read.
#[derive(Clone, Copy, Debug)]
enum Until {
    /// At most so many batches.
    Batches(usize),
    /// Up to a record that is younger than this, nanoseconds on the kernel's monotonic clock.
    Time(u64),
}

impl Until {
    const fn is_reached(self, batches: usize, newest_ns: u64) -> bool {
        match self {
            Self::Batches(most) => batches >= most,
            Self::Time(ns) => newest_ns > ns,
        }
    }
}

/// The time, in seconds since attach, up to which the ring must be read before this is taken. It is the fact's own and
/// not the present: where the ring is full, the facts that wait would else wait for each other.
const fn older_events_until(fact: &Fact) -> Option<f64> {
    match fact {
        Fact::Tick(tick) | Fact::End { tick, .. } => Some(tick.t),
        Fact::Gone { t, .. }
        | Fact::BlocksBefore { t, .. }
        | Fact::Samples { t, .. }
        | Fact::LookAway { t }
        | Fact::LookAgain { t, .. } => Some(*t),
        _ => None,
    }
}
