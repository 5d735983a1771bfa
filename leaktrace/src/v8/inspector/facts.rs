//! Gathers what decides whether the inspector may be used or opened.

use std::{fs::File, io::Read as _, net::SocketAddr, ops::ControlFlow};

use super::{
    connect::reachable,
    decision::{Facts, SignalState, UserHandler},
    endpoint,
    options::NodeOptions,
    sockets::{self, Listener},
    uv_signals,
};
use crate::target::{
    elf::Object,
    maps::{self, MappedPath, Mapping},
    memory::Memory,
    process::Process,
};

/// SIGUSR1 on x86-64.
pub(super) const SIGUSR1: u32 = 10;
/// Starts the thread of the inspector: only programs with Node's inspector define it.
const NODE_INSPECTOR: &[u8] = b"_ZN4node9inspector5Agent13StartIoThreadEv";
/// The root of libuv's tree of signal handles. Link-time optimisation appends `.0` or the like (Node 26).
const SIGNAL_TREE: &[u8] = b"uv__signal_tree";
/// The most bytes of an environment that are looked through.
const MAX_ENVIRONMENT: u64 = 1 << 20;
/// Listeners that are asked whether they are an inspector: one that does not answer takes seconds.
const MAX_ASKED: usize = 16;
/// Threads whose signal masks are looked at.
const MAX_THREADS: usize = 4096;

/// What is known of the process and its inspector now.
pub(super) fn gather(process: &Process) -> std::io::Result<Facts> {
    let pid = process.pid;
    let options = options(process);
    let listeners = sockets::listeners(pid)?;
    let open_at = find_open(pid, &options, &listeners);
    let mut facts = Facts {
        open_at,
        is_node: false,
        is_disabled: options.disable_sigusr1,
        signal: SignalState::default(),
        user_handler: UserHandler::Unknown("not looked at".to_owned()),
        port: options.port(),
        is_port_taken: false,
    };
    if open_at.is_some() {
        return Ok(facts);
    }
    facts.signal = signal_state(pid)?;
    facts.is_port_taken = is_taken(&options, &listeners);
    let program = Program::read(pid)?;
    facts.is_node = program.is_node;
    facts.user_handler = program.user_handler(pid);
    Ok(facts)
}

fn options(process: &Process) -> NodeOptions {
    NodeOptions::parse(&process.cmdline, environment(process.pid, "NODE_OPTIONS").as_deref())
}

