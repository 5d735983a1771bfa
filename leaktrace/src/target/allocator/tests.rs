//! Discovery in real programs of this machine, and in programs built here.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use leaktrace_common::Role;

use super::*;
use crate::target::maps;

/// A program that says it is ready, and ends with its test.
/// A program, and its output: were that closed, the next line it writes would end it.
struct Victim(Child, #[expect(dead_code, reason = "held open")] BufReader<ChildStdout>);

impl Victim {
    /// Starts a program and waits until it has written a line.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        Self(child, output)
    }

    fn process(&self) -> Process {
        Process::open(self.0.id()).unwrap()
    }

    fn discover(&self, options: &DiscoverOptions) -> Result<Discovery, Failure> {
        let process = self.process();
        discover(&process, &maps::read(process.pid).unwrap(), options)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) { free(malloc(100)); puts("ready"); fflush(stdout); pause(); }
"#;

const CXX_PROGRAM: &str = r#"
#include <cstdio>
#include <cstdlib>
#include <unistd.h>
int main() { delete new int; delete[] new char[100]; free(malloc(10)); puts("ready"); fflush(stdout); pause(); }
"#;

fn build(directory: &Path, compiler: &str, source: &str, flags: &[&str]) -> PathBuf {
    let file = if compiler == "g++" { "victim.cc" } else { "victim.c" };
    std::fs::write(directory.join(file), source).unwrap();
    let output = Command::new(compiler)
        .args(["-O1", "-fno-builtin", "-o", "victim", file])
        .args(flags)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory.join("victim")
}

fn names(found: &FoundFunction) -> impl Iterator<Item = &str> {
    std::iter::once(&found.symbol).chain(&found.aliases).map(String::as_str)
}

fn symbols(allocator: &Allocator) -> BTreeSet<&str> {
    allocator.functions.iter().flat_map(names).collect()
}

fn kinds(discovery: &Discovery) -> Vec<AllocatorKind> {
    discovery.allocators.iter().map(|allocator| allocator.kind).collect()
}

fn preloaded(library: &str) -> Discovery {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "g++", CXX_PROGRAM, &[]);
    let library = Path::new("/usr/lib/x86_64-linux-gnu").join(library);
    assert!(library.exists(), "{} is needed for this test", library.display());
    let victim = Victim::start(Command::new(program).env("LD_PRELOAD", library));
    victim.discover(&DiscoverOptions::default()).unwrap()
}

fn of_kind(discovery: &Discovery, kind: AllocatorKind) -> &Allocator {
    discovery.allocators.iter().find(|allocator| allocator.kind == kind).unwrap()
}

fn assert_has(allocator: &Allocator, wanted: &[&str]) {
    let names = symbols(allocator);
    let missing: Vec<_> = wanted.iter().filter(|name| !names.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} missing in {names:?}");
}

#[test]
fn glibc_is_found_with_its_linker_but_without_the_operators_of_libstdcxx() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "g++", CXX_PROGRAM, &[]);
    let victim = Victim::start(&mut Command::new(program));
    let discovery = victim.discover(&DiscoverOptions::default()).unwrap();
    assert_eq!(kinds(&discovery), [AllocatorKind::Glibc]);
    let glibc = &discovery.allocators[0];
    assert_has(glibc, &["malloc", "calloc", "realloc", "reallocarray", "posix_memalign", "free", "memalign"]);
    assert!(!symbols(glibc).contains("mmap") && glibc.why.contains(".dynsym") && !glibc.is_static);
    let (linker, announcement) = discovery.linker.unwrap();
    assert!(linker.file_name().starts_with("ld-linux"), "{}", linker.display_path);
    assert_eq!(announcement.spec().unwrap().role, Role::ObjectsChanged);

    let options = DiscoverOptions { mappings: true, ..DiscoverOptions::default() };
    assert_has(
        &victim.discover(&options).unwrap().allocators[0],
        &["mmap", "mmap64", "munmap", "mremap", "mprotect"],
    );
}

#[test]
fn our_own_program_is_discovered() {
    let victim =
        Victim::start(Command::new("python3").args(["-uc", "print(1); input()"]).stdin(Stdio::piped()));
    let discovery = victim.discover(&DiscoverOptions::default()).unwrap();
    assert_eq!(kinds(&discovery), [AllocatorKind::Glibc]);
    assert_eq!(discovery.runtimes.iter().map(|runtime| runtime.name).collect::<Vec<_>>(), ["CPython"]);
}

