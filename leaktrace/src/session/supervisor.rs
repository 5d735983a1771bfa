//! The supervisor of a live run: ticks, signals and wishes, what happens to the processes, and the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    path::PathBuf,
    task::Poll,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
    task::yield_now,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    attach::{Attached, Attacher, Found},
    clock::{Clock, own_cpu_s, own_peak_rss_bytes, own_rss_bytes},
    engine::{Engine, Happening},
    heap_walk::live::{WalkPlan, Walks},
    input::{Child, Fact, ProcessUsage, Tick},
    js_sites::{self, JsSites},
    launch::Launched,
    limited::Limited,
    repricing::Repricing,
    sinks::Wish,
    under_way::UnderWay,
    v8::Heaps,
};
use crate::{
    cli::TraceOptions,
    error::{ExitCode, Failure},
    heap::Rounding,
    output::record::{EndReason, Level, MemoryLimit, Notice, RssSplit},
    probe::{detach::make_haste, plan::Returns},
    target::{
        allocator::AllocatorKind, find, limit::Limits, pages::PageReader, process::Process, runtime::Runtime,
        system::System, usage::Usage, v8::FoundBy,
    },
    v8::inspector::JsEvent,
};

/// One process being traced.
pub(super) struct Traced {
    pub(super) process: Process,
    pub(super) returns: Returns,
    pub(super) attached: Attached,
    /// Why nothing of it could be seen at the last look.
    pub(super) why_not: Option<String>,
    /// V8's heaps in it.
    pub(super) heaps: Heaps,
    pub(super) pages: PageReader,
    pub(super) walks: Walks,
}

impl Traced {
    pub(super) fn new(
        process: Process,
        returns: Returns,
        attached: Attached,
        why_not: Option<String>,
    ) -> Self {
        Self {
            process,
            returns,
            attached,
            why_not,
            heaps: Heaps::default(),
            pages: PageReader::default(),
            walks: Walks::default(),
        }
    }
}

/// Looks after the processes of one run.
pub(super) struct Supervisor {
    pub(super) attacher: Attacher,
    pub(super) engine: Engine,
    pub(super) clock: Clock,
    pub(super) system: System,
    pub(super) children: bool,
    pub(super) plain_probes: bool,
    /// By index; the target is 0.
    pub(super) processes: BTreeMap<u16, Traced>,
    pub(super) next_index: u16,
    /// Losses that are none, and how long more of them may come.
    pub(super) under_way: UnderWay,
    /// When a process is to be looked at again.
    pub(super) looks: Vec<(Instant, u16)>,
    pub(super) own_cpu: (f64, f64),
    /// Functions that are probed, by number.
    pub(super) functions: BTreeSet<u8>,
    /// Limits on the memory of the processes.
    pub(super) limits: Limits,
    pub(super) launched: Option<Launched>,
    pub(super) js_sites: Option<JsSites>,
    /// Heaps of the C library are read, too.
    pub(super) heap_walk: Option<WalkPlan>,
    /// What the run may cost.
    pub(super) limited: Option<Limited>,
    pub(super) repricing: Repricing,
}

/// The signals that end a trace.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Listens from now on; what comes before it is asked for waits.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(ExitCode::Internal, format!("could not listen for signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Whether one of them has come already.
    pub(super) async fn have_come(&mut self) -> bool {
        // What came while nothing was waited for is handed out once the event loop has had its turn.
        yield_now().await;
        poll_fn(|context| {
            let signals = [&mut self.interrupt, &mut self.terminate, &mut self.hangup];
            Poll::Ready(signals.into_iter().any(|signal| signal.poll_recv(context).is_ready()))
        })
        .await
    }
}

