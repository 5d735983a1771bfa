//! A live run: the supervisor looks after the processes traced, tells the event thread what it sees, and ends the run.

use std::{collections::BTreeMap, num::NonZeroU32, path::PathBuf, time::Duration};

use leaktrace_common::Loss;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{
    attach::{Attached, Attacher, Found},
    clock::{Clock, own_cpu_s, own_rss_bytes, wall_time},
    engine::{Engine, Happening, Setup, code_ranges},
    input::{Child, Fact, ProcessUsage, Tick},
    launch::Launched,
    limits::allow_many_files,
    ranking::View,
    recorder::Recorder,
    sinks::{self, Wish},
};
use crate::{
    cli::{GeneralOptions, TraceOptions},
    error::{ExitCode, Failure},
    output::record::{Capture, EndReason, Header, Level, Notice, RssSplit, SCHEMA, V8},
    probe::{
        plan::Returns,
        programs::{Programs, Settings},
    },
    target::{
        allocator::DiscoverOptions,
        find,
        hazard::{KernelVersion, ReturnProbes, return_probes},
        maps::Mapping,
        process::Process,
        runtime::Runtime,
        system::System,
        usage::Usage,
    },
};

/// After exec the loader maps the new image's libraries: it is looked at again after these times.
const LOOKS_AFTER_EXEC: [Duration; 5] = [
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];
/// From this kernel on a probed five-byte nop becomes a call, which is cheap.
const NOP5: KernelVersion = KernelVersion::new(6, 18);

/// One process being traced.
struct Traced {
    process: Process,
    returns: Returns,
    attached: Attached,
    /// Why nothing of it could be seen at the last look.
    why_not: Option<String>,
}

/// Looks after the processes of one run.
pub(super) struct Supervisor {
    attacher: Attacher,
    engine: Engine,
    clock: Clock,
    system: System,
    children: bool,
    plain_probes: bool,
    /// By index; the target is 0.
    processes: BTreeMap<u16, Traced>,
    next_index: u16,
    /// Losses counted before all probes were in place: returns of calls that were under way.
    baseline: Vec<u64>,
    /// When a process is to be looked at again.
    looks: Vec<(Instant, u16)>,
    own_cpu: (f64, f64),
    launched: Option<Launched>,
}

/// Traces as the command line asks.
pub(super) fn run(options: &TraceOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(ExitCode::Internal, format!("could not start the event loop: {error}"))
    })?;
    runtime.block_on(trace(options, general))
}

