//! Finds processes: by name, and the children of one.

use std::collections::{BTreeSet, VecDeque};

use super::process::{comm, is_dead, split_deleted, stat};
use crate::error::{ExitCode, Failure};

/// The kernel keeps this many bytes of a command name.
const COMM_LENGTH: usize = 15;
/// The most processes a tree may have; `pid_max` allows four million, no tree we could trace comes near.
const MAX_DESCENDANTS: usize = 16_384;
/// So many processes of one name are listed in a message.
const LISTED: usize = 10;

/// The one process whose command name or program file is called `name`; never ourselves.
pub fn by_comm(name: &str) -> Result<u32, Failure> {
    let ours = std::process::id();
    let found: Vec<u32> = all_pids().filter(|pid| *pid != ours && is_called(*pid, name)).collect();
    choose(name, &found)
}

fn choose(name: &str, found: &[u32]) -> Result<u32, Failure> {
    match found {
        [pid] => Ok(*pid),
        [] => Err(Failure::new(
            ExitCode::NoSuchProcess,
            format!("no running process is called {name:?}: look it up with ps, or name it by --pid"),
        )),
        several => {
            let listed: Vec<String> = several.iter().take(LISTED).map(u32::to_string).collect();
            let more = if several.len() > LISTED { ", …" } else { "" };
            let count = several.len();
            Err(Failure::new(
                ExitCode::Usage,
                format!(
                    "{count} processes are called {name:?} ({}{more}): choose one by --pid",
                    listed.join(", ")
                ),
            ))
        }
    }
}

fn is_called(pid: u32, name: &str) -> bool {
    // No program file: a kernel thread, a zombie, or not ours to look at.
    let Ok(link) = std::fs::read_link(format!("/proc/{pid}/exe")) else { return false };
    let file_matches = split_deleted(&link).0.file_name().is_some_and(|file| file == name);
    (file_matches || comm(pid).is_ok_and(|comm| matches_comm(&comm, name)))
        && stat(pid).is_ok_and(|stat| !is_dead(stat.state))
}

fn matches_comm(comm: &str, name: &str) -> bool {
    comm == name
        || (name.len() > COMM_LENGTH
            && name.as_bytes().get(..COMM_LENGTH).is_some_and(|cut| cut == comm.as_bytes()))
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The direct child processes of `pid`, ascending.
pub fn children(pid: u32) -> Vec<u32> {
    children_by_thread(pid).unwrap_or_else(|| children_by_parent(pid))
}

/// Every thread lists its own children; a kernel without `CONFIG_PROC_CHILDREN` has no such file.
fn children_by_thread(pid: u32) -> Option<Vec<u32>> {
    let mut found = BTreeSet::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        match std::fs::read_to_string(thread.path().join("children")) {
            Ok(list) => found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok())),
            // The thread ended meanwhile: its children moved to another one.
            Err(_) if !thread.path().exists() => {}
            Err(_) => return None,
        }
    }
    Some(found.into_iter().collect())
}

fn children_by_parent(parent: u32) -> Vec<u32> {
    let parent = i32::try_from(parent).unwrap_or(-1);
    let found: BTreeSet<u32> =
        all_pids().filter(|pid| stat(*pid).is_ok_and(|stat| stat.ppid == parent)).collect();
    found.into_iter().collect()
}

/// All processes below `pid`, nearest first, without `pid` itself; at most 16,384.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut seen = BTreeSet::from([pid]);
    let mut found = Vec::new();
    let mut queue = VecDeque::from([pid]);
    while let Some(parent) = queue.pop_front() {
        for child in children(parent) {
            if found.len() >= MAX_DESCENDANTS {
                return found;
            }
            // Pids are used again while we look: none is visited twice.
            if seen.insert(child) {
                found.push(child);
                queue.push_back(child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn names_longer_than_the_kernel_keeps_still_match() {
        assert!(matches_comm("node", "node"));
        assert!(matches_comm("a-very-long-pro", "a-very-long-program"));
        assert!(!matches_comm("a-very-long", "a-very-long-program"));
        assert!(!matches_comm("node", "nod"));
    }

    #[test]
    fn several_processes_of_a_name_are_listed() {
        let pids: Vec<u32> = (1..=12).collect();
        let failure = choose("node", &pids).unwrap_err();
        assert_eq!(failure.code, ExitCode::Usage);
        assert!(
            failure.message.contains("12 processes") && failure.message.contains("9, 10, …"),
            "{failure}"
        );
        assert_eq!(choose("node", &[7]).unwrap(), 7);
    }

    #[test]
    fn a_process_is_found_by_the_name_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("leaktrace-find-me-by-my-name");
        std::fs::copy(std::fs::canonicalize("/bin/sleep").unwrap(), &program).unwrap();
        assert_eq!(by_comm("leaktrace-find-me-by-my-name").unwrap_err().code, ExitCode::NoSuchProcess);
        let mut child = Command::new(&program).arg("600").spawn().unwrap();
        let mut found = by_comm("leaktrace-find-me-by-my-name");
        while found.is_err() && child.try_wait().unwrap().is_none() {
            found = by_comm("leaktrace-find-me-by-my-name");
        }
        let cut = by_comm("leaktrace-find-");
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.unwrap(), child.id());
        assert_eq!(cut.unwrap(), child.id());
    }

    #[test]
    fn children_and_their_children_are_found() {
        let mut shell = Command::new("sh").args(["-c", "sleep 600 & wait"]).process_group(0).spawn().unwrap();
        let ours = std::process::id();
        let mut below = descendants(shell.id());
        while below.is_empty() && shell.try_wait().unwrap().is_none() {
            below = descendants(shell.id());
        }
        let (by_thread, by_parent) = (children(ours), children_by_parent(ours));
        let group = rustix::process::Pid::from_child(&shell);
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert_eq!(below.len(), 1);
        assert!(by_thread.contains(&shell.id()) && by_parent.contains(&shell.id()));
    }
}
