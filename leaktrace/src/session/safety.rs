//! What decides, before anything is attached, whether and how a process can be traced without harm.

use super::attach::Attacher;
use crate::{
    cli,
    error::{ExitCode, Failure},
    probe::{multi::WHOLE_PROCESSES, plan::Returns, programs::Links, trial},
    target::{
        hazard::{KernelVersion, ReturnProbes, return_probes},
        process::Process,
        system::System,
    },
};

/// From this kernel on a probed five-byte nop becomes a call, which is cheap.
pub(super) const NOP5: KernelVersion = KernelVersion::new(6, 18);

/// From this kernel on a program can have a function called for each piece of a stack.
const BPF_LOOP: KernelVersion = KernelVersion::new(5, 17);

/// Whether stacks can be copied on this machine.
pub(super) fn copies_stacks(system: &System) -> bool {
    system.version.is_some_and(|version| version >= BPF_LOOP)
}

/// The kind of kernel link that is to hold the probes.
pub(super) fn links(asked: cli::Links, system: &System) -> Links {
    match asked {
        cli::Links::Session => Links::Session,
        cli::Links::Multi => Links::Multi,
        cli::Links::Auto if system.version.is_some_and(|version| version >= WHOLE_PROCESSES) => Links::Best,
        cli::Links::Auto | cli::Links::Perf => Links::Perf,
    }
}

/// Refuses a machine that cannot do it, before anything is tried on the target.
pub(super) fn check_system(system: &System) -> Result<(), Failure> {
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

/// How returns are to be seen in a process without harm to it, and why, where that is not the usual way.
pub(super) fn decide_returns(
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
        ReturnProbes::NeedsTrial => decide(Some(trial::run(&mut attacher.programs))),
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

/// The failure of a process that went away under our hands.
pub(super) fn gone(pid: u32, error: &std::io::Error) -> Failure {
    Failure::new(ExitCode::NoSuchProcess, format!("process {pid} cannot be read any more: {error}"))
}