impl Supervisor {
    /// Until the trace ends: ticks, signals, wishes, and what happens to the processes.
    pub(super) async fn supervise(
        &mut self,
        options: &TraceOptions,
        mut signals: Signals,
        mut happened: UnboundedReceiver<Happening>,
        wanted: &mut UnboundedReceiver<Wish>,
    ) -> Result<EndReason, Failure> {
        let far = Duration::from_hours(100 * 365 * 24);
        let end = Instant::now() + options.capture.duration.unwrap_or(far);
        let mut ticks = interval_at(Instant::now(), options.capture.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut lives = tokio::time::interval(Duration::from_millis(50));
        lives.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let budget_due = self.budget_due().unwrap_or(end + far);
            let next_look = self.looks.iter().map(|(at, _)| *at).min().unwrap_or(end + far);
            tokio::select! {
                biased;
                _ = signals.interrupt.recv() => return Ok(EndReason::Interrupted),
                _ = signals.terminate.recv() => return Ok(EndReason::Interrupted),
                _ = signals.hangup.recv() => return Ok(EndReason::Interrupted),
                Some(wish) = wanted.recv() => match wish {
                    Wish::End => return Ok(EndReason::Interrupted),
                    Wish::Sort(sort) => self.engine.sort_by(sort),
                },
                () = sleep_until(end) => return Ok(EndReason::Duration),
                Some(happening) = happened.recv() => self.see_to(happening),
                () = sleep_until(budget_due) => self.keep_budget(),
                Some(event) = next_of(&mut self.js_sites) => self.tell_js(event),
                () = sleep_until(next_look) => self.look_again(),
                _ = ticks.tick() => self.tick(),
                _ = lives.tick() => {
                    if self.under_way.may_come() {
                        self.under_way.look(&self.attacher.programs.losses());
                    }
                    self.reprice();
                    if self.bury() { return Ok(EndReason::TargetExited) }
                }
            }
        }
    }

    /// Tells what a look brought; the first look's allocators stand in the header.
    pub(super) fn tell_found(&mut self, index: u16, pid: u32, found: &Found, is_first: bool) {
        self.engine.tell(found.costs(&self.attacher.prices));
        self.repricing.placed(&found.probes);
        self.functions.extend(found.probes.iter().map(|probe| probe.cookie.function));
        if let Some(kind) = found.in_charge {
            self.engine.tell(Fact::Rounding { process: index, rounding: rounding(kind) });
        }
        if !found.runtimes.is_empty() {
            let names = found.runtimes.iter().map(|runtime| runtime.name.to_owned()).collect();
            self.engine.tell(Fact::Runtimes { process: index, names });
        }
        for (v8, version) in &found.v8 {
            let sizes_only = v8.found_by == FoundBy::CallOrder;
            self.engine.tell(Fact::V8 { process: index, version: version.clone(), sizes_only });
        }
        for (code, sentence) in &found.notices {
            self.notice(pid, Level::Warning, code, sentence.clone());
        }
        for runtime in &found.runtimes {
            self.notice(pid, Level::Info, "own_heap", runtime_sentence(runtime));
        }
        if is_first {
            return;
        }
        for allocator in &found.allocators {
            let (kind, path) = (allocator.kind.name(), &allocator.object.display_path);
            let count = found.probes.iter().filter(|probe| probe.module == *path).count();
            let sentence = format!("{kind} found in {path}: {count} probes set");
            self.notice(pid, Level::Info, "allocator_found", sentence);
        }
    }

    pub(super) fn notice(&self, pid: u32, level: Level, code: &str, message: String) {
        let notice = Notice { t: self.clock.t(), pid, level, code: code.to_owned(), message };
        self.engine.tell(Fact::Notice(notice));
    }

    /// Lets go of processes that ended; `true` once the target itself has, and no child is left that is followed.
    fn bury(&mut self) -> bool {
        let ended: Vec<u16> = self
            .processes
            .iter()
            .filter(|(_, traced)| !traced.process.is_alive())
            .map(|(&index, _)| index)
            .collect();
        for index in ended {
            let Some(traced) = self.processes.remove(&index) else { continue };
            self.attacher.programs.unwatch(traced.process.pid, index);
            self.engine.tell(Fact::Gone { process: index, t: self.clock.t() });
            traced.attached.detach();
        }
        if let Some(status) = self.launched.as_mut().and_then(Launched::ended) {
            let pid = self.launched.take().map_or(0, |launched| launched.pid());
            self.notice(pid, Level::Info, "command_ended", format!("the command ended: {status}"));
        }
        self.processes.is_empty()
    }

    fn tick(&mut self) {
        for index in self.processes.keys().copied().collect::<Vec<_>>() {
            self.look_if_changed(index);
        }
        if self.children {
            self.follow_children();
        }
        self.look_at_heaps();
        self.walk_heaps(false);
        let tick = self.observe();
        self.engine.tell(Fact::Tick(tick));
    }