async fn trace(options: &TraceOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let launched = match options.target.run.as_slice() {
        [] => None,
        command => Some(Launched::start(command)?),
    };
    allow_many_files();
    let pid = match (&launched, options.target.pid, &options.target.comm) {
        (Some(launched), ..) => launched.pid(),
        (None, Some(pid), _) => pid,
        (None, None, Some(name)) => find::by_comm(&name.to_string_lossy())?,
        (None, None, None) => {
            return Err(Failure::new(ExitCode::Usage, "no process named: give --pid, --comm or -- COMMAND"));
        }
    };
    let process = Process::open(pid)?;
    let system = System::read();
    check_system(&system)?;
    // Created before anything is attached: a path that cannot be written is no reason to have touched the target.
    let recording = &options.recording;
    let recorder =
        recording.record.as_ref().map(|path| Recorder::create(path, recording.record_limit)).transpose()?;
    if let Some(path) = &options.view.dump_live {
        crate::output::dump::create_private(path)?;
    }

    let mut programs = Programs::load(&settings(options, general, &system))?;
    sinks::log_programs(&mut programs);
    let ring =
        programs.take_ring().ok_or_else(|| Failure::new(ExitCode::Internal, "the ring buffer is taken"))?;
    let discover = DiscoverOptions {
        symbols_prefix: options.capture.symbols_prefix.clone(),
        object: options.capture.object.clone(),
        mappings: false,
    };
    let nop5_is_cheap = system.version.is_some_and(|version| version >= NOP5);
    let mut attacher = Attacher::new(programs, discover, nop5_is_cheap);
    let (returns, why) = decide_returns(&process, &system, &mut attacher, options.tuning.plain_probes)?;

    let clock = Clock::start();
    let mut attached = Attached::default();
    let maps = process.maps().map_err(|error| gone(pid, &error))?;
    watch(&mut attacher, pid, 0)?;
    let found = attacher.look(&process, 0, returns, &maps, true, &mut attached)?;
    let baseline = attacher.programs.losses().to_vec();

    let (wishes, mut wanted) = unbounded_channel();
    let output = sinks::open(&options.view, general, wishes)?;
    let (happenings, happened) = unbounded_channel();
    let view = View { top: options.view.top, sort: options.view.sort, older_than: options.view.older_than };
    let header = header(&process, &system, &attacher, &found, options, returns, why);
    let mut first = vec![Fact::Start { header: Box::new(header), start_ns: clock.start_ns }];
    first.extend(process_facts(0, &process, &maps));
    first.push(Fact::Costs { ns: found.costs() });
    let engine = Engine::start(Setup { ring, view, output, recorder, happenings, first })?;
    let mut supervisor = Supervisor {
        attacher,
        engine,
        clock,
        system,
        children: options.capture.children,
        plain_probes: options.tuning.plain_probes,
        processes: BTreeMap::new(),
        next_index: 1,
        baseline,
        looks: Vec::new(),
        own_cpu: (own_cpu_s(), 0.0),
        launched,
    };
    supervisor.tell_found(0, pid, &found, true);
    supervisor.processes.insert(0, Traced { process, returns, attached, why_not: None });
    if supervisor.children {
        supervisor.follow_children();
    }
    if let Some(launched) = &mut supervisor.launched {
        launched.go();
    }
    let reason = supervisor.supervise(options, happened, &mut wanted).await?;
    supervisor.end(reason, options.view.dump_live.clone())
}

