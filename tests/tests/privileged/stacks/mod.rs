//! Stacks of programs without frame pointers, against what the program's own unwinder finds.

mod languages;
mod many;
mod programs;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Ended, Language, Leaktrace, Victim};
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: &[&[Case]] = &[languages::CASES, programs::CASES, many::CASES];

/// Return addresses, from the function that leaks outwards.
type CallPath = Vec<u64>;

/// Bytes by path.
type Paths = HashMap<CallPath, u64>;

/// The victim in C.
fn paths_c(flags: &[&str]) -> Build {
    Build::new("paths.c", Language::C).flags(flags)
}

/// Traces a program that leaks from many call paths: what it says of itself, and what was seen of it.
fn trace(program: &Path, (depth, go): (u32, &str), arguments: &[&str]) -> Result<(Paths, Ended)> {
    trace_victim(Victim::start(program, &[&depth.to_string()])?, go, arguments)
}

fn trace_victim(mut victim: Victim, go: &str, arguments: &[&str]) -> Result<(Paths, Ended)> {
    let mut leaktrace = Leaktrace::attach(victim.pid(), arguments)?;
    leaktrace.wait_attached()?;
    victim.send(go)?;
    victim.expect("done")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    victim.send("report")?;
    let mut paths = Paths::new();
    loop {
        let line = victim.line()?;
        let mut words = line.split_whitespace();
        if words.next() == Some("end") {
            break;
        }
        let bytes: u64 = words.next().context("no bytes")?.parse()?;
        // The first address is where the function asks for its stack: not where it allocates.
        let path: Result<CallPath, _> = words.skip(1).map(|word| u64::from_str_radix(word, 16)).collect();
        *paths.entry(path?).or_default() += bytes;
    }
    Ok((paths, ended))
}

/// Live bytes of the summary's sites by their paths, from the allocator's caller outwards.
fn seen(ended: &Ended) -> Result<Paths> {
    let mut paths = Paths::new();
    for site in ended.summary()?["sites"].as_array().context("no sites")? {
        let frames = site["stack"].as_array().context("no stack")?;
        let real = frames.iter().filter(|frame| frame["inlined"] != true);
        let path: Option<CallPath> = real.map(address).collect();
        *paths.entry(path.context("no address")?).or_default() += site["live_bytes"].as_u64().unwrap_or(0);
    }
    Ok(paths)
}

fn address(frame: &Value) -> Option<u64> {
    u64::from_str_radix(frame["address"].as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Compares what was seen with what the program says: how many bytes have its very path, of how many. That a path has
/// more bytes than the program says, another's thus, is an error.
///
/// What is seen begins some frames further in: within `operator new`, say, and where the program asks for its stack.
fn compare(told: &Paths, seen: Paths) -> Result<(u64, u64)> {
    const INNER_FRAMES: usize = 5;
    let mut found: HashMap<&[u64], u64> = HashMap::new();
    for (path, bytes) in seen {
        let mut suffixes = (0..INNER_FRAMES).filter_map(|at| path.get(at..));
        let same = suffixes.find_map(|suffix| told.get_key_value(suffix));
        if let Some((path, _)) = same {
            *found.entry(path).or_default() += bytes;
        }
    }
    let found = |path: &CallPath| found.get(path.as_slice()).copied().unwrap_or(0);
    let wrong: Vec<String> = told
        .iter()
        .filter(|(path, bytes)| found(path) != **bytes)
        .map(|(path, bytes)| format!("{} bytes, not {bytes}: {path:x?}", found(path)))
        .collect();
    let is_merged = told.iter().any(|(path, bytes)| found(path) > *bytes);
    ensure!(!is_merged, "paths are taken for others:\n{}", wrong.join("\n"));
    let equal = told.iter().filter(|(path, bytes)| found(path) == **bytes).map(|(_, bytes)| bytes).sum();
    Ok((equal, told.values().sum()))
}

/// Writes a path for the arguments of a command.
fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}
