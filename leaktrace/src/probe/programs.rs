//! Loading the BPF programs, and the maps through which they talk to us.

mod samples;

use std::num::NonZeroU32;

use aya::{
    Btf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, PerCpuArray},
    programs::{ProgramError, RawTracePoint},
};
use leaktrace_common::{CallSlot, Loss, MappingSlot, MeasureSlot, maps, sampling::Control};

use super::{
    copies::CopyMaps,
    links::{AttachPoint, Link, LinkError, Linker, PerfLinks, Program},
    multi::MultiLinks,
    object,
    rings::{RingSizes, Rings},
    run_times::{Measuring, Runs},
};
use crate::error::{ExitCode, Failure};

/// Raw tracepoints and the programs on them.
const LIFECYCLE: [(&str, &str); 3] = [
    ("process_fork", "sched_process_fork"),
    ("process_exec", "sched_process_exec"),
    ("task_exit", "sched_process_exit"),
];

/// Threads whose mapping calls are followed, as many as those of allocation calls.
const MAX_THREADS: u32 = 1 << 15;

/// Sampled blocks that live at one time: where samples were asked for, and where they may have to be taken later on.
const MAX_SAMPLED: u32 = 1 << 19;
/// Sampled blocks that live at one time, where samples were not asked for and may have to be taken later on.
pub const MAX_SAMPLED_LATER: u32 = 1 << 17;

/// Return addresses that stacks are followed from: a program of a hundred megabytes of code has some ten thousand on
/// its way to allocations.
const MAX_RULES: u32 = 1 << 18;

/// What the programs are told before they are loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of all ring buffers together; the kernel wants a power of two of pages, to which it is rounded up.
    pub ring_bytes: u32,
    /// How many ring buffers there are, at most: a power of two, to which it is rounded up.
    pub rings: u32,
    /// How many distinct stacks are told apart.
    pub max_stacks: u32,
    /// Calls that ask for fewer bytes are not traced.
    pub min_size: u64,
    /// Samples are taken, one in so many bytes on average; 0 traces everything.
    pub sample: u64,
    /// Samples may be taken later on: see [`Programs::control`].
    pub may_sample: bool,
    /// Mappings are traced too.
    pub mappings: bool,
    /// Stacks may be copied.
    pub copies: bool,
    /// Which kind of link holds the probes.
    pub links: Links,
    /// 0 no diagnostics of the programs, up to 5 all of them.
    pub log_level: u8,
    /// Device and inode of our pid namespace, where it is not the initial one.
    pub pid_namespace: Option<(u64, u64)>,
}

impl Settings {
    /// Everything is traced and nothing optional is there: to see what the kernel takes.
    pub const fn bare(ring_bytes: u32, links: Links) -> Self {
        Self {
            ring_bytes,
            rings: 1,
            max_stacks: 16,
            min_size: 0,
            sample: 0,
            may_sample: false,
            mappings: false,
            copies: false,
            links,
            log_level: 0,
            pid_namespace: None,
        }
    }
}

/// Which kind of kernel link holds the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// The best that the kernel takes: sessions, uprobe_multi, perf.
    Best,
    /// Sessions, or a failure.
    Session,
    /// uprobe_multi, or a failure.
    Multi,
    /// perf: an event for each probe.
    Perf,
}

/// The loaded programs.
pub struct Programs {
    ebpf: Ebpf,
    linker: Box<dyn Linker + Send>,
    losses: PerCpuArray<MapData, u64>,
    /// Losses that were none of a target's.
    discarded: [u64; Loss::COUNT],
    targets: HashMap<MapData, u32, u32>,
    sampled: HashMap<MapData, u64, u8>,
    /// How samples are taken at present.
    control: Array<MapData, u64>,
    /// Calls under way, by thread; only the keys are of use here.
    calls: HashMap<MapData, u64, [u8; size_of::<CallSlot>()]>,
    /// Calls that are not told; `None` where all are.
    passed: Option<PerCpuArray<MapData, u64>>,
    /// How the stacks of each process are taken.
    unwind: Array<MapData, u32>,
    /// The rings, and what their reader tells the programs.
    rings: Option<(Rings, CopyMaps)>,
    /// How the programs find them; programs that are loaded later ask it too.
    _finder: ArrayOfMaps<MapData>,
    sizes: RingSizes,
    log_level: u8,
    may_sample_later: bool,
    /// The programs for V8 are loaded.
    has_v8: bool,
}

