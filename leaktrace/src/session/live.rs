//! A live run: everything is made ready, attached, and handed to the supervisor.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc::unbounded_channel;

use super::{
    attach::{Attached, Attacher, Found, hit_record},
    clock::{Clock, own_cpu_s, wall_time},
    copies::Copies,
    engine::{Engine, Parts, Setup},
    follow::{process_facts, watch},
    heap_walk::live::WalkPlan,
    input::Fact,
    js_sites::JsSites,
    launch::Launched,
    limited::{self, Limited},
    limits::allow_many_files,
    ranking::View,
    recorder::Recorder,
    repricing::Repricing,
    safety::{NOP5, check_system, copies_stacks, decide_returns, gone, links},
    sinks,
    stack_choice::StackChoice,
    stacks,
    supervisor::{Signals, Supervisor, Traced},
    under_way::UnderWay,
};
use crate::{
    cli::{GeneralOptions, Only, TraceOptions, Unwind},
    error::{ExitCode, Failure},
    output::record::{Capture, EndReason, Header, SCHEMA},
    probe::{
        detach,
        plan::Returns,
        programs::{Programs, Settings},
    },
    target::{allocator::DiscoverOptions, cpus, find, limit::Limits, process::Process, system::System},
};

/// Traces as the command line asks.
pub(super) fn run(options: &TraceOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(ExitCode::Internal, format!("could not start the event loop: {error}"))
    })?;
    let ended = runtime.block_on(trace(options, general));
    detach::wait_for_all();
    ended
}

async fn trace(options: &TraceOptions, general: &GeneralOptions) -> Result<(), Failure> {
    if !options.target.run.is_empty() && options.capture.js_sites {
        let message = "--js-sites needs a process that runs: start the command first, then trace it by --pid";
        return Err(Failure::new(ExitCode::Usage, message));
    }
    let (launched, pid) = target(options)?;
    allow_many_files();
    let process = Process::open(pid)?;
    let system = System::read();
    check_system(&system)?;
    let recorder = create_files(options)?;

    // From here on a signal must not end leaktrace as it ends any program: whoever is about to be killed cannot take probes away.
    let mut signals = Signals::listen()?;
    // Asked for before anything is attached: where it is refused, nothing was touched.
    let js_sites = if options.capture.js_sites { Some(JsSites::start(&process, options)?) } else { None };

    let settings = settings(&process, options, general, &system);
    let unwind = how_to_unwind(options, &settings)?;
    let mut programs = Programs::load(&settings)?;
    sinks::log_programs(&mut programs);
    let discover = discover_options(options);
    let nop5_is_cheap = system.version.is_some_and(|version| version >= NOP5);
    let mut attacher = Attacher::new(programs, discover, nop5_is_cheap, options.capture.only, unwind);
    let (returns, why) = decide_returns(&process, &system, &mut attacher, options.tuning.plain_probes)?;
    attacher.calibrate(returns);
    let (rings, copies) = attacher
        .programs
        .take_rings()
        .ok_or_else(|| Failure::new(ExitCode::Internal, "the ring buffer is taken"))?;

    let clock = Clock::start();
    let mut attached = Attached::default();
    let maps = process.maps().map_err(|error| gone(pid, &error))?;
    watch(&mut attacher, pid, 0)?;
    let found = attacher.look(&process, 0, returns, &maps, true, &mut attached)?;
    let under_way = UnderWay::new();

    let (wishes, mut wanted) = unbounded_channel();
    let output = sinks::open(&options.view, general, wishes)?;
    let (happenings, happened) = unbounded_channel();
    let view = View { top: options.view.top, sort: options.view.sort, older_than: options.view.older_than };
    let mut copies = Copies::new(copies);
    copies.are_made(0, attached.copies_stacks());
    let mut header = header(&process, &system, &attacher, (&attached, &found), options, returns, why);
    if let Some(launched) = &launched {
        (header.comm, header.exe) = launched.names();
    }
    let mut first = vec![Fact::Start { header: Box::new(header), start_ns: clock.start_ns }];
    first.extend(process_facts(0, &process, &maps, launched.is_some()));
    first.push(found.costs(&attacher.prices));
    let engine = Engine::start(Setup {
        rings,
        parts: Parts {
            copies,
            view,
            output,
            recorder,
            fail_on_leak: options.verdicts.fail_on_leak,
            stacks: options.view.stacks.clone(),
            happenings,
            first,
        },
    })?;
    let repricing = Repricing::new(&options.capture, &attacher.prices);
    let mut supervisor = Supervisor {
        attacher,
        engine,
        clock,
        system,
        children: options.capture.children,
        plain_probes: options.tuning.plain_probes,
        processes: BTreeMap::new(),
        next_index: 1,
        under_way,
        looks: Vec::new(),
        own_cpu: (own_cpu_s(), 0.0),
        functions: BTreeSet::new(),
        limits: Limits::new(),
        launched,
        js_sites,
        heap_walk: WalkPlan::of(&options.capture),
        limited: Limited::of(&options.capture),
        repricing,
    };
    supervisor.tell_found(0, pid, &found, true);
    supervisor.processes.insert(0, Traced::new(process, returns, attached, None));
    if supervisor.children {
        supervisor.follow_children();
    }
    // Whoever ends the trace before it has begun does not want the command either.
    let reason = if supervisor.launched.is_some() && signals.have_come().await {
        EndReason::Interrupted
    } else {
        if let Some(launched) = &mut supervisor.launched {
            launched.go();
        }
        supervisor.supervise(options, signals, happened, &mut wanted).await?
    };
    supervisor.end(reason, options.view.dump_live.clone())
}

