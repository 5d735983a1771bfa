//! `leaktrace doctor`: what this machine and a process allow, what tracing would do there, and the remedy for each
//! thing missing. Nothing is attached to the process.

use std::collections::HashSet;
use std::io::{self, IsTerminal as _};

use super::{
    safety::{NOP5, copies_stacks, links},
    stack_choice::StackChoice,
};
use crate::{
    cli::{DoctorOptions, Format, GeneralOptions, Links, Unwind},
    error::{ExitCode, Failure},
    output::{
        doctor::{Check, DoctorReport, PlannedProbe, Status},
        sink::SinkError,
    },
    probe::{
        plan::{Circumstances, Plan, Returns, plan},
        programs::{Programs, Settings},
    },
    target::{
        allocator::{DiscoverOptions, Discovery, discover},
        elf::FramePointers,
        hazard::{KernelVersion, ReturnProbes, return_probes},
        maps::Mapping,
        memory::Memory,
        process::Process,
        system::System,
        v8::FoundBy,
    },
    unwind::Trust,
};

/// The oldest kernel whose uprobes carry a cookie through a BPF link.
const OLDEST: KernelVersion = KernelVersion::new(5, 15);

/// Checks, and prints what was found.
pub(super) fn run(options: &DoctorOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let system = System::read();
    let mut report = DoctorReport::default();
    report.checks.push(kernel(&system));
    report.checks.push(capabilities(&system));
    report.checks.push(btf(&system));
    let (check_programs, sessions) = programs(&system);
    report.checks.push(check_programs);
    report.checks.push(lockdown(&system));
    report.checks.push(namespace(&system));
    let mut failure = None;
    if let Some(pid) = options.pid
        && let Err(error) = process(pid, &system, sessions, &mut report)
    {
        report.checks.push(check("process", Status::Failed, error.message.clone(), None));
        failure = Some(error);
    }
    let failed =
        report.checks.iter().find(|check| check.status == Status::Failed).map(|check| check.name.clone());
    print(&report, options.format, general).or_else(|error| error.into_failure().map_or(Ok(()), Err))?;
    match (failure, failed) {
        (Some(failure), _) => Err(failure),
        (None, Some(name)) => {
            let code = if name == "capabilities" { ExitCode::NoPermission } else { ExitCode::Unsupported };
            Err(Failure::new(code, format!("tracing does not work here: see '{name}' above")))
        }
        (None, None) => Ok(()),
    }
}

fn print(report: &DoctorReport, format: Format, general: &GeneralOptions) -> Result<(), SinkError> {
    let stdout = io::stdout();
    let is_terminal = stdout.is_terminal();
    let text = format == Format::Table || format == Format::Auto && is_terminal;
    if text {
        let colour = is_terminal && general.colour(std::env::var_os("NO_COLOR").as_deref());
        report.write_text(stdout.lock(), colour)
    } else {
        report.write_ndjson(stdout.lock())
    }
}

fn check(name: &str, status: Status, found: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { name: name.to_owned(), status, found: found.into(), remedy: remedy.map(str::to_owned) }
}

fn kernel(system: &System) -> Check {
    let found = format!("Linux {}", system.release);
    match system.version {
        Some(version) if version >= OLDEST => check("kernel", Status::Ok, found, None),
        Some(_) => check("kernel", Status::Failed, found, Some("leaktrace needs Linux 5.15 or newer")),
        None => check(
            "kernel",
            Status::Warning,
            found,
            Some("its version cannot be read: leaktrace needs Linux 5.15 or newer"),
        ),
    }
}

fn capabilities(system: &System) -> Check {
    let missing = system.capabilities.missing();
    if missing.is_empty() {
        return check("capabilities", Status::Ok, "all that tracing needs", None);
    }
    let found = format!("missing: {}", missing.join(", "));
    check("capabilities", Status::Failed, found, Some("run leaktrace by sudo"))
}

fn btf(system: &System) -> Check {
    if system.btf {
        check("BTF", Status::Ok, "/sys/kernel/btf/vmlinux", None)
    } else {
        check("BTF", Status::Failed, "missing", Some("use a kernel built with CONFIG_DEBUG_INFO_BTF=y"))
    }
}