#[test]
fn jemalloc_brings_its_own_operators() {
    let discovery = preloaded("libjemalloc.so.2");
    let jemalloc = of_kind(&discovery, AllocatorKind::Jemalloc);
    assert_has(jemalloc, &["malloc", "free", "_Znwm", "_ZdlPv", "mallocx", "rallocx", "dallocx", "sdallocx"]);
    let throwing = jemalloc.functions.iter().filter(|found| found.spec().unwrap().throws);
    assert!(throwing.count() > 0);
    assert!(kinds(&discovery).contains(&AllocatorKind::Glibc));
}

#[test]
fn tcmalloc_is_found_with_its_aliases() {
    let discovery = preloaded("libtcmalloc_minimal.so.4");
    let tcmalloc = of_kind(&discovery, AllocatorKind::Tcmalloc);
    assert_has(
        tcmalloc,
        &["malloc", "free", "_Znwm", "_ZdlPv", "tc_malloc", "tc_new", "tc_malloc_skip_new_handler"],
    );
    let addresses: BTreeSet<u64> = tcmalloc.functions.iter().map(|found| found.vaddr).collect();
    assert_eq!(addresses.len(), tcmalloc.functions.len());
}

#[test]
fn mimalloc_is_found_with_its_own_names() {
    let discovery = preloaded("libmimalloc.so.2");
    let mimalloc = of_kind(&discovery, AllocatorKind::Mimalloc);
    assert_has(mimalloc, &["malloc", "free", "mi_malloc", "mi_heap_malloc", "mi_zalloc", "mi_free", "_Znwm"]);
}

#[test]
fn static_musl_programs_are_traced_in_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "musl-gcc", PROGRAM, &["-static"]);
    let victim = Victim::start(&mut Command::new(&program));
    let discovery = victim.discover(&DiscoverOptions::default()).unwrap();
    assert_eq!(kinds(&discovery), [AllocatorKind::Musl]);
    assert!(discovery.allocators[0].is_static && discovery.linker.is_none());
    assert_has(&discovery.allocators[0], &["malloc", "free"]);
}

#[test]
fn dynamic_musl_is_allocator_and_linker() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "musl-gcc", PROGRAM, &[]);
    let victim = Victim::start(&mut Command::new(&program));
    let discovery = victim.discover(&DiscoverOptions::default()).unwrap();
    assert_eq!(kinds(&discovery), [AllocatorKind::Musl]);
    assert_eq!(discovery.linker.unwrap().0.identity, discovery.allocators[0].object.identity);
}

#[test]
fn operators_that_only_call_malloc_are_left_out_of_static_programs() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "g++", CXX_PROGRAM, &["-static"]);
    let victim = Victim::start(&mut Command::new(&program));
    let discovery = victim.discover(&DiscoverOptions::default()).unwrap();
    assert_eq!(kinds(&discovery), [AllocatorKind::Glibc]);
    let names = symbols(&discovery.allocators[0]);
    assert!(names.contains("malloc") && names.contains("free"));
    assert!(!names.iter().any(|name| name.starts_with("_Z")), "{names:?}");
}

#[test]
fn a_stripped_static_program_is_refused_with_a_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "musl-gcc", PROGRAM, &["-static", "-s"]);
    let victim = Victim::start(&mut Command::new(&program));
    let failure = victim.discover(&DiscoverOptions::default()).unwrap_err();
    assert_eq!(failure.code, ExitCode::Unsupported);
    assert!(
        failure.message.contains("no allocation function found") && failure.message.contains("debug symbols")
    );
}