impl Programs {
    /// Loads the programs into the kernel and attaches those that watch processes come and go.
    pub fn load(settings: &Settings) -> Result<Self, Failure> {
        let bytes = object::bytes()?;
        let mut ebpf = load_object(&bytes, settings)?;
        for (name, tracepoint) in LIFECYCLE {
            attach_tracepoint(&mut ebpf, name, tracepoint).map_err(|error| program_failure(name, &error))?;
        }
        let linker = linker(&bytes, &mut ebpf, settings)?;
        check_value_size::<CallSlot>(&ebpf, maps::CALLS)?;
        check_value_size::<MappingSlot>(&ebpf, maps::MAPPING_CALLS)?;
        check_value_size::<MeasureSlot>(&ebpf, maps::MEASURES)?;
        let losses = PerCpuArray::try_from(take_map(&mut ebpf, maps::LOSSES)?).map_err(map_failure)?;
        let targets = HashMap::try_from(take_map(&mut ebpf, maps::TARGETS)?).map_err(map_failure)?;
        let unwind = Array::try_from(take_map(&mut ebpf, maps::UNWIND)?).map_err(map_failure)?;
        let sampled = HashMap::try_from(take_map(&mut ebpf, maps::SAMPLED)?).map_err(map_failure)?;
        let control = Array::try_from(take_map(&mut ebpf, maps::CONTROL)?).map_err(map_failure)?;
        let calls = HashMap::try_from(take_map(&mut ebpf, maps::CALLS)?).map_err(map_failure)?;
        let passed = PerCpuArray::try_from(take_map(&mut ebpf, maps::PASSED)?).map_err(map_failure)?;
        let copies = copy_maps(&mut ebpf)?;
        let mut finder = ArrayOfMaps::try_from(take_map(&mut ebpf, maps::RINGS)?).map_err(map_failure)?;
        let sizes = RingSizes::new(settings.ring_bytes, settings.rings);
        let rings = Rings::make(sizes, &mut finder).map_err(map_failure)?;
        let mut programs = Self {
            ebpf,
            linker,
            losses,
            discarded: [0; Loss::COUNT],
            targets,
            sampled,
            control,
            calls,
            passed: (settings.sample > 0 || settings.may_sample || settings.min_size > 0).then_some(passed),
            unwind,
            rings: Some((rings, copies)),
            _finder: finder,
            sizes,
            log_level: settings.log_level,
            may_sample_later: settings.may_sample && settings.sample == 0,
            has_v8: false,
        };
        if settings.sample > 0 {
            programs.control(Control::samples(settings.sample, 1))?;
        }
        Ok(programs)
    }

    /// The ring buffers, for whoever reads them, and by which maps it tells the programs how to follow stacks; `None` when
    /// they were taken before.
    pub fn take_rings(&mut self) -> Option<(Rings, CopyMaps)> {
        self.rings.take()
    }

    /// Has the stacks of a process copied, or followed by frame pointers.
    pub fn copy_stacks(&mut self, process: u16, copied: bool) -> Result<(), Failure> {
        self.unwind.set(u32::from(process), u32::from(copied), 0).map_err(map_failure)
    }

    /// How many ring buffers there are, and of which size.
    pub const fn ring_sizes(&self) -> RingSizes {
        self.sizes
    }