/// Ring buffer, uprobe programs, raw tracepoints: the proof is that the kernel takes ours. And whether it has sessions.
fn programs(system: &System) -> (Check, bool) {
    if !system.capabilities.missing().is_empty() {
        let found = "not tried without the capabilities";
        return (check("BPF programs", Status::Warning, found, Some("run leaktrace doctor by sudo")), false);
    }
    let bare = Settings::bare(4096, links(Links::Auto, system));
    let settings = Settings { copies: copies_stacks(system), ..bare };
    match Programs::load(&settings) {
        Ok(programs) => {
            let kind = programs.link_kind();
            let found =
                format!("load: ring buffer, uprobes, raw tracepoints; probes are held by {kind} links");
            (check("BPF programs", Status::Ok, found, None), programs.has_sessions())
        }
        Err(error) => {
            let remedy = "see docs/kernels.md for what a kernel must have";
            (check("BPF programs", Status::Failed, error.message, Some(remedy)), false)
        }
    }
}

fn lockdown(system: &System) -> Check {
    match system.lockdown.as_deref() {
        Some("confidentiality") => check(
            "lockdown",
            Status::Failed,
            "confidentiality: BPF may not read memory",
            Some("boot with lockdown=integrity or none"),
        ),
        Some(mode) => check("lockdown", Status::Ok, mode, None),
        None => check("lockdown", Status::Ok, "none", None),
    }
}

fn namespace(system: &System) -> Check {
    match system.pid_namespace {
        Some(namespace) if namespace.is_initial() => {
            check("pid namespace", Status::Ok, "the machine's own", None)
        }
        _ => check(
            "pid namespace",
            Status::Warning,
            "a container's: exec and fork of processes in further containers are not seen at once",
            Some("run leaktrace on the host"),
        ),
    }
}

fn process(pid: u32, system: &System, sessions: bool, report: &mut DoctorReport) -> Result<(), Failure> {
    let process = Process::open(pid)?;
    let exe =
        process.exe.as_ref().map_or_else(|| "unknown program".to_owned(), |exe| exe.display().to_string());
    report.checks.push(check("process", Status::Ok, format!("{} ({exe})", process.comm), None));
    let maps = process.maps().map_err(|error| {
        Failure::new(ExitCode::NoSuchProcess, format!("process {pid} cannot be read any more: {error}"))
    })?;
    let returns = returns(&process, system, report);
    let found = discover(&process, &maps, &DiscoverOptions::default())?;
    allocators(&found, report);
    frame_pointers(pid, &maps, system, report);
    let memory = Memory::open(pid).map_err(|error| {
        Failure::new(ExitCode::NoPermission, format!("cannot read the memory of process {pid}: {error}"))
    })?;
    let nop5_is_cheap = system.version.is_some_and(|version| version >= NOP5);
    let own = HashSet::new();
    let circumstances =
        Circumstances { maps: &maps, memory: &memory, returns, sessions, nop5_is_cheap, own: &own };
    let plan = plan(&found.allocators, &found.v8, found.linker.as_ref(), &circumstances);
    v8(&found, &maps, &memory, report);
    probes(&plan, report);
    Ok(())
}

fn returns(process: &Process, system: &System, report: &mut DoctorReport) -> Returns {
    let facts = process.facts().unwrap_or_default();
    let version = system.version.unwrap_or(NOP5);
    let (status, found, remedy, returns) =
        match return_probes(version, facts.seccomp, facts.shadow_stack, None) {
            ReturnProbes::Allowed => (Status::Ok, "safe".to_owned(), None, Returns::ReturnProbes),
            ReturnProbes::NeedsTrial => (
                Status::Ok,
                "the process has a seccomp filter: one is tried in a child of leaktrace before any is set"
                    .to_owned(),
                None,
                Returns::ReturnProbes,
            ),
            ReturnProbes::PlainOnly { why } => (
                Status::Warning,
                why.to_owned(),
                Some("nothing to do: plain probes are used, which cost more"),
                Returns::PlainProbes,
            ),
        };
    report.checks.push(check("return probes", status, found, remedy));
    returns
}

