//! Questions about processes, answered by /proc.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::DEADLINE;

/// Looks again and again until something is so; an error once the deadline has passed.
pub fn wait_until(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !condition()? {
        ensure!(Instant::now() < deadline, "gave up waiting for {what}");
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Parent and state of a process.
fn parent_and_state(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets and spaces too.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut words = rest.split_ascii_whitespace();
    let state = words.next()?.chars().next()?;
    Some((words.next()?.parse().ok()?, state))
}

/// The children of a process, by a look at all processes (the kernel's own list of children is optional).
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> =
        pids.filter(|pid| parent_and_state(*pid).is_some_and(|(of, _)| of == parent)).collect();
    found.sort_unstable();
    found
}

/// Whether a process exists and is no zombie.
pub fn is_alive(pid: u32) -> bool {
    parent_and_state(pid).is_some_and(|(_, state)| !matches!(state, 'Z' | 'X'))
}

/// Whether `ancestor` is the process itself or above it.
pub fn parent_chain_contains(mut pid: u32, ancestor: u32) -> bool {
    // Deeper than any real tree; a process that is replaced while we climb cannot make us climb for ever.
    for _ in 0..64 {
        if pid == ancestor {
            return true;
        }
        match parent_and_state(pid) {
            Some((parent, _)) if parent > 0 => pid = parent,
            _ => return false,
        }
    }
    false
}