    /// The kind of kernel link that holds the probes.
    pub fn link_kind(&self) -> &'static str {
        self.linker.kind()
    }

    /// Whether one link sees a call and its return.
    pub fn has_sessions(&self) -> bool {
        self.linker.has_sessions()
    }

    /// Puts probes in place that are [alike](AttachPoint::is_like): all of them, or none. The programs for V8 are loaded
    /// when the first of their probes is.
    pub fn attach(&mut self, points: &[AttachPoint]) -> Result<Vec<Box<dyn Link>>, LinkError> {
        if points.iter().any(|point| point.program.is_v8()) && !self.has_v8 {
            for program in Program::ALL.into_iter().filter(|one| one.is_v8()) {
                self.linker.load(&mut self.ebpf, program)?;
            }
            self.has_v8 = true;
        }
        self.linker.attach(&mut self.ebpf, points)
    }

    /// Tells the tracepoints to report on a process under its index.
    pub fn watch(&mut self, pid: NonZeroU32, process: u16) -> Result<(), Failure> {
        self.targets.insert(pid.get(), u32::from(process), 0).map_err(map_failure)
    }

    /// A process is gone: the tracepoints need not report on it any more, and its samples make room.
    pub fn unwatch(&mut self, pid: u32, process: u16) {
        // It may never have been watched; then there is nothing to take away.
        let _ = self.targets.remove(&pid);
        self.forget_samples(process);
    }

    /// Forgets the calls that were under way when the probes went: their returns were not seen.
    pub fn forget_calls(&mut self) {
        let threads: Vec<u64> = self.calls.keys().filter_map(Result::ok).collect();
        for thread in threads {
            // It may have been given up by its thread's end.
            let _ = self.calls.remove(&thread);
        }
    }

    /// Has the kernel measure how long the programs run; `None` where that cannot be.
    pub fn measure(&self) -> Option<Measuring> {
        Measuring::begin(self.linker.runs())
    }

    /// What ran since it is measured.
    pub fn ran(&self, measuring: &Measuring) -> Runs {
        measuring.since(self.linker.runs())
    }

    /// Throws away all that probes on a process of our own have caused: records, stacks, samples, losses. Only before any
    /// other process is probed, and before the ring is taken.
    pub fn discard(&mut self, process: u16) {
        self.discard_records();
        self.forget_samples(process);
        self.discarded = self.all_losses();
    }

    /// Throws away the records that wait, so that the ring has room for more of them.
    pub fn discard_records(&mut self) {
        if let Some((rings, copies)) = &mut self.rings {
            rings.discard(|stack| copies.forget_stack(stack));
        }
    }

    /// What the programs lost so far, by cause, summed over all CPUs.
    pub fn losses(&self) -> [u64; Loss::COUNT] {
        let mut losses = self.all_losses();
        for (count, discarded) in losses.iter_mut().zip(self.discarded) {
            *count = count.saturating_sub(discarded);
        }
        losses
    }

    fn all_losses(&self) -> [u64; Loss::COUNT] {
        Loss::ALL.map(|loss| {
            let per_cpu = self.losses.get(&(loss as u32), 0);
            per_cpu.map_or(0, |values| values.iter().sum())
        })
    }

    /// The reader of the programs' own diagnostics, where they were asked for.
    pub fn logger(&mut self) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
        if self.log_level == 0 {
            return None;
        }
        aya_log::EbpfLogger::init(&mut self.ebpf)
            .inspect_err(|error| tracing::warn!("the BPF programs' diagnostics cannot be read: {error}"))
            .ok()
    }
}

/// Loads the programs that probes run, for the kind of link that is to hold them.
fn linker(bytes: &[u8], ebpf: &mut Ebpf, settings: &Settings) -> Result<Box<dyn Linker + Send>, Failure> {
    let rungs: &[(bool, &str)] = match settings.links {
        Links::Best => &[(true, "uprobe_session"), (false, "uprobe_multi")],
        Links::Session => &[(true, "uprobe_session")],
        Links::Multi => &[(false, "uprobe_multi")],
        Links::Perf => &[],
    };
    for &(sessions, name) in rungs {
        let links = MultiLinks::new(bytes, ebpf, sessions)
            .and_then(|mut links| load_asked(&mut links, ebpf, settings).map(|()| links));
        match links {
            Ok(links) => return Ok(Box::new(links)),
            Err(error) if settings.links != Links::Best => {
                let message = format!("this kernel takes no programs for {name} links ({error})");
                return Err(Failure::new(ExitCode::Unsupported, message));
            }
            Err(error) => tracing::debug!("no {name} links, as their programs do not load: {error}"),
        }
    }
    let mut links = PerfLinks;
    load_asked(&mut links, ebpf, settings).map_err(|error| match error {
        LinkError::Load(name, error) => program_failure(name, &error),
        error => Failure::new(ExitCode::Internal, format!("the BPF programs cannot be loaded: {error}")),
    })?;
    Ok(Box::new(links))
}

/// What is not asked for costs nothing: not even the verifier's time.
fn load_asked(linker: &mut dyn Linker, ebpf: &mut Ebpf, settings: &Settings) -> Result<(), LinkError> {
    let sessions = linker.has_sessions();
    let is_asked = |one: &Program| {
        !one.is_v8()
            && (settings.mappings || !one.is_mapping())
            && (sessions || *one != Program::AllocSession)
    };
    Program::ALL.into_iter().filter(is_asked).try_for_each(|program| linker.load(ebpf, program))
}