#[test]
fn prefixes_and_deleted_files_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let library = "#include <stdlib.h>\nvoid *my_malloc(size_t n) { return malloc(n); }\n\
                   void my_free(void *p) { free(p); }\nvoid *my_mallocx(size_t n, int f) { return f ? 0 : malloc(n); }\n\
                   void *your_malloc(size_t n) { return malloc(n); }\nvoid your_free(void *p) { free(p); }\n";
    let program = build(directory.path(), "gcc", &format!("{library}{PROGRAM}"), &[]);
    let victim = Victim::start(&mut Command::new(&program));
    std::fs::remove_file(&program).unwrap();
    assert!(victim.process().exe_deleted);
    let names = |options: &DiscoverOptions| -> Vec<String> {
        let discovery = victim.discover(options).unwrap();
        discovery.allocators.into_iter().map(|allocator| allocator.name).collect()
    };
    assert_eq!(names(&DiscoverOptions::default()), ["jemalloc (my_)", "glibc"]);
    let asked = DiscoverOptions { symbols_prefix: Some("your_".into()), ..DiscoverOptions::default() };
    assert_eq!(names(&asked), ["jemalloc (my_)", "unknown allocator (your_)", "glibc"]);
    let unknown = DiscoverOptions { symbols_prefix: Some("their_".into()), ..DiscoverOptions::default() };
    assert_eq!(victim.discover(&unknown).unwrap_err().code, ExitCode::Unsupported);
}

#[test]
fn a_named_object_is_examined_even_if_it_is_not_mapped() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), "gcc", PROGRAM, &[]);
    let victim = Victim::start(&mut Command::new(&program));
    let with = |object: &str| {
        victim.discover(&DiscoverOptions { object: Some(object.into()), ..DiscoverOptions::default() })
    };
    let jemalloc = with("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2").unwrap();
    assert_eq!(kinds(&jemalloc), [AllocatorKind::Glibc, AllocatorKind::Jemalloc]);
    assert_eq!(kinds(&with("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap()), [AllocatorKind::Glibc]);
    assert_eq!(with("/nowhere.so").unwrap_err().code, ExitCode::Usage);
    assert_eq!(with("/lib/x86_64-linux-gnu/libm.so.6").unwrap_err().code, ExitCode::Unsupported);
}

#[test]
fn a_function_chosen_at_load_time_is_not_traced() {
    let directory = tempfile::tempdir().unwrap();
    let source = "#include <stddef.h>\nstatic void *real(size_t n) { return (void *) n; }\n\
                  static void *pick(void) { return real; }\nvoid *malloc(size_t) __attribute__((ifunc(\"pick\")));\n\
                  void *calloc(size_t a, size_t b) { return (void *) (a * b); }\nvoid free(void *p) { (void) p; }\n";
    let library = build(directory.path(), "gcc", source, &["-shared", "-fPIC", "-fno-builtin"]);
    let object = Object::from_bytes(std::fs::read(library).unwrap()).unwrap();
    let discovery = examine(vec![object], &DiscoverOptions::default(), None);
    let names = symbols(&discovery.allocators[0]);
    assert!(!names.contains("malloc") && names.contains("calloc"), "{names:?}");
    assert!(discovery.notices[0].contains("IFUNC"), "{:?}", discovery.notices);
}

#[test]
fn node_is_recognised() {
    let program = "console.log(1); setInterval(() => {}, 1000)";
    let victim = Victim::start(Command::new("node").args(["-e", program]));
    let discovery = victim.discover(&DiscoverOptions::default()).unwrap();
    assert_eq!(kinds(&discovery), [AllocatorKind::Glibc]);
    assert!(discovery.runtimes.iter().any(|runtime| runtime.name == "V8"));
    assert!(discovery.notices.is_empty(), "{:?}", discovery.notices);
}

#[test]
fn redis_uses_jemalloc() {
    // Without anything to listen on it would end at once.
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis");
    let mut command = Command::new("redis-server");
    let victim = Victim::start(command.args(["--port", "0", "--save", "", "--unixsocket"]).arg(socket));
    assert!(kinds(&victim.discover(&DiscoverOptions::default()).unwrap()).contains(&AllocatorKind::Jemalloc));
}

#[test]
fn a_static_program_that_never_frees_is_traced() {
    let directory = tempfile::tempdir().unwrap();
    let source = PROGRAM.replace("free(malloc(100))", "malloc(100)");
    let program = build(directory.path(), "musl-gcc", &source, &["-static"]);
    let victim = Victim::start(&mut Command::new(&program));
    assert_has(&victim.discover(&DiscoverOptions::default()).unwrap().allocators[0], &["malloc"]);
}