/// The process that is asked for: started, where a command is given.
fn target(options: &TraceOptions) -> Result<(Option<Launched>, u32), Failure> {
    let asked = &options.target;
    if !asked.run.is_empty() {
        let launched = Launched::start(&asked.run)?;
        let pid = launched.pid();
        return Ok((Some(launched), pid));
    }
    match (asked.pid, &asked.comm) {
        (Some(pid), _) => Ok((None, pid)),
        (None, Some(name)) => Ok((None, find::by_comm(&name.to_string_lossy())?)),
        (None, None) => {
            Err(Failure::new(ExitCode::Usage, "no process named: give --pid, --comm or -- COMMAND"))
        }
    }
}

fn discover_options(options: &TraceOptions) -> DiscoverOptions {
    DiscoverOptions {
        symbols_prefix: options.capture.symbols_prefix.clone(),
        object: options.capture.object.clone(),
        mappings: options.capture.mmap,
    }
}

/// Makes the files that are asked for. Created before anything is attached: a path that cannot be written is no reason to have touched the target.
fn create_files(options: &TraceOptions) -> Result<Option<Recorder>, Failure> {
    let recording = &options.recording;
    let recorder =
        recording.record.as_ref().map(|path| Recorder::create(path, recording.record_limit)).transpose()?;
    if let Some(path) = &options.view.dump_live {
        crate::output::dump::create_private(path)?;
    }
    stacks::create(&options.view.stacks, None)?;
    Ok(recorder)
}

/// More CPUs share rings: with smaller ones, a thread that allocates alone would fill its own while the reader is kept from
/// running, and the reader follows no more than some ten CPUs that do nothing but allocate.
const MOST_RINGS: u32 = 4;

/// As many rings as CPUs may allocate at one time: those that share one wait for its lock.
fn rings_for(process: &Process, options: &TraceOptions) -> u32 {
    let is_alone = options.target.run.is_empty() && !options.capture.children;
    let cpus = if is_alone { cpus::at_once(process.pid) } else { cpus::allowed(process.pid) };
    cpus.min(MOST_RINGS)
}

/// A ring for copies of stacks holds some of the largest.
const SMALLEST_RING: u32 = 256 << 10;

fn how_to_unwind(options: &TraceOptions, settings: &Settings) -> Result<StackChoice, Failure> {
    if options.capture.unwind == Unwind::Dwarf && !settings.copies {
        let message = "--unwind dwarf needs Linux 5.17 or newer, and a ring of 256 KiB or more";
        return Err(Failure::new(ExitCode::Unsupported, message));
    }
    Ok(StackChoice::new(options.capture.unwind, settings.copies))
}

fn settings(
    process: &Process,
    options: &TraceOptions,
    general: &GeneralOptions,
    system: &System,
) -> Settings {
    let foreign = system.pid_namespace.filter(|namespace| !namespace.is_initial());
    Settings {
        ring_bytes: options.tuning.ring_size,
        rings: options.tuning.rings.unwrap_or_else(|| rings_for(process, options)),
        max_stacks: options.tuning.max_stacks,
        min_size: options.capture.min_size,
        sample: options.capture.sample,
        may_sample: limited::samples_from(&options.capture).is_some(),
        mappings: options.capture.mmap,
        copies: options.capture.unwind != Unwind::Fp
            && options.tuning.ring_size >= SMALLEST_RING
            && copies_stacks(system),
        links: links(options.tuning.links, system),
        log_level: match general.verbose {
            0 => 0,
            1 => 3,
            _ => 5,
        },
        pid_namespace: foreign.map(|namespace| (namespace.dev, namespace.ino)),
    }
}

fn header(
    process: &Process,
    system: &System,
    attacher: &Attacher,
    (attached, found): (&Attached, &Found),
    options: &TraceOptions,
    returns: Returns,
    why: Option<String>,
) -> Header {
    let exe = process.exe.as_ref().map(|path| path.to_string_lossy().into_owned());
    Header {
        t: 0.0,
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wall_time: wall_time(),
        pid: process.pid,
        comm: process.comm.clone(),
        v8: found.v8_record(),
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
            stacks: attached.stacks().to_owned(),
            min_size: options.capture.min_size,
            sample_bytes: options.capture.sample,
            max_overhead: options.capture.max_overhead.0,
            ring_bytes: attacher.programs.ring_sizes().all_bytes(),
            rings: attacher.programs.ring_sizes().count,
            children: options.capture.children,
            mappings: options.capture.mmap,
            v8_only: options.capture.only == Only::V8,
            hit_ns: Some(hit_record(&attacher.prices)),
        },
        allocators: found.allocator_records(),
        runtimes: found.runtime_records(),
        probes: found.probe_records(),
        code: found.code.clone(),
    }
}