/// A variable of the environment that the process was started with.
fn environment(pid: u32, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(format!("/proc/{pid}/environ")).ok()?.take(MAX_ENVIRONMENT).read_to_end(&mut bytes).ok()?;
    let value = bytes
        .split(|byte| *byte == 0)
        .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

/// An open inspector among the process's own listeners.
///
/// Only ports that an option names, the default one, and such as listen on loopback alone are asked: a question that
/// its protocol does not know might trouble a service that others use.
pub(super) fn find_open(pid: u32, options: &NodeOptions, listeners: &[Listener]) -> Option<SocketAddr> {
    let mut own: Vec<SocketAddr> = listeners.iter().filter(|one| one.is_own).map(|one| one.address).collect();
    own.retain(|address| options.names(address.port()) || address.ip().is_loopback());
    own.sort_by_key(|address| (!options.names(address.port()), *address));
    own.into_iter().take(MAX_ASKED).map(reachable).find(|address| endpoint::is_inspector(pid, *address))
}

/// The inspector of the process as it listens now, if it does.
pub(super) fn look_for_open(process: &Process) -> std::io::Result<Option<SocketAddr>> {
    let listeners = sockets::listeners(process.pid)?;
    Ok(find_open(process.pid, &options(process), &listeners))
}

/// Whether something listens already where the inspector would.
fn is_taken(options: &NodeOptions, listeners: &[Listener]) -> bool {
    let (port, host) = (options.port(), options.host());
    let clashes = |listener: &&Listener| {
        let ip = listener.address.ip();
        // A name that is not looked up could be any of the machine's addresses.
        listener.address.port() == port
            && host.is_none_or(|host| host == ip || host.is_unspecified() || ip.is_unspecified())
    };
    port != 0 && listeners.iter().any(|listener| clashes(&listener))
}

/// What the kernel tells of SIGUSR1. The kernel hands a signal to any thread that does not block it.
fn signal_state(pid: u32) -> std::io::Result<SignalState> {
    let has = |mask: Option<u64>| mask.is_some_and(|mask| mask & (1 << (SIGUSR1 - 1)) != 0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.take(MAX_THREADS).flatten();
    let mut blocked = threads
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok())
        .map(|status| has(mask(&status, "SigBlk:")));
    Ok(SignalState {
        is_caught: has(mask(&status, "SigCgt:")),
        is_ignored: has(mask(&status, "SigIgn:")),
        is_blocked: blocked.all(|is_blocked| is_blocked),
    })
}

fn mask(status: &str, key: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// What the program's files tell.
struct Program {
    is_node: bool,
    /// Where the root of libuv's tree lies in memory, or why that is not known.
    tree: Result<u64, String>,
}

impl Program {
    fn read(pid: u32) -> std::io::Result<Self> {
        let maps = maps::read(pid)?;
        // The program itself, and libraries that are called like Node's or libuv: opening all would take seconds.
        let files = maps::code_files(&maps)
            .enumerate()
            .filter(|(number, mapping)| *number == 0 || is_likely(mapping));
        let (mut is_node, mut trees) = (false, Vec::new());
        for (_, mapping) in files {
            let Ok(object) = Object::open(pid, mapping) else { continue };
            is_node = is_node || defines(&object, NODE_INSPECTOR);
            trees.extend(
                object.variables(is_tree).into_iter().filter_map(|vaddr| placed(&object, mapping, vaddr)),
            );
        }
        trees.sort_unstable();
        trees.dedup();
        let tree = match trees.as_slice() {
            [tree] => Ok(*tree),
            [] => Err("libuv's symbols were stripped".to_owned()),
            _ => Err("it has more than one libuv".to_owned()),
        };
        Ok(Self { is_node, tree })
    }

    fn user_handler(&self, pid: u32) -> UserHandler {
        let tree = match &self.tree {
            Ok(tree) => *tree,
            Err(why) => return UserHandler::Unknown(why.clone()),
        };
        let Ok(memory) = Memory::open(pid) else {
            return UserHandler::Unknown("its memory cannot be read".to_owned());
        };
        match uv_signals::is_listened_to(&memory, tree, SIGUSR1) {
            Some(true) => UserHandler::Yes,
            Some(false) => UserHandler::No,
            None => UserHandler::Unknown("libuv's list of handlers does not look as it should".to_owned()),
        }
    }
}

fn is_likely(mapping: &Mapping) -> bool {
    let MappedPath::File(path) = &mapping.path else { return false };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("libnode") || name.starts_with("libuv")
}

fn is_tree(name: &[u8]) -> bool {
    name.strip_prefix(SIGNAL_TREE).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

fn defines(object: &Object, function: &[u8]) -> bool {
    let mut is_defined = false;
    object.symbols(|symbol| {
        is_defined = symbol.name == function;
        if is_defined { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    is_defined
}

/// The run-time address of a variable: a file is moved as a whole.
fn placed(object: &Object, mapping: &Mapping, vaddr: u64) -> Option<u64> {
    let moved = mapping.start.wrapping_sub(object.vaddr_of(mapping, mapping.start)?);
    Some(vaddr.wrapping_add(moved))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, is_own: bool) -> Listener {
        Listener { address: address.parse().unwrap(), is_own }
    }

    fn options(line: &str) -> NodeOptions {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        NodeOptions::parse(&words, None)
    }

    #[test]
    fn the_port_is_taken_by_whatever_listens_on_its_address() {
        let taken = |line: &str, at: &str| is_taken(&options(line), &[listener(at, false)]);
        assert!(taken("node app.js", "127.0.0.1:9229") && taken("node app.js", "0.0.0.0:9229"));
        assert!(!taken("node app.js", "127.0.0.1:9230") && !taken("node app.js", "10.0.0.7:9229"));
        assert!(taken("node --inspect-port=0.0.0.0:80 app.js", "10.0.0.7:80"));
        assert!(taken("node --inspect-port=somewhere:80 app.js", "10.0.0.7:80"));
        assert!(!taken("node --inspect-port=0 app.js", "127.0.0.1:9229"));
    }

    #[test]
    fn masks_are_read_by_their_key() {
        let status = "SigBlk:\t0000000000000200\nSigIgn:\t0000000001001000\nSigCgt:\t0000000100004602\n";
        let masks = ["SigBlk:", "SigIgn:", "SigCgt:", "Sig:"].map(|key| mask(status, key));
        assert_eq!(masks, [Some(0x200), Some(0x0100_1000), Some(0x1_0000_4602), None]);
    }

    #[test]
    fn the_tree_is_known_under_both_names() {
        let names: [&[u8]; 5] = [
            b"uv__signal_tree",
            b"uv__signal_tree.0",
            b"uv__signal_tree.lto_priv.0",
            b"uv__signal_tree_s",
            b"tree",
        ];
        assert_eq!(names.map(is_tree), [true, true, true, false, false]);
    }

    #[test]
    fn this_test_is_no_node() {
        let program = Program::read(std::process::id()).unwrap();
        assert!(!program.is_node && program.tree.is_err());
    }
}
