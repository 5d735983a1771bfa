//! The whole room against real processes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::module::Module;
use super::names::Names;
use super::{Frame, NAME_LIMIT, Options, QUEUE_LIMIT, Request, Resolved, Symbolizer, bounded, module};
use crate::target::maps::{self, MappedPath};

/// Prints, then waits for the end of its input: its load address, a return address inside `outer` (through the inlined
/// `between`), and an address in executable anonymous memory.
const VICTIM: &str = r#"
#include <stdio.h>
#include <sys/mman.h>
extern char __executable_start;
__attribute__((noinline)) static void *leaf(void) { return __builtin_return_address(0); }
__attribute__((always_inline)) static inline void *between(void) {
    void *address = leaf(); /* line 7 */
    __asm__ volatile("" ::: "memory");
    return address;
}
__attribute__((noinline)) static void *outer(void) {
    void *address = between(); /* line 12 */
    __asm__ volatile("" ::: "memory");
    return address;
}
int main(void) {
    void *code = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("%p %p %p\n", (void *)&__executable_start, outer(), code);
    fflush(stdout);
    getchar();
}
"#;

const CPP: &str = r#"
#include <cstdio>
#include <map>
#include <string>
template <class K, class V> struct Cache {
    __attribute__((noinline)) void *put(K, V) { return __builtin_return_address(0); }
};
namespace shop {
template <class T> __attribute__((noinline)) void *fill(Cache<T, std::string> &cache) {
    void *address = cache.put(T(), "x");
    __asm__ volatile("" ::: "memory");
    return address;
}
}
int main() {
    Cache<int, std::string> cache;
    std::printf("0 %p 0\n", shop::fill<int>(cache));
    std::fflush(stdout);
    std::getchar();
}
"#;

struct Victim {
    child: Child,
    addresses: Vec<u64>,
}

impl Victim {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        Self { child, addresses: line.split_whitespace().map(hexadecimal).collect() }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.end();
    }
}

fn build(directory: &Path, source: &str, compiler: &str, flags: &[&str]) -> PathBuf {
    let code = directory.join(if compiler == "g++" { "victim.cc" } else { "victim.c" });
    std::fs::write(&code, source).unwrap();
    let program = directory.join("victim");
    let status = Command::new(compiler).args(["-O2", "-o"]).arg(&program).arg(&code).args(flags).status();
    assert!(status.unwrap().success());
    program
}

fn start(options: Options) -> (Symbolizer, Receiver<Resolved>) {
    let (sender, receiver) = channel();
    let deliver = move |resolved| {
        let _gone = sender.send(resolved);
    };
    (Symbolizer::start(options, deliver).unwrap(), receiver)
}

fn request(pid: u32, generation: u32, addresses: &[u64]) -> Request {
    Request { process: 0, pid, site: 7, generation, addresses: addresses.to_vec() }
}

fn ask(room: &(Symbolizer, Receiver<Resolved>), request: Request) -> Vec<Frame> {
    assert!(room.0.request(request));
    room.1.recv_timeout(Duration::from_mins(1)).unwrap().frames
}

fn resolve(pid: u32, address: u64) -> Vec<Frame> {
    ask(&start(Options::default()), request(pid, 0, &[address]))
}

fn functions(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.function.as_deref().unwrap_or("?")).collect()
}

#[inline(never)]
fn a_function_of_ours() -> u32 {
    std::hint::black_box(line!() - 1)
}

#[test]
fn our_own_function_has_its_name_and_line() {
    let start = a_function_of_ours as fn() -> u32 as usize as u64;
    let frames = resolve(std::process::id(), start + 1);
    // What is inlined into it may come before it.
    let frame = frames.last().unwrap();
    assert!(frames.iter().rev().skip(1).all(|frame| frame.inlined), "{frames:?}");
    assert!(frame.function.as_deref().unwrap().ends_with("a_function_of_ours"), "{frames:?}");
    assert!(frame.file.as_deref().unwrap().ends_with("symbol/tests.rs"), "{frames:?}");
    // The first instruction is the function's, or its body's where it is optimised.
    let line = a_function_of_ours();
    assert!(frame.line.is_some_and(|at| at == line || at == line + 1), "{frames:?}");
    assert_eq!((frame.offset, frame.inlined), (Some(1), false));
    assert_eq!(frame.address, format!("{:#x}", start + 1));
}

#[test]
fn inlined_functions_come_first() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), VICTIM, "gcc", &["-g"]);
    let victim = Victim::start(&mut Command::new(&program));
    let frames = resolve(victim.pid(), victim.addresses[1]);
    assert_eq!(functions(&frames), ["between", "outer"]);
    assert_eq!(frames.iter().map(|frame| frame.inlined).collect::<Vec<_>>(), [true, false]);
    assert_eq!(frames.iter().map(|frame| frame.line).collect::<Vec<_>>(), [Some(7), Some(12)]);
    assert!(frames.iter().all(|frame| frame.module.as_deref() == program.to_str()));
    assert!(frames[0].file.as_deref().unwrap().ends_with("victim.c"));

    let no_lines = start(Options { lines: false, ..Options::default() });
    let frames = ask(&no_lines, request(victim.pid(), 0, &[victim.addresses[1]]));
    assert_eq!(functions(&frames), ["outer"]);
    assert_eq!(frames[0].line, None);
}

