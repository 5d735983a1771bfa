//! The event thread: it empties the ring, feeds the pipeline, and hands on what comes out. Nothing that can take long
//! happens here: names are found, files written and terminals drawn on other threads.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::PathBuf,
    thread::{Builder, JoinHandle},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, sleep},
};

use super::{
    copies::Copies,
    fail_on_leak,
    input::{Fact, Input},
    pipeline::Pipeline,
    ranking::View,
    recorder::Recorder,
    stacks,
};
use crate::{
    cli::{Sort, StackOptions},
    error::{ExitCode, Failure},
    event::{Event, Ring},
    heap::{Block, Limits},
    output::{
        dump::{LiveBlock, write_live_blocks},
        record::{Level, Record, SiteKind},
        thread::OutputThread,
    },
    symbol::{Options as SymbolOptions, QUEUE_LIMIT, Request, Resolved, Symbolizer, culprit},
    target::{maps, v8::Hook},
};

/// The ring is looked at this often while events come, and this seldom while none do. The kernel wakes us by itself
/// for a large batch, and for the life of processes.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Names of new large sites are asked for this often.
const NAMES_EVERY: Duration = Duration::from_millis(200);
/// So many batches are taken before commands are looked at again.
const BATCHES_AT_ONCE: usize = 16;
/// So many heaps of V8 are told of.
const MAX_HEAPS: usize = 4096;
/// How long the end waits for names that were asked for.
const NAMES_AT_END: Duration = Duration::from_secs(3);
/// The same where a file is to tell of all call sites.
const ALL_NAMES_AT_END: Duration = Duration::from_secs(10);
/// Of call sites that nobody sees so many are asked for at once: those that are shown must not wait for long.
const UNSEEN_AT_ONCE: usize = 256;

/// What the supervisor must see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A process made a child or a thread.
    Fork,
    /// A process replaced its image.
    Exec(u16),
    /// The list of loaded objects changed.
    ObjectsChanged(u16),
    /// A heap of V8 that was not seen before, by its address.
    Heap(u16, u64),
}

/// What the supervisor tells the engine.
#[derive(Debug)]
enum Command {
    Fact(Box<Fact>),
    Sort(Sort),
    Finish(Box<Fact>, Option<PathBuf>),
}

/// What an engine is made of.
pub(super) struct Setup {
    pub(super) ring: RingBuf<MapData>,
    /// Where stacks are copied, what unwinds them.
    pub(super) copies: Option<Copies>,
    pub(super) view: View,
    pub(super) output: OutputThread,
    pub(super) recorder: Option<Recorder>,
    /// Fail at the end if a leak of this confidence stands.
    pub(super) fail_on_leak: Option<f64>,
    /// Files of call sites, written at the end: names of all of them are looked up meanwhile.
    pub(super) stacks: StackOptions,
    pub(super) happenings: UnboundedSender<Happening>,
    /// What must be known before the first event is read.
    pub(super) first: Vec<Fact>,
}

/// The supervisor's hold on the event thread.
pub(super) struct Engine {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Engine {
    /// Starts the event thread.
    pub(super) fn start(setup: Setup) -> Result<Self, Failure> {
        let (commands, receiver) = unbounded_channel();
        let names = commands.clone();
        let thread = Builder::new()
            .name("events".to_owned())
            .spawn(move || run(setup, receiver, names))
            .map_err(|error| internal("start the event thread", &error))?;
        Ok(Self { commands, thread })
    }

    /// Tells a fact. Facts and events reach the pipeline in the order of telling.
    pub(super) fn tell(&self, fact: Fact) {
        // The thread only ends before it is finished when it failed; `finish` tells.
        let _ = self.commands.send(Command::Fact(Box::new(fact)));
    }

    /// Ranks the sites by something else from the next tick on.
    pub(super) fn sort_by(&self, sort: Sort) {
        let _ = self.commands.send(Command::Sort(sort));
    }

