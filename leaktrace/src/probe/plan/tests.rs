//! Plans for the allocators of this machine, in processes that run them.

use std::{
    collections::BTreeMap,
    collections::HashSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::target::{
    allocator::{AllocatorKind, DiscoverOptions, FUNCTIONS, discover},
    process::Process,
};

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A process that has said that it runs, and ends with its test.
struct Runner(Child);

impl Runner {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// A shell that waits for its input, with a library loaded into it before all others.
    fn shell(preload: Option<&Path>) -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo ready; read line"]);
        if let Some(library) = preload {
            command.env("LD_PRELOAD", library);
        }
        Self::start(&mut command)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The plan for the allocator of a kind in a process, mappings included.
fn plan_of(runner: &Runner, kind: AllocatorKind, (returns, sessions): (Returns, bool)) -> Plan {
    let process = Process::open(runner.0.id()).unwrap();
    let maps = process.maps().unwrap();
    let memory = Memory::open(process.pid).unwrap();
    let discovery =
        discover(&process, &maps, &DiscoverOptions { mappings: true, ..DiscoverOptions::default() }).unwrap();
    let allocators: Vec<_> = discovery.allocators.into_iter().filter(|one| one.kind == kind).collect();
    assert!(!allocators.is_empty(), "no {} found", kind.name());
    let circumstances = Circumstances {
        maps: &maps,
        memory: &memory,
        returns,
        sessions,
        nop5_is_cheap: false,
        own: &HashSet::new(),
    };
    plan(&allocators, &[], discovery.linker.as_ref(), &circumstances)
}

fn order(program: Program) -> u8 {
    match program {
        Program::ObjectsChanged => 0,
        Program::FreeEnter => 1,
        Program::AllocReturn
        | Program::AllocRet
        | Program::NewRet
        | Program::MeasureReturn
        | Program::MeasureRet => 2,
        Program::AllocEnter | Program::AllocSession | Program::NewEnter | Program::MeasureEnter => 3,
        Program::MappingReturn | Program::MappingRet => 4,
        Program::MappingEnter => 5,
        Program::GcStep => 6,
    }
}

/// What holds of every plan.
fn check(plan: &Plan, returns: Returns) {
    assert!(
        plan.probes.is_sorted_by_key(|probe| (order(probe.program), probe.cookie.role != Role::Reallocate)),
        "out of order"
    );
    let mut places = BTreeSet::new();
    let mut sees: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for probe in &plan.probes {
        let place = (&probe.path, probe.program.name(), probe.file_offset);
        assert!(places.insert(place), "twice: {probe:?}");
        sees.entry((&probe.module, &probe.symbol)).or_default().insert(probe.sees.name());
        let spec = &FUNCTIONS[usize::from(probe.cookie.function)];
        let return_probe =
            matches!(probe.program, Program::AllocReturn | Program::AllocSession | Program::MappingReturn);
        assert_eq!(probe.program.is_mapping(), spec.role.is_mapping(), "{probe:?}");
        assert!(!(return_probe && (spec.throws || returns == Returns::PlainProbes)), "{probe:?}");
        assert_eq!(matches!(probe.program, Program::NewEnter | Program::NewRet), spec.role == Role::New);
        assert_eq!(probe.program == Program::FreeEnter, spec.role == Role::Free);
    }
    for ((module, symbol), sees) in &sees {
        println!("    {symbol} of {module}: {sees:?}");
        assert!(["entry", "ret", "session"].iter().any(|one| sees.contains(one)), "{symbol}");
    }
    assert!(plan.other_probes.is_empty(), "{:?}", plan.other_probes);
}

/// Plans for an allocator in both modes; its four central functions must be seen.
fn plans(runner: &Runner, kind: AllocatorKind, most_left_out: usize) {
    for how in [(Returns::ReturnProbes, true), (Returns::ReturnProbes, false), (Returns::PlainProbes, true)] {
        let plan = plan_of(runner, kind, how);
        println!("{} with {how:?}: {} probes", kind.name(), plan.probes.len());
        check(&plan, how.0);
        let has_sessions = plan.probes.iter().any(|probe| probe.program == Program::AllocSession);
        assert_eq!(has_sessions, how == (Returns::ReturnProbes, true));
        for sentence in &plan.left_out {
            println!("    left out: {sentence}");
        }
        assert!(plan.left_out.len() <= most_left_out, "{} are left out", plan.left_out.len());
        for name in ["malloc", "calloc", "realloc", "free"] {
            let is_left_out = plan.left_out.iter().any(|one| one.starts_with(&format!("{name} of ")));
            assert!(!is_left_out, "{name} is left out");
        }
    }
}

/// Plans for a library of the distribution; a missing one fails, unless LEAKTRACE_SKIP_MISSING=1 is set.
fn preloaded(library: &str, kind: AllocatorKind, most_left_out: usize) {
    let path = Path::new(LIBRARIES).join(library);
    if !path.exists() && std::env::var_os("LEAKTRACE_SKIP_MISSING").is_some_and(|value| value == "1") {
        println!("SKIPPED: {} is missing", path.display());
        return;
    }
    assert!(path.exists(), "{} is missing; LEAKTRACE_SKIP_MISSING=1 skips it", path.display());
    plans(&Runner::shell(Some(&path)), kind, most_left_out);
}

/// Entry and return of each mapping function are seen, in both modes.
fn mappings(runner: &Runner, kind: AllocatorKind, names: &[&str]) {
    for returns in [Returns::ReturnProbes, Returns::PlainProbes] {
        let plan = plan_of(runner, kind, (returns, true));
        for name in names {
            let programs: BTreeSet<&str> = plan
                .probes
                .iter()
                .filter(|probe| probe.symbol == *name)
                .map(|probe| probe.program.name())
                .collect();
            let seen = if returns == Returns::ReturnProbes { "mapping_return" } else { "mapping_ret" };
            assert_eq!(programs, BTreeSet::from(["mapping_enter", seen]), "{name}");
        }
    }
}

#[test]
fn glibc() {
    let runner = Runner::shell(None);
    plans(&runner, AllocatorKind::Glibc, 0);
    mappings(&runner, AllocatorKind::Glibc, &["mmap", "munmap", "mremap", "mprotect"]);
}

#[test]
fn jemalloc() {
    preloaded("libjemalloc.so.2", AllocatorKind::Jemalloc, 0);
}

#[test]
fn tcmalloc() {
    preloaded("libtcmalloc_minimal.so.4", AllocatorKind::Tcmalloc, 0);
}

#[test]
fn mimalloc() {
    preloaded("libmimalloc.so.2", AllocatorKind::Mimalloc, 0);
}

const PROGRAM: &str = r#"
#include <stdlib.h>
#include <stdio.h>
int main(void) {
    void *volatile blocks[4] = { malloc(10), calloc(2, 5), aligned_alloc(64, 64), 0 };
    blocks[3] = realloc(blocks[0], 5000);
    for (int i = 1; i < 4; i++) free(blocks[i]);
    puts("ready");
    fflush(stdout);
    getchar();
}
"#;

#[test]
fn static_musl() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("victim.c"), PROGRAM).unwrap();
    let compiled = Command::new("musl-gcc")
        .args(["-O1", "-fno-builtin", "-static", "-o", "victim", "victim.c"])
        .current_dir(directory.path())
        .status();
    let skips = std::env::var_os("LEAKTRACE_SKIP_MISSING").is_some_and(|value| value == "1");
    match compiled {
        Err(error) if skips => return println!("SKIPPED: musl-gcc: {error}"),
        compiled => assert!(compiled.unwrap().success()),
    }
    let runner = Runner::start(&mut Command::new(directory.path().join("victim")));
    plans(&runner, AllocatorKind::Musl, 0);
    mappings(&runner, AllocatorKind::Musl, &["mmap", "munmap"]);
}