#[test]
fn templates_are_kept_whole() {
    let directory = tempfile::tempdir().unwrap();
    let victim = Victim::start(&mut Command::new(build(directory.path(), CPP, "g++", &["-fno-inline"])));
    let frames = resolve(victim.pid(), victim.addresses[1]);
    let name = frames[0].function.as_deref().unwrap();
    assert!(name.starts_with("void* shop::fill<int>(Cache<int, std::"), "{name}");
}

#[test]
fn a_stripped_program_keeps_module_and_offset() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), VICTIM, "gcc", &["-s"]);
    let victim = Victim::start(&mut Command::new(&program));
    let frames = resolve(victim.pid(), victim.addresses[1]);
    assert_eq!(functions(&frames), ["?"]);
    assert_eq!(frames[0].module.as_deref(), program.to_str());
    assert_eq!(frames[0].offset, Some(victim.addresses[1] - victim.addresses[0]));
}

#[test]
fn debug_information_is_found_beside_a_stripped_program() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), VICTIM, "gcc", &["-g"]);
    let debug_file = directory.path().join("victim.debug");
    let objcopy = |arguments: &[&std::ffi::OsStr]| {
        assert!(Command::new("objcopy").args(arguments).status().unwrap().success());
    };
    objcopy(&["--only-keep-debug".as_ref(), program.as_ref(), debug_file.as_ref()]);
    let mut link = std::ffi::OsString::from("--add-gnu-debuglink=");
    link.push(&debug_file);
    objcopy(&["--strip-all".as_ref(), &link, program.as_ref()]);
    let victim = Victim::start(&mut Command::new(&program));
    assert_eq!(functions(&resolve(victim.pid(), victim.addresses[1])), ["between", "outer"]);

    // Another build's debug file must not give names.
    std::fs::OpenOptions::new().append(true).open(&debug_file).unwrap().write_all(b"x").unwrap();
    assert_eq!(functions(&resolve(victim.pid(), victim.addresses[1])), ["?"]);
}

/// As Fedora packages its programs: stripped, with the names of functions packed into the file.
#[test]
fn names_are_found_packed_into_a_stripped_program() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), VICTIM, "gcc", &["-g"]);
    let script = r#"cd "$1" && objcopy --only-keep-debug victim symbols && objcopy -S --keep-symbol=outer symbols mini &&
        xz mini && objcopy -S --add-section .gnu_debugdata=mini.xz victim"#;
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(directory.path()).status().unwrap();
    assert!(status.success());
    let victim = Victim::start(&mut Command::new(&program));
    let frames = resolve(victim.pid(), victim.addresses[1]);
    assert_eq!(functions(&frames), ["outer"]);
    let inside = victim.addresses[1] - victim.addresses[0];
    assert!(frames[0].offset.is_some_and(|offset| offset > 0 && offset < inside), "{frames:?}");
    // What is not among them is not given the name of what stands before it.
    let first = ask(&start(Options::default()), request(victim.pid(), 0, &[victim.addresses[0] + 0x1004]));
    assert_eq!(functions(&first), ["?"]);
}

#[test]
fn deleted_and_exited_programs_keep_their_names() {
    let directory = tempfile::tempdir().unwrap();
    let program = build(directory.path(), VICTIM, "gcc", &["-g"]);
    let mut victim = Victim::start(&mut Command::new(&program));
    std::fs::remove_file(&program).unwrap();
    let room = start(Options::default());
    // Another address: nothing of the later answer is cached.
    let frames = ask(&room, request(victim.pid(), 0, &[victim.addresses[0] + 1]));
    assert_eq!(frames[0].module.as_deref(), program.to_str());
    let pid = victim.pid();
    victim.end();
    for generation in [0, 1] {
        let frames = ask(&room, request(pid, generation, &[victim.addresses[1]]));
        assert_eq!(functions(&frames), ["between", "outer"], "generation {generation}");
        assert_eq!(frames[0].module.as_deref(), program.to_str());
    }
    room.0.forget(0);
    assert_eq!(functions(&ask(&room, request(pid, 0, &[victim.addresses[1]]))), ["?"]);
}

