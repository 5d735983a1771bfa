//! Where all memory of a process is, and programs that nobody wrote for this.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Leaktrace, Postgres, Redis, Victim};
use serde_json::Value;

use super::{coverage, figure, program, quit, tell, victim, walk, walk_record};
use crate::Case;

pub(super) const CASES: &[Case] = &[
    ("heap_walk::swapped_out", swapped_out),
    ("heap_walk::python", python),
    ("heap_walk::another_allocator", another_allocator),
    ("heap_walk::redis_after_deletion", redis_after_deletion),
    ("heap_walk::postgres_backend", postgres_backend),
    ("heap_walk::of_a_process_that_is_gone", of_a_process_that_is_gone),
];

/// A file that the kernel swaps to, until it is dropped.
struct Swap(PathBuf);

impl Swap {
    /// `None` where the kernel takes none.
    fn make() -> Result<Option<Self>> {
        const BYTES: usize = 64 << 20;
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("swap-{}", std::process::id()));
        std::fs::write(&path, vec![0; BYTES])?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let swap = Self(path);
        let is_made = Command::new("/sbin/mkswap").arg(&swap.0).output()?.status.success();
        let is_on = is_made && Command::new("/sbin/swapon").arg(&swap.0).output()?.status.success();
        Ok(is_on.then_some(swap))
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/swapoff").arg(&self.0).output();
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A figure of `/proc/PID/status`, in bytes.
fn status(pid: u32, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// A walk brings nothing back from swap, and says what it could not read. Where the kernel takes no swap file, the same
/// with memory that was never touched.
fn swapped_out() -> Result<()> {
    let swap = Swap::make()?;
    let mut victim = victim(1)?;
    tell(&mut victim, "keep 20000")?;
    tell(&mut victim, "page_out")?;
    let figures = |pid| Ok::<_, anyhow::Error>((status(pid, "VmRSS")?, status(pid, "VmSwap")?));
    let before = figures(victim.pid())?;
    let record = walk_record(victim.pid())?;
    let after = figures(victim.pid())?;
    ensure!(before == after, "resident and swapped {before:?} before the walk, {after:?} after it");
    let coverage = coverage(&record["heap"])?;
    println!("swapped out: {} bytes, coverage {coverage}", before.1);
    if swap.is_some() {
        ensure!(before.1 > 10_000_000, "only {} bytes are swapped out", before.1);
        let told = figure(&record["rss"], "swap_bytes")?;
        ensure!(coverage < 0.5 && told.abs_diff(before.1) < 65_536, "{record}");
    } else {
        println!("no swap file can be used here: what is swapped out was not seen");
        ensure!((coverage - 1.0).abs() < f64::EPSILON, "{record}");
    }
    quit(victim)
}

/// Something that nobody wrote for this test.
fn python() -> Result<()> {
    const PROGRAM: &str = "import os, sys\nkept = [bytes(n % 5000) for n in range(30000)]\ndel kept[::3]\n\
                           print('ready', os.getpid(), flush=True)\nsys.stdin.readline()\n";
    let mut victim = Victim::start("python3", &["-c", PROGRAM])?;
    parts_are_those_of_smaps("python3", victim.pid(), true)?;
    let record = walk(victim.pid())?;
    ensure!((coverage(&record)? - 1.0).abs() < f64::EPSILON, "{record}");
    let live = figure(&record, "live_bytes")?;
    // Two thirds of 30,000 blocks of 2,500 bytes on average; what is below 512 bytes is Python's own affair.
    ensure!((40_000_000..70_000_000).contains(&live), "{record}");
    println!("python3: {live} bytes in {} blocks, {} ms", record["live_count"], record["walk_ms"]);
    victim.send("")?;
    quit(victim)
}

/// What smaps says of a process: memory of its heap (for an allocator other than glibc's: all that is written and has no
/// file), of stacks, of files, and all.
fn smaps(pid: u32, has_glibc: bool) -> Result<[u64; 4]> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps"))?;
    let mut sums = [0; 4];
    let mut kind = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let ["Rss:", kib, "kB"] = words.as_slice() {
            let bytes = kib.parse::<u64>()? * 1024;
            sums[3] += bytes;
            if let Some(kind) = kind {
                let sum: &mut u64 = sums.get_mut(kind).context("no such kind")?;
                *sum += bytes;
            }
        } else if words.first().is_some_and(|word| word.contains('-') && !word.ends_with(':')) {
            kind = match (words.get(1), words.get(5)) {
                (_, Some(&"[heap]")) => Some(0),
                (_, Some(&"[stack]")) => Some(1),
                (_, Some(path)) if path.starts_with('/') => Some(2),
                (Some(access), None) if !has_glibc && access.starts_with("rw") => Some(0),
                _ => None,
            };
        }
    }
    Ok(sums)
}

/// Parts as they should be, and the rest small.
fn parts_are_those_of_smaps(what: &str, pid: u32, has_glibc: bool) -> Result<Value> {
    let record = walk_record(pid)?;
    let [heap, stacks, files, all] = smaps(pid, has_glibc)?;
    let rss = &record["rss"];
    let close = |name: &str, expected: u64| -> Result<()> {
        let found = figure(rss, name)?;
        // Threads' stacks have no name in smaps, and are a few pages.
        let slack = 128 << 10;
        ensure!(
            found.abs_diff(expected) <= expected / 50 + slack,
            "{what}: {name} is {found}, by smaps {expected}: {record}"
        );
        Ok(())
    };
    close("rss_bytes", all)?;
    close("stack_bytes", stacks)?;
    close("file_bytes", files)?;
    if !has_glibc || record["heap"]["mapped_count"] == 0 {
        close("heap_bytes", heap)?;
    }
    let other = figure(rss, "other_bytes")?;
    ensure!(other * 20 <= all, "{what}: {other} of {all} are not known: {record}");
    println!("{what}: {rss}");
    Ok(record)
}

fn redis_after_deletion() -> Result<()> {
    let redis = Redis::start()?;
    redis.set_new_keys(20_000, 2000)?;
    redis.delete_all()?;
    let record = parts_are_those_of_smaps("redis", redis.pid(), false)?;
    ensure!(record["allocator"] == "jemalloc" && record["heap"].is_null(), "{record}");
    Ok(())
}

fn postgres_backend() -> Result<()> {
    let postgres = Postgres::start()?;
    let session = postgres.session()?;
    let record = parts_are_those_of_smaps("postgres", session.backend, true)?;
    ensure!((coverage(&record["heap"])? - 1.0).abs() < f64::EPSILON, "{record}");
    Ok(())
}

fn another_allocator() -> Result<()> {
    let library = Path::new("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2");
    let victim = Victim::preloaded(program()?, &["1"], library)?;
    let record = walk_record(victim.pid())?;
    ensure!(record["heap"].is_null() && record["allocator"] == "jemalloc", "{record}");
    quit(victim)
}

fn of_a_process_that_is_gone() -> Result<()> {
    let victim = victim(1)?;
    let pid = victim.pid().to_string();
    quit(victim)?;
    Leaktrace::run(&["heapwalk", "--pid", &pid])?.expect_failure(3)
}