    fn observe(&mut self) -> Tick {
        self.limits.forget();
        let t = self.clock.t();
        let (cpu, at) = self.own_cpu;
        let cpu_now = own_cpu_s();
        self.own_cpu = (cpu_now, t);
        let (limits, children, heap_walk) = (&mut self.limits, self.children, self.heap_walk.is_some());
        let usage = |(&process, traced): (&u16, &mut Traced)| {
            let pid = traced.process.pid;
            let usage = Usage::read(pid).ok()?;
            let split = RssSplit {
                anon_bytes: usage.rss_anon,
                file_bytes: usage.rss_file,
                shmem_bytes: usage.rss_shmem,
                swap_bytes: usage.vm_swap,
            };
            let limit = limits.nearest(pid).map(|limit| MemoryLimit {
                name: limit.name.to_owned(),
                limit_bytes: limit.limit_bytes,
                headroom_bytes: limit.headroom_bytes,
            });
            let untraced_children = if children { Vec::new() } else { children_of(pid) };
            let wants_pages = heap_walk || !traced.attached.v8().is_empty();
            let pages = wants_pages.then(|| traced.pages.read(pid)).flatten();
            Some(ProcessUsage { process, rss_bytes: usage.rss_bytes, split, limit, pages, untraced_children })
        };
        let processes = self.processes.iter_mut().filter_map(usage).collect();
        Tick {
            t,
            losses: self.losses(),
            passed: self.passed(),
            processes,
            own_cpu_share: (cpu_now - cpu) / (t - at).max(1e-3),
            own_rss_bytes: own_rss_bytes(),
        }
    }

    /// Calls that the programs looked at and did not tell.
    pub(super) fn passed(&self) -> Vec<(u8, u64)> {
        let passed =
            self.functions.iter().map(|&function| (function, self.attacher.programs.passed(function)));
        passed.filter(|(_, calls)| *calls > 0).collect()
    }

    /// The programs' counters, without the returns of calls that began before the probes.
    fn losses(&mut self) -> Vec<u64> {
        self.under_way.losses(self.attacher.programs.losses()).to_vec()
    }

    /// Tells what the sampler of JavaScript saw of the target.
    fn tell_js(&self, event: JsEvent) {
        let t = self.clock.t();
        let fact = js_sites::fact(event, t);
        match fact {
            Ok(fact) => self.engine.tell(fact),
            Err((code, message)) => {
                let pid = self.js_sites.as_ref().map_or(0, |js_sites| js_sites.pid);
                self.notice(pid, Level::Warning, code, message);
            }
        }
    }

    /// Stops the sampler and closes the inspector, and tells what is still to be told.
    fn end_js_sites(&mut self) {
        if let Some(js_sites) = &mut self.js_sites {
            js_sites.stop();
        }
        while let Some(event) = self.js_sites.as_mut().and_then(JsSites::left) {
            self.tell_js(event);
        }
    }

    pub(super) fn end(mut self, reason: EndReason, dump: Option<PathBuf>) -> Result<(), Failure> {
        self.end_js_sites();
        self.walk_heaps(true);
        let tick = self.observe();
        let own_peak_rss_bytes = own_peak_rss_bytes();
        let end = Fact::End { tick, reason, own_cpu_s: own_cpu_s(), own_peak_rss_bytes };
        // Not before: a walk through a large heap takes CPU, and must not take it from the target.
        make_haste();
        let ending = self.engine.finish(end, dump);
        // The target is let go before anything is written: whoever reads it may be slow, or a terminal that is no more. And not
        // before all events are read: while probes go, some calls are seen and others are not.
        let mut all = Attached::default();
        for traced in self.processes.into_values() {
            all.absorb(traced.attached);
        }
        all.detach_now();
        ending.join()
    }
}

/// How an allocator rounds up, where that is known from outside.
const fn rounding(kind: AllocatorKind) -> Option<Rounding> {
    match kind {
        AllocatorKind::Glibc => Some(Rounding::Glibc),
        AllocatorKind::Jemalloc => Some(Rounding::Jemalloc),
        _ => None,
    }
}

/// What the sampler tells next; for ever nothing where there is none.
async fn next_of(js_sites: &mut Option<JsSites>) -> Option<JsEvent> {
    match js_sites {
        Some(js_sites) => js_sites.next().await,
        None => std::future::pending().await,
    }
}

/// What the children of a process use that are not traced.
fn children_of(pid: u32) -> Vec<Child> {
    let child = |pid: u32| {
        let rss_bytes = Usage::read(pid).ok()?.rss_bytes;
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Child { pid, comm: comm.trim_end().to_owned(), rss_bytes })
    };
    find::children(pid).into_iter().filter_map(child).collect()
}

fn runtime_sentence(runtime: &Runtime) -> String {
    format!("{} has a heap of its own: {}; {}", runtime.name, runtime.visible, runtime.not_visible)
}