    /// Tells the last fact, writes the live blocks where asked, and waits until all is out.
    pub(super) fn finish(self, end: Fact, dump: Option<PathBuf>) -> Result<(), Failure> {
        let _ = self.commands.send(Command::Finish(Box::new(end), dump));
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn internal(what: &str, error: &io::Error) -> Failure {
    Failure::new(ExitCode::Internal, format!("could not {what}: {error}"))
}

fn run(
    setup: Setup,
    commands: UnboundedReceiver<Command>,
    names: UnboundedSender<Command>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| internal("start the event loop", &error))?;
    let symbolizer = Symbolizer::start(SymbolOptions::default(), move |resolved| {
        let culprit = culprit(&resolved.frames);
        let Resolved { site, frames, .. } = resolved;
        let fact = Fact::Symbols { site, frames, culprit, quiet: false };
        // Names that come after the end have no reader.
        let _ = names.send(Command::Fact(Box::new(fact)));
    })
    .map_err(|error| internal("start the thread that finds names", &error))?;
    runtime.block_on(async move {
        let ring = Ring::new(setup.ring).map_err(|error| internal("read the ring buffer", &error))?;
        let mut thread = EventThread {
            commands,
            held_back: VecDeque::new(),
            ring,
            copies: setup.copies,
            pipeline: Pipeline::new(setup.view, Limits::default()),
            output: setup.output,
            recorder: setup.recorder,
            fail_on_leak: setup.fail_on_leak,
            stacks: setup.stacks,
            happenings: setup.happenings,
            symbolizer,
            quiet: HashSet::new(),
            processes: HashMap::new(),
            heaps: HashSet::new(),
            records: Vec::new(),
            pause: PAUSE.0,
            names_due: Instant::now() + NAMES_EVERY / 2,
        };
        for fact in setup.first {
            thread.fact(fact);
        }
        thread.run().await
    })
}

/// A process, as far as the event thread looks at it itself.
struct Watched {
    pid: u32,
    /// Raised whenever its addresses may mean something else.
    generation: u32,
    /// When its maps may be read again for an address that is no known code.
    maps_due: Instant,
    /// How long to wait then, if that brings nothing new.
    maps_pause: Duration,
}

struct EventThread {
    commands: UnboundedReceiver<Command>,
    /// Commands that wait until the events before them have been read.
    held_back: VecDeque<Command>,
    ring: Ring,
    copies: Option<Copies>,
    pipeline: Pipeline,
    output: OutputThread,
    recorder: Option<Recorder>,
    fail_on_leak: Option<f64>,
    stacks: StackOptions,
    happenings: UnboundedSender<Happening>,
    symbolizer: Symbolizer,
    /// Sites that are not shown, whose names were asked for.
    quiet: HashSet<u32>,
    processes: HashMap<u16, Watched>,
    /// Heaps of V8 that were told of.
    heaps: HashSet<(u16, u64)>,
    records: Vec<Record>,
    pause: Duration,
    names_due: Instant,
}

impl EventThread {
    async fn run(mut self) -> Result<(), Failure> {
        loop {
            while let Some(command) = self.held_back.pop_front() {
                match command {
                    Command::Fact(fact) => self.fact(*fact),
                    Command::Sort(sort) => self.pipeline.sort_by(sort),
                    Command::Finish(end, dump) => return self.finish(*end, dump).await,
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
                let now = Instant::now();
                let watched = Watched { pid: *pid, generation: 0, maps_due: now, maps_pause: PAUSE.1 };
                self.processes.insert(*process, watched);
                if let Some(copies) = &mut self.copies {
                    copies.begin(*process, *pid);
                }
            }
            // JIT compilers add code without telling, which walks stop at until then.
            Fact::Tick(_) => {
                if let Some(copies) = &mut self.copies {
                    copies.look_at_all();
                }
            }
            Fact::Gone { process, .. } => {
                // Its maps were read when its first names were asked for; nobody asks for it from now on.
                self.ask_for_all_names(*process, QUEUE_LIMIT);
                self.processes.remove(process);
                if let Some(copies) = &mut self.copies {
                    copies.end(*process);
                }
            }
            Fact::Symbols { site, quiet, .. } => *quiet = self.quiet.remove(site),
            Fact::Code { process, .. } => {
                if let Some(copies) = &mut self.copies {
                    copies.look(*process);
                }
                if let Some(watched) = self.processes.get_mut(process) {
                    watched.generation += 1;
                }
            }
            _ => {}
        }
        self.step(Input::Fact(fact));
    }

    /// Takes what waits in the ring. A target that never rests must not keep us here for ever.
    fn drain(&mut self, until: Until) {
        if let Some(copies) = &mut self.copies {
            copies.settle();
        }
        let mut rare = Vec::new();
        let mut records = 0;
        let mut batches = 0;
        while !until.is_reached(batches, self.ring.newest_ns()) {
            let copies = &mut self.copies;
            let unwind = |record: &[u8]| copies.as_mut()?.unwind(record);
            let Some((batch, count)) = self.ring.take(unwind, |record| rare.push(record.to_vec())) else {
                break;
            };
            records += count;
            batches += 1;
            // A process is told of before its probes are placed: what was told by now is older than these records.
            self.take_facts();
            for record in rare.drain(..) {
                if let Ok(event) = Event::decode(&record) {
                    self.look_at(&event);
                }
            }
            self.step(Input::Events(batch));
        }
        let pause = if records > 0 { self.pause / 2 } else { self.pause * 2 };
        self.pause = pause.clamp(PAUSE.0, PAUSE.1);
    }

    /// Takes the facts told so far; what wants older events to be read first is held back.
    fn take_facts(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Fact(fact) if self.held_back.is_empty() && older_events_until(&fact).is_none() => {
                    self.fact(*fact);
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
                if let Some(copies) = &mut self.copies {
                    copies.changes(process);
                }
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
                if let Some(copies) = &mut self.copies {
                    copies.changes(process);
                }
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
        if Instant::now() < watched.maps_due {
            return;
        }
        watched.maps_pause = (watched.maps_pause * 2).min(Duration::from_secs(5));
        watched.maps_due = Instant::now() + watched.maps_pause;
        let Ok(maps) = maps::read(watched.pid) else { return };
        let ranges = code_ranges(&maps);
        if self.pipeline.code(process) != Some(ranges.as_slice()) {
            watched.maps_pause = PAUSE.0;
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

    fn ask_for_names(&mut self) {
        if Instant::now() < self.names_due {
            return;
        }
        self.names_due = Instant::now() + NAMES_EVERY;
        for (process, site, addresses) in self.pipeline.unnamed_sites() {
            let Some(watched) = self.processes.get(&process) else { continue };
            let generation = watched.generation;
            let request = Request { process, pid: watched.pid, site, generation, addresses };
            if !self.symbolizer.request(request) {
                break;
            }
        }
        // Those that are shown come first.
        if self.symbolizer.queue_len() == 0 {
            self.ask_for_unseen(UNSEEN_AT_ONCE);
        }
    }

    fn ask_for_unseen(&mut self, most: usize) {
        let mut left = most;
        for process in self.processes.keys().copied().collect::<Vec<_>>() {
            left = left.saturating_sub(self.ask_for_all_names(process, left));
        }
    }

    /// Asks for the names of so many sites of a process that nobody sees, where a file is to tell of them. Gives how many
    /// were asked for.
    fn ask_for_all_names(&mut self, process: u16, most: usize) -> usize {
        let wanted = !self.stacks.is_none() && most > 0;
        let Some(watched) = self.processes.get(&process).filter(|_| wanted) else { return 0 };
        let (pid, generation) = (watched.pid, watched.generation);
        let unnamed = self.pipeline.unnamed_for_stacks(process, most);
        let count = unnamed.len();
        for (site, addresses) in unnamed {
            if !self.symbolizer.request(Request { process, pid, site, generation, addresses }) {
                break;
            }
            self.quiet.insert(site);
        }
        count
    }

    /// Waits for the names that are missing, though not for ever.
    async fn wait_for_names(&mut self) {
        self.names_due = Instant::now();
        self.ask_for_names();
        let patience = if self.stacks.is_none() { NAMES_AT_END } else { ALL_NAMES_AT_END };
        let deadline = Instant::now() + patience;
        loop {
            while self.symbolizer.queue_len() > 0 && Instant::now() < deadline {
                sleep(Duration::from_millis(5)).await;
            }
            self.take_facts();
            self.ask_for_unseen(QUEUE_LIMIT);
            if self.symbolizer.queue_len() == 0 || Instant::now() >= deadline {
                return;
            }
        }
    }

    /// The end: the last events, the names still missing, the summary, the live blocks, the call sites.
    async fn finish(mut self, end: Fact, dump: Option<PathBuf>) -> Result<(), Failure> {
        if let Fact::End { tick, .. } = &end {
            self.drain(Until::Time(self.pipeline.at_ns(tick.t)));
            self.pipeline.advance(tick.t);
        }
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
        Fact::Gone { t, .. } => Some(*t),
        _ => None,
    }
}

/// Writes every live block of a trace, and every range of memory that is mapped.
pub(super) fn dump_live(pipeline: &Pipeline, path: &std::path::Path) -> Result<(), Failure> {
    let mut blocks = Vec::new();
    let live = |kind, pid, age_s: f64, block: Block| {
        let age_s = (age_s * 100.0).round() / 100.0;
        LiveBlock { address: block.address, size: block.size, site: block.site, kind, age_s, pid }
    };
    pipeline.for_each_block(|pid, age_s, block| blocks.push(live(SiteKind::Heap, pid, age_s, block)));
    pipeline.for_each_mapped_range(|pid, age_s, range| {
        blocks.push(live(SiteKind::Mapping, pid, age_s, range));
    });
    write_live_blocks(path, blocks).map(|_| ())
}

/// Start and end of the executable mappings.
pub(super) fn code_ranges(maps: &[maps::Mapping]) -> Vec<(u64, u64)> {
    maps.iter().filter(|mapping| mapping.executable).map(|mapping| (mapping.start, mapping.end)).collect()
}