impl Supervisor {
    /// Until the trace ends: ticks, signals, wishes, and what happens to the processes.
    async fn supervise(
        &mut self,
        options: &TraceOptions,
        mut happened: UnboundedReceiver<Happening>,
        wanted: &mut UnboundedReceiver<Wish>,
    ) -> Result<EndReason, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(ExitCode::Internal, format!("could not listen for signals: {error}"))
        };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
        let far = Duration::from_hours(100 * 365 * 24);
        let end = Instant::now() + options.capture.duration.unwrap_or(far);
        let mut ticks = interval_at(Instant::now(), options.capture.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut lives = tokio::time::interval(Duration::from_millis(50));
        lives.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let next_look = self.looks.iter().map(|(at, _)| *at).min().unwrap_or(end + far);
            tokio::select! {
                biased;
                _ = interrupt.recv() => return Ok(EndReason::Interrupted),
                _ = terminate.recv() => return Ok(EndReason::Interrupted),
                _ = hangup.recv() => return Ok(EndReason::Interrupted),
                Some(wish) = wanted.recv() => match wish {
                    Wish::End => return Ok(EndReason::Interrupted),
                    Wish::Sort(sort) => self.engine.sort_by(sort),
                },
                () = sleep_until(end) => return Ok(EndReason::Duration),
                Some(happening) = happened.recv() => self.see_to(happening),
                () = sleep_until(next_look) => self.look_again(),
                _ = ticks.tick() => self.tick(),
                _ = lives.tick() => if self.bury() { return Ok(EndReason::TargetExited) },
            }
        }
    }

    fn see_to(&mut self, happening: Happening) {
        match happening {
            Happening::Fork => {
                if self.children {
                    self.follow_children();
                }
            }
            Happening::Exec(index) => {
                if let Some(traced) = self.processes.get_mut(&index)
                    && let Ok(process) = Process::open(traced.process.pid)
                {
                    traced.process = process;
                    let comm = traced.process.comm.clone();
                    self.engine.tell(Fact::Renamed { process: index, comm });
                }
                let now = Instant::now();
                self.looks.extend(LOOKS_AFTER_EXEC.map(|after| (now + after, index)));
            }
            Happening::ObjectsChanged(index) => self.look(index),
        }
    }

    fn look_again(&mut self) {
        let now = Instant::now();
        let due: Vec<u16> = self.looks.iter().filter(|(at, _)| *at <= now).map(|(_, index)| *index).collect();
        self.looks.retain(|(at, _)| *at > now);
        for index in due {
            self.look(index);
        }
    }

    /// Looks at what a process has mapped, and probes what is new.
    fn look(&mut self, index: u16) {
        let Some(traced) = self.processes.get_mut(&index) else { return };
        let Ok(maps) = traced.process.maps() else { return };
        let before = self.attacher.programs.losses();
        // After exec the loader maps the libraries one by one: probes in those to come must stay.
        let is_settled = self.looks.iter().all(|(_, pending)| *pending != index);
        let found = self.attacher.look(
            &traced.process,
            index,
            traced.returns,
            &maps,
            is_settled,
            &mut traced.attached,
        );
        let pid = traced.process.pid;
        // Right after exec nothing but the program and its loader is mapped: the next look may find more.
        let found = found.map_err(|error| traced.why_not = Some(error.message));
        self.forgive_calls_under_way(&before);
        self.engine.tell(Fact::Code { process: index, ranges: code_ranges(&maps) });
        if let Ok(found) = found {
            self.tell_found(index, pid, &found, false);
        }
        if is_settled {
            self.tell_why_not(index);
        }
    }

    /// Tells, once, why nothing of a process is seen.
    fn tell_why_not(&mut self, index: u16) {
        let Some(traced) = self.processes.get_mut(&index) else { return };
        let (pid, sees_calls) = (traced.process.pid, traced.attached.sees_calls());
        if let Some(why) = traced.why_not.take().filter(|_| !sees_calls) {
            self.notice(pid, Level::Warning, "child_not_traced", why);
        }
    }

    /// Tells what a look brought; the first look's allocators stand in the header.
    fn tell_found(&self, index: u16, pid: u32, found: &Found, is_first: bool) {
        self.engine.tell(Fact::Costs { ns: found.costs() });
        if !found.runtimes.is_empty() {
            let names = found.runtimes.iter().map(|runtime| runtime.name.to_owned()).collect();
            self.engine.tell(Fact::Runtimes { process: index, names });
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

    fn notice(&self, pid: u32, level: Level, code: &str, message: String) {
        let notice = Notice { t: self.clock.t(), pid, level, code: code.to_owned(), message };
        self.engine.tell(Fact::Notice(notice));
    }

    /// Attaches to descendants of the traced processes that are not traced yet.
    fn follow_children(&mut self) {
        let known: Vec<u32> = self.processes.values().map(|traced| traced.process.pid).collect();
        let mut unknown: Vec<u32> = known.iter().flat_map(|&pid| find::children(pid)).collect();
        while let Some(pid) = unknown.pop() {
            if self.processes.values().any(|traced| traced.process.pid == pid) {
                continue;
            }
            if self.follow(pid) {
                unknown.extend(find::children(pid));
            }
        }
    }

    /// Attaches to one child; `false` where that cannot be.
    fn follow(&mut self, pid: u32) -> bool {
        // It may be gone already, or a leaktrace that was started by the target.
        let Ok(process) = Process::open(pid) else { return false };
        let Some(index) = self.free_index() else {
            self.notice(
                pid,
                Level::Warning,
                "too_many_processes",
                "too many processes were traced: this one is not".to_owned(),
            );
            return false;
        };
        let Ok(maps) = process.maps() else { return false };
        let decided = decide_returns(&process, &self.system, &mut self.attacher, self.plain_probes);
        let Ok((returns, _)) = decided else { return false };
        if watch(&mut self.attacher, pid, index).is_err() {
            return false;
        }
        let mut attached = Attached::default();
        for fact in process_facts(index, &process, &maps) {
            self.engine.tell(fact);
        }
        let before = self.attacher.programs.losses();
        let found = self.attacher.look(&process, index, returns, &maps, true, &mut attached);
        self.forgive_calls_under_way(&before);
        let mut why_not = None;
        match found {
            Ok(found) => {
                let allocators: Vec<&str> = found.allocators.iter().map(|one| one.kind.name()).collect();
                let sentence =
                    format!("{} {pid} is traced as well ({})", process.comm, allocators.join(", "));
                self.notice(pid, Level::Info, "child_followed", sentence);
                self.tell_found(index, pid, &found, true);
            }
            Err(error) => why_not = Some(error.message),
        }
        // It may be on its way to another image, with its libraries not mapped yet.
        let now = Instant::now();
        self.looks.extend(LOOKS_AFTER_EXEC.map(|after| (now + after, index)));
        self.processes.insert(index, Traced { process, returns, attached, why_not });
        true
    }

    fn free_index(&mut self) -> Option<u16> {
        let index = self.next_index;
        self.next_index = index.checked_add(1)?;
        Some(index)
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
            self.attacher.programs.unwatch(traced.process.pid);
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
        let tick = self.observe();
        self.engine.tell(Fact::Tick(tick));
    }

    /// dlopen is announced by the dynamic linker, but not everybody maps code through it.
    fn look_if_changed(&mut self, index: u16) {
        let Some(traced) = self.processes.get(&index) else { return };
        let Ok(maps) = traced.process.maps() else { return };
        if traced.attached.has_new(&maps) {
            self.look(index);
        }
    }

    fn observe(&mut self) -> Tick {
        let t = self.clock.t();
        let (cpu, at) = self.own_cpu;
        let cpu_now = own_cpu_s();
        self.own_cpu = (cpu_now, t);
        let usage = |(&process, traced): (&u16, &Traced)| {
            let usage = Usage::read(traced.process.pid).ok()?;
            let split = RssSplit {
                anon_bytes: usage.rss_anon,
                file_bytes: usage.rss_file,
                shmem_bytes: usage.rss_shmem,
                swap_bytes: usage.vm_swap,
            };
            let untraced_children = if self.children { Vec::new() } else { children_of(traced.process.pid) };
            Some(ProcessUsage { process, rss_bytes: usage.rss_bytes, split, untraced_children })
        };
        Tick {
            t,
            losses: self.losses(),
            processes: self.processes.iter().filter_map(usage).collect(),
            own_cpu_share: (cpu_now - cpu) / (t - at).max(1e-3),
            own_rss_bytes: own_rss_bytes(),
        }
    }

    /// The programs' counters. A return whose entry came before the probes is no loss: the call began before us.
    fn losses(&self) -> Vec<u64> {
        let counts = self.attacher.programs.losses();
        counts.iter().zip(&self.baseline).map(|(now, before)| now.saturating_sub(*before)).collect()
    }

    /// While probes are being placed, returns are seen before entries are: such calls began before the trace.
    fn forgive_calls_under_way(&mut self, before: &[u64; Loss::COUNT]) {
        let index = Loss::MissedEntry as usize;
        let now = self.attacher.programs.losses();
        if let (Some(baseline), Some(now), Some(before)) =
            (self.baseline.get_mut(index), now.get(index), before.get(index))
        {
            *baseline += now.saturating_sub(*before);
        }
    }

    fn end(mut self, reason: EndReason, dump: Option<PathBuf>) -> Result<(), Failure> {
        let tick = self.observe();
        let own_peak_rss_bytes = peak_rss_bytes();
        let end = Fact::End { tick, reason, own_cpu_s: own_cpu_s(), own_peak_rss_bytes };
        let finished = self.engine.finish(end, dump);
        let mut all = Attached::default();
        for traced in self.processes.into_values() {
            all.absorb(traced.attached);
        }
        all.detach_now();
        finished
    }
}

/// What the pipeline must know of a process before its first event.
fn process_facts(index: u16, process: &Process, maps: &[Mapping]) -> [Fact; 2] {
    let (pid, comm) = (process.pid, process.comm.clone());
    [Fact::Process { process: index, pid, comm }, Fact::Code { process: index, ranges: code_ranges(maps) }]
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

fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn gone(pid: u32, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::NoSuchProcess, format!("process {pid} cannot be read any more: {error}"))
}

fn watch(attacher: &mut Attacher, pid: u32, index: u16) -> Result<(), Failure> {
    NonZeroU32::new(pid).map_or(Ok(()), |pid| attacher.programs.watch(pid, index))
}

/// Refuses a machine that cannot do it, before anything is tried on the target.
fn check_system(system: &System) -> Result<(), Failure> {
    let missing = system.capabilities.missing();
    if !missing.is_empty() {
        let message = format!("tracing needs {}: run leaktrace by sudo", missing.join(", "));
        return Err(Failure::new(ExitCode::NoPermission, message));
    }
    if !system.btf {
        let message = "this kernel does not describe its types (/sys/kernel/btf/vmlinux is missing): leaktrace needs CONFIG_DEBUG_INFO_BTF";
        return Err(Failure::new(ExitCode::Unsupported, message));
    }
    Ok(())
}

fn settings(options: &TraceOptions, general: &GeneralOptions, system: &System) -> Settings {
    let foreign = system.pid_namespace.filter(|namespace| !namespace.is_initial());
    Settings {
        ring_bytes: options.tuning.ring_size,
        max_stacks: options.tuning.max_stacks,
        min_size: options.capture.min_size,
        log_level: match general.verbose {
            0 => 0,
            1 => 3,
            _ => 5,
        },
        pid_namespace: foreign.map(|namespace| (namespace.dev, namespace.ino)),
    }
}

/// How returns are to be seen in a process without harm to it, and why, where that is not the usual way.
fn decide_returns(
    process: &Process,
    system: &System,
    attacher: &mut Attacher,
    plain_probes: bool,
) -> Result<(Returns, Option<String>), Failure> {
    if plain_probes {
        return Ok((Returns::PlainProbes, Some("asked for by --plain-probes".to_owned())));
    }
    let facts = process.facts().map_err(|error| gone(process.pid, &error))?;
    // A kernel whose version cannot be read is taken for one with the hazard.
    let version = system.version.unwrap_or(NOP5);
    let decide = |trial| return_probes(version, facts.seccomp, facts.shadow_stack, trial);
    let decision = match decide(None) {
        ReturnProbes::NeedsTrial => decide(Some(crate::probe::trial::run(&mut attacher.programs))),
        decision => decision,
    };
    Ok(match decision {
        ReturnProbes::Allowed => (Returns::ReturnProbes, None),
        ReturnProbes::PlainOnly { why } => (Returns::PlainProbes, Some(why.to_owned())),
        ReturnProbes::NeedsTrial => {
            (Returns::PlainProbes, Some("the trial of return probes had no result".to_owned()))
        }
    })
}

fn header(
    process: &Process,
    system: &System,
    attacher: &Attacher,
    found: &Found,
    options: &TraceOptions,
    returns: Returns,
    why: Option<String>,
) -> Header {
    let v8 = found.runtimes.iter().find(|runtime| runtime.name.contains("V8"));
    let exe = process.exe.as_ref().map(|path| path.to_string_lossy().into_owned());
    Header {
        t: 0.0,
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wall_time: wall_time(),
        pid: process.pid,
        comm: process.comm.clone(),
        v8: v8.map(|_| V8 { path: exe.clone().unwrap_or_default() }),
        exe,
        kernel: system.release.clone(),
        capture: Capture {
            mode: match returns {
                Returns::ReturnProbes => "return_probes",
                Returns::PlainProbes => "plain_probes",
            }
            .to_owned(),
            why,
            links: attacher.programs.link_kind().to_owned(),
            stacks: "frame_pointers".to_owned(),
            min_size: options.capture.min_size,
            ring_bytes: u64::from(attacher.programs.ring_bytes()),
            children: options.capture.children,
        },
        allocators: found.allocator_records(),
        runtimes: found.runtime_records(),
        probes: found.probe_records(),
    }
}