fn load_object(bytes: &[u8], settings: &Settings) -> Result<Ebpf, Failure> {
    let btf = Btf::from_sys_fs().ok();
    let (dev, ino) = settings.pid_namespace.unwrap_or_default();
    let initial = u32::from(settings.pid_namespace.is_none());
    let sizes = RingSizes::new(settings.ring_bytes, settings.rings);
    let wake_bytes = u64::from(sizes.bytes / 16).min(1 << 18);
    let mappings = u32::from(settings.mappings);
    let copy_room = if settings.copies { u64::from(sizes.bytes / 4) } else { 0 };
    let rules = if settings.copies { MAX_RULES } else { 1 };
    let sampled = match settings {
        Settings { sample: 1.., .. } => MAX_SAMPLED,
        Settings { may_sample: true, .. } => MAX_SAMPLED_LATER,
        _ => 1,
    };
    let mapping_calls = if settings.mappings { MAX_THREADS } else { 1 };
    EbpfLoader::new()
        .btf(btf.as_ref())
        .map_max_entries(maps::RINGS, sizes.count)
        .map_max_entries(maps::KNOWN_STACKS, settings.max_stacks.max(1))
        .map_max_entries(maps::RULES, rules)
        .map_max_entries(maps::MAPPING_CALLS, mapping_calls)
        .map_max_entries(maps::SAMPLED, sampled)
        .override_global("MAY_SAMPLE", &u32::from(sampled > 1), true)
        .override_global("RING_MASK", &(sizes.count - 1), true)
        .override_global("COPY_ROOM", &copy_room, true)
        .override_global("MAPPINGS", &mappings, true)
        .override_global("MIN_SIZE", &settings.min_size, true)
        .override_global("WAKE_BYTES", &wake_bytes, true)
        .override_global("INITIAL_PID_NAMESPACE", &initial, true)
        .override_global("PID_NAMESPACE_DEV", &dev, true)
        .override_global("PID_NAMESPACE_INO", &ino, true)
        .override_global(aya_log::LEVEL, &settings.log_level, true)
        .load(bytes)
        .map_err(|error| load_failure(&error))
}

fn attach_tracepoint(ebpf: &mut Ebpf, name: &str, tracepoint: &str) -> Result<(), ProgramError> {
    let program: &mut RawTracePoint = ebpf.program_mut(name).ok_or(ProgramError::NotLoaded)?.try_into()?;
    program.load()?;
    // The link stays with the program, and is gone with it.
    program.attach(tracepoint)?;
    Ok(())
}

fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, Failure> {
    ebpf.take_map(name)
        .ok_or_else(|| Failure::new(ExitCode::Internal, format!("the BPF object has no map {name}")))
}

fn copy_maps(ebpf: &mut Ebpf) -> Result<CopyMaps, Failure> {
    Ok(CopyMaps::new(
        Array::try_from(take_map(ebpf, maps::CODE_PAGES)?).map_err(map_failure)?,
        HashMap::try_from(take_map(ebpf, maps::RULES)?).map_err(map_failure)?,
        HashMap::try_from(take_map(ebpf, maps::KNOWN_STACKS)?).map_err(map_failure)?,
        Array::try_from(take_map(ebpf, maps::UNSURE)?).map_err(map_failure)?,
    ))
}

/// A map whose values have another size than ours would be read as garbage.
fn check_value_size<T>(ebpf: &Ebpf, name: &str) -> Result<(), Failure> {
    let size = match ebpf.map(name) {
        Some(Map::HashMap(map)) => map.info().map_err(map_failure)?.value_size(),
        _ => 0,
    };
    if size as usize == size_of::<T>() {
        Ok(())
    } else {
        let ours = size_of::<T>();
        Err(Failure::new(
            ExitCode::Internal,
            format!(
                "values of the BPF map {name} have {size} bytes, not {ours}; run `cargo xtask bpf build`"
            ),
        ))
    }
}

fn load_failure(error: &EbpfError) -> Failure {
    let text = format!("{:#}", anyhow::Error::msg(chain(error)));
    if text.contains("Operation not permitted") || text.contains("Permission denied") {
        return Failure::new(
            ExitCode::NoPermission,
            format!(
                "the kernel refused to load the BPF programs ({text}); run leaktrace as root, or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
            ),
        );
    }
    Failure::new(
        ExitCode::Unsupported,
        format!(
            "this kernel cannot load the BPF programs ({text}); leaktrace needs Linux 5.15 or newer, see `leaktrace doctor`"
        ),
    )
}

fn program_failure(name: &str, error: &ProgramError) -> Failure {
    let text = chain(error);
    tracing::debug!("loading {name} failed: {text}");
    if text.contains("Operation not permitted") || text.contains("Permission denied") && !text.contains("R0")
    {
        return Failure::new(
            ExitCode::NoPermission,
            format!(
                "the kernel refused the BPF program {name}; run leaktrace as root, or give it CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
            ),
        );
    }
    // The verifier's verdict stands at the end of its log.
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let short = lines[lines.len().saturating_sub(4)..].join(" | ");
    Failure::new(
        ExitCode::Unsupported,
        format!(
            "this kernel does not accept the BPF program {name} ({short}); `leaktrace doctor` lists what is needed, -v shows more"
        ),
    )
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn map_failure(error: aya::maps::MapError) -> Failure {
    Failure::new(ExitCode::Internal, format!("a BPF map cannot be used: {}", chain(&error)))
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