#[test]
fn a_program_in_another_root_is_read_from_there() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: changing the root needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    build(directory.path(), VICTIM, "gcc", &["-g", "-static"]);
    std::fs::create_dir(directory.path().join("tmp")).unwrap();
    let mut unshared = Command::new("unshare");
    // As container runtimes do: a mount of its own is the root, and the victim is process 1 of its namespace.
    unshared.args(["--mount", "--pid", "--fork", "sh", "-c"]);
    unshared.args([r#"mount --bind "$1" "$1" && exec chroot "$1" /victim"#, "sh"]).arg(directory.path());
    let victim = Victim::start(&mut unshared);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", victim.pid())).unwrap();
    let pid: u32 = children.trim().parse().unwrap();

    std::fs::write(
        directory.path().join("tmp/perf-1.map"),
        format!("{:x} 40 LazyCompile:*leak app.js:3\n", victim.addresses[2]),
    )
    .unwrap();
    let frames =
        ask(&start(Options::default()), request(pid, 0, &[victim.addresses[2] + 5, victim.addresses[1]]));
    assert_eq!(functions(&frames), ["LazyCompile:*leak app.js:3", "between", "outer"]);
    assert_eq!((frames[0].module.as_deref(), frames[0].offset), (Some("[jit]"), Some(5)));
    // Under its real root's name or its own, as the kernel prints it.
    assert!(frames[2].module.as_deref().unwrap().ends_with("/victim"));

    let mappings = maps::read(pid).unwrap();
    let is_code = |mapping: &&maps::Mapping| mapping.executable && mapping.file_id().is_some();
    let mapping = mappings.iter().find(is_code).unwrap();
    let MappedPath::File(path) = &mapping.path else { panic!("not a file: {mapping:?}") };
    module::open_by_name(pid, path, mapping.inode).unwrap();
    module::open_by_name(pid, Path::new("/victim"), mapping.inode).unwrap();
    module::open_by_name(pid, path, mapping.inode + 1).unwrap_err();
    // A link out of the root leads nowhere.
    std::os::unix::fs::symlink("/etc/passwd", directory.path().join("tmp/out")).unwrap();
    module::open_in_root(pid, Path::new("/tmp/out")).unwrap_err();
}

#[test]
fn compiled_code_without_a_map_and_special_memory_are_labelled() {
    let directory = tempfile::tempdir().unwrap();
    let victim = Victim::start(&mut Command::new(build(directory.path(), VICTIM, "gcc", &[])));
    let special = |name: &str| {
        let path = MappedPath::Special(name.to_owned());
        maps::read(victim.pid()).unwrap().iter().find(|mapping| mapping.path == path).map(|m| m.start + 4)
    };
    let addresses = [victim.addresses[2] + 5, special("[vdso]").unwrap(), special("[heap]").unwrap(), 9];
    let frames = ask(&start(Options::default()), request(victim.pid(), 0, &addresses));
    let modules: Vec<_> = frames.iter().map(|frame| frame.module.as_deref().unwrap_or("?")).collect();
    assert_eq!(modules, ["[jit]", "[vdso]", "[heap]", "?"]);
    assert_eq!(functions(&frames), ["?"; 4]);
    assert_eq!(frames[1].offset, Some(4));
}

#[test]
fn damaged_files_cost_names_only() {
    let directory = tempfile::tempdir().unwrap();
    let whole = std::fs::read(build(directory.path(), VICTIM, "gcc", &["-g"])).unwrap();
    let mut names = Names::new(Options::default());
    let mut look = |bytes: &[u8]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let module = Module::hold(file.reopen().unwrap());
        let offsets: Vec<u64> = (0..16).map(|at| at * 0x200).chain([u64::MAX]).collect();
        let (found, _panics) = names.find(&module, &offsets);
        assert_eq!(found.len(), offsets.len());
    };
    look(b"");
    look(b"\x7fELF");
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    for round in 0..150 {
        let mut bytes = whole.clone();
        if round % 5 == 0 {
            bytes.truncate(next(whole.len()));
        }
        // Headers at both ends decide most: damage them more often than chance would.
        for _ in 0..=round % 40 {
            let near_end = bytes.len().saturating_sub(2400);
            let at = match round % 3 {
                0 => 16 + next(900),
                1 => near_end + next(2400),
                _ => next(whole.len()),
            };
            if let Some(byte) = bytes.get_mut(at) {
                *byte = [0, 0xff, 0x7f, 0x80, next(256) as u8][next(5)];
            }
        }
        look(&bytes);
    }
}

#[test]
fn the_queue_is_bounded_and_answers_come_for_all_accepted() {
    let room = start(Options::default());
    let stack = request(std::process::id(), 0, &[a_function_of_ours as fn() -> u32 as usize as u64 + 1]);
    let accepted = (0..4 * QUEUE_LIMIT).filter(|_| room.0.request(stack.clone())).count();
    assert!(accepted >= QUEUE_LIMIT);
    for _ in 0..accepted {
        assert!(!room.1.recv_timeout(Duration::from_mins(1)).unwrap().frames.is_empty());
    }
    assert_eq!(room.0.panics(), 0);
}

#[test]
fn long_names_are_cut_at_a_character() {
    let cut = bounded("é".repeat(NAME_LIMIT));
    assert!(cut.len() <= NAME_LIMIT && cut.ends_with("é…"));
    assert_eq!(bounded("short".to_owned()), "short");
}