fn allocators(found: &Discovery, report: &mut DoctorReport) {
    for allocator in &found.allocators {
        let (path, count) = (&allocator.object.display_path, allocator.functions.len());
        let text = format!("{} in {path}: {count} functions ({})", allocator.name, allocator.why);
        report.checks.push(check("allocator", Status::Ok, text, None));
    }
    for runtime in &found.runtimes {
        let text = format!("{}: {}; {}", runtime.name, runtime.visible, runtime.not_visible);
        report.checks.push(check("runtime", Status::Warning, text, None));
    }
    for notice in &found.notices {
        report.checks.push(check("discovery", Status::Warning, notice.clone(), None));
    }
}

/// V8, and how much of its heap can be read.
fn v8(found: &Discovery, maps: &[Mapping], memory: &Memory, report: &mut DoctorReport) {
    for v8 in &found.v8 {
        let version = v8.version(maps, memory).unwrap_or_else(|| "of unknown version".to_owned());
        let path = &v8.object.display_path;
        let (status, how, remedy) = match v8.found_by {
            FoundBy::Symbols => (Status::Ok, format!("{} functions found by name", v8.functions.len()), None),
            FoundBy::CallOrder => (
                Status::Warning,
                "its names were stripped; what gives the heap's size was found in its code".to_owned(),
                Some("kinds and reasons of collections, and verdicts on the heap, need a build with symbols"),
            ),
            FoundBy::Nothing => (
                Status::Warning,
                "its names were stripped, and its code is not as expected: its heap cannot be read"
                    .to_owned(),
                Some("use a build with symbols"),
            ),
        };
        report.checks.push(check("V8", status, format!("V8 {version} in {path}: {how}"), remedy));
    }
}

/// How far frame pointers lead, and what that means for stacks.
fn frame_pointers(pid: u32, maps: &[Mapping], system: &System, report: &mut DoctorReport) {
    let mut choice = StackChoice::new(Unwind::Auto, copies_stacks(system));
    let trust = choice.trust(pid, maps);
    let (mut kept, mut without) = (Vec::new(), Vec::new());
    for file in &trust {
        let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
        match file.frame_pointers {
            Some(FramePointers::Kept) => kept.push(name),
            Some(FramePointers::Mixed) => without.push(format!("{name} (in part)")),
            Some(FramePointers::Omitted) => without.push(name),
            None => {}
        }
    }
    let (status, what_follows) = if choice.are_copied(pid, maps) {
        (Status::Ok, "stacks are followed by unwind tables")
    } else if trust.iter().all(Trust::leads_through) {
        (Status::Ok, "stacks are followed by frame pointers through all else")
    } else {
        (Status::Warning, "stacks are cut there, as unwind tables need Linux 5.17 or newer")
    };
    report.checks.push(match (kept.is_empty(), without.is_empty()) {
        (true, true) => {
            let found = format!("cannot be told, no file has unwind tables to tell from: {what_follows}");
            check("frame pointers", Status::Warning, found, None)
        }
        (_, true) => check("frame pointers", Status::Ok, format!("kept in {}", some_of(&kept)), None),
        _ => {
            let found = format!("missing in {}: {what_follows}", some_of(&without));
            check("frame pointers", status, found, None)
        }
    });
}

/// The first few names, and how many more there are.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let first = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

fn probes(plan: &Plan, report: &mut DoctorReport) {
    for sentence in plan.left_out.iter().chain(&plan.other_probes) {
        report.checks.push(check("probes", Status::Warning, sentence.clone(), None));
    }
    report.probes = plan
        .probes
        .iter()
        .map(|probe| PlannedProbe {
            module: probe.module.clone(),
            function: probe.symbol.clone(),
            offset: probe.offset,
            kind: probe.sees.name().to_owned(),
            cost_class: probe.cost.name().to_owned(),
        })
        .collect();
}
