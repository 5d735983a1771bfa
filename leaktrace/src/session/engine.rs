//! The event thread: it empties the ring, feeds the pipeline, and hands on what comes out. Nothing that can take long
//! happens here: names are found, files written and terminals drawn on other threads.

mod naming;
mod thread;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    budget::Spent, copies::Copies, input::Fact, pipeline::Pipeline, ranking::View, recorder::Recorder,
};
use crate::{
    cli::{Sort, StackOptions},
    error::{ExitCode, Failure},
    event::Ring,
    heap::Block,
    output::{
        dump::{LiveBlock, write_live_blocks},
        record::SiteKind,
        thread::OutputThread,
    },
    probe::rings::Rings,
    symbol::{Options as SymbolOptions, Resolved, Symbolizer, culprit},
    target::maps,
};

/// What the supervisor must see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// A process made a child or a thread.
    Fork,
    /// A process replaced its image.
    Exec(u16),
    /// The list of loaded objects changed.
    ObjectsChanged(u16),
    /// A heap of V8 that was not seen before, by its address.
    Heap(u16, u64),
    /// The blocks that live, as was asked: process and address; `None` where they are too many.
    Held(Option<Vec<(u16, u64)>>),
}

/// What the supervisor tells the engine.
#[derive(Debug)]
enum Command {
    Fact(Box<Fact>),
    /// Whether the stacks of a process are copied.
    Copies(u16, bool),
    Sort(Sort),
    Held(u64),
    Finish(Box<Fact>, Option<PathBuf>, AllRead),
}

/// Held until all events are read; nothing is ever sent.
type AllRead = std::sync::mpsc::Sender<()>;

/// What an engine is made of.
pub(super) struct Setup {
    /// Where the records come from.
    pub(super) rings: Rings,
    pub(super) parts: Parts,
}

/// What takes part in the work of the event thread.
pub(super) struct Parts {
    /// What unwinds stacks that are copied.
    pub(super) copies: Copies,
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

/// What the event thread tells while it works, for whoever keeps what tracing takes within bounds.
#[derive(Debug, Default)]
struct Told {
    /// What was taken from the processes since attach, as far as the events are read: [`Spent`], nanoseconds.
    spent_ns: AtomicU64,
    least_ns: AtomicU64,
    whole_ns: AtomicU64,
    /// It knows that the probes go, or are away.
    is_away: AtomicBool,
}

impl Told {
    fn note(&self, pipeline: &Pipeline) {
        let Spent { ns, least_ns, whole_ns } = pipeline.spent();
        self.spent_ns.store(ns, Ordering::Relaxed);
        self.least_ns.store(least_ns, Ordering::Relaxed);
        self.whole_ns.store(whole_ns, Ordering::Relaxed);
    }
}

/// The supervisor's hold on the event thread.
pub(super) struct Engine {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<Result<(), Failure>>,
    told: Arc<Told>,
}

impl Engine {
    /// Starts the event thread.
    pub(super) fn start(setup: Setup) -> Result<Self, Failure> {
        let (commands, receiver) = unbounded_channel();
        let names = commands.clone();
        let told = Arc::<Told>::default();
        let tells = Arc::clone(&told);
        let thread = Builder::new()
            .name("events".to_owned())
            .spawn(move || run(setup, receiver, names, tells))
            .map_err(|error| internal("start the event thread", &error))?;
        Ok(Self { commands, thread, told })
    }

    /// What tracing took from the processes since attach, as far as the events are read.
    pub(super) fn spent(&self) -> Spent {
        let of = |ns: &AtomicU64| ns.load(Ordering::Relaxed);
        let told = &self.told;
        Spent { ns: of(&told.spent_ns), least_ns: of(&told.least_ns), whole_ns: of(&told.whole_ns) }
    }

    /// Asks for the addresses of all blocks that live, if they are no more than so many: they come as [`Happening::Held`].
    pub(super) fn ask_held(&self, most: u64) {
        let _ = self.commands.send(Command::Held(most));
    }

    /// Whether the event thread has taken the fact that the probes [go](Fact::LookAway): what it reads from now on it takes
    /// for seen in part.
    pub(super) fn knows_away(&self) -> bool {
        self.told.is_away.load(Ordering::Acquire)
    }

    /// Tells a fact. Facts and events reach the pipeline in the order of telling.
    pub(super) fn tell(&self, fact: Fact) {
        // The thread only ends before it is finished when it failed; `finish` tells.
        let _ = self.commands.send(Command::Fact(Box::new(fact)));
    }

    /// Tells whether the stacks of a process are copied.
    pub(super) fn copies_stacks(&self, process: u16, copies: bool) {
        let _ = self.commands.send(Command::Copies(process, copies));
    }

    /// Ranks the sites by something else from the next tick on.
    pub(super) fn sort_by(&self, sort: Sort) {
        let _ = self.commands.send(Command::Sort(sort));
    }

    /// Tells the last fact, and waits until all events before it are read: the probes are needed no more. What comes out of
    /// them is still to be written, and the live blocks where asked.
    pub(super) fn finish(self, end: Fact, dump: Option<PathBuf>) -> Ending {
        let (all_read, until_read) = std::sync::mpsc::channel();
        let _ = self.commands.send(Command::Finish(Box::new(end), dump, all_read));
        // Fails when there is nobody left to hold the other side, and that is what is waited for.
        let _ = until_read.recv();
        Ending(self.thread)
    }
}

/// An event thread that writes what is left.
#[must_use]
pub(super) struct Ending(JoinHandle<Result<(), Failure>>);

impl Ending {
    /// Waits until all is out.
    pub(super) fn join(self) -> Result<(), Failure> {
        match self.0.join() {
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
    told: Arc<Told>,
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
    let Setup { rings, parts } = setup;
    runtime.block_on(async move {
        let ring = Ring::new(rings.rings, rings.bytes as usize)
            .map_err(|error| internal("read the ring buffer", &error))?;
        thread::EventThread::new(parts, ring, commands, symbolizer, told).run().await
    })
}

/// Writes every live block of a trace, and every range of memory that is mapped.
pub(super) fn dump_live(pipeline: &Pipeline, path: &std::path::Path) -> Result<(), Failure> {
    let mut blocks = Vec::new();
    let live = |kind, pid, age_s: f64, block: Block| {
        let age_s = (age_s * 100.0).round() / 100.0;
        LiveBlock { address: block.address, size: block.size, site: block.site, kind, age_s, pid }
    };
    pipeline.for_each_block(|pid, age_s, kind, block| blocks.push(live(kind, pid, age_s, block)));
    pipeline.for_each_mapped_range(|pid, age_s, range| {
        blocks.push(live(SiteKind::Mapping, pid, age_s, range));
    });
    write_live_blocks(path, blocks).map(|_| ())
}

/// Start and end of the executable mappings.
pub(super) fn code_ranges(maps: &[maps::Mapping]) -> Vec<(u64, u64)> {
    maps.iter().filter(|mapping| mapping.executable).map(|mapping| (mapping.start, mapping.end)).collect()
}
