//! Heaps that are scattered, in use, or damaged.

use anyhow::{Context, Result, ensure};

use super::{coverage, figure, quit, tell, victim, walk};
use crate::Case;

pub(super) const CASES: &[Case] = &[
    ("heap_walk::fragmented", fragmented),
    ("heap_walk::not_fragmented", not_fragmented),
    ("heap_walk::damaged", damaged),
];

/// The anonymous memory of a process, in bytes.
fn anonymous(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).context("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

/// What `malloc_trim` gives back is what the walk said that it would.
fn fragmented() -> Result<()> {
    let mut victim = victim(1)?;
    tell(&mut victim, "fragment 100000")?;
    let record = walk(victim.pid())?;
    let promised = figure(&record, "fragmentation.trimmable_bytes")?;
    let scattered = figure(&record, "fragmentation.compaction_bytes")?;
    let advice = record["advice"].as_str().context("nothing is said of a fragmented heap")?;
    ensure!(advice.contains("fragmentation"), "{advice}");
    let before = anonymous(victim.pid())?;
    tell(&mut victim, "trim")?;
    let given_back = before.saturating_sub(anonymous(victim.pid())?);
    println!(
        "fragmented: {scattered} scattered, malloc_trim gave {given_back} back, {promised} were promised"
    );
    ensure!(given_back.abs_diff(promised) <= promised / 50 + 16 * 4096, "{given_back} of {promised}");
    ensure!(promised > 5_000_000 && scattered > promised, "{record}");
    let record = walk(victim.pid())?;
    ensure!(figure(&record, "fragmentation.trimmable_bytes")? < promised / 50, "{record}");
    quit(victim)
}

fn not_fragmented() -> Result<()> {
    let mut victim = victim(1)?;
    tell(&mut victim, "keep 100000")?;
    let record = walk(victim.pid())?;
    ensure!(record["advice"].is_null(), "{record}");
    let used = record["fragmentation"]["utilisation"].as_f64().context("no utilisation")?;
    ensure!(used > 0.95, "{record}");
    quit(victim)
}

/// A heap whose headers were written over: an end, and an honest coverage.
fn damaged() -> Result<()> {
    let mut victim = victim(2)?;
    tell(&mut victim, "fill")?;
    tell(&mut victim, "scribble")?;
    let record = walk(victim.pid())?;
    println!("damaged: coverage {}, {} gaps, {} ms", record["coverage"], record["gaps"], record["walk_ms"]);
    ensure!(coverage(&record)? < 0.999 && figure(&record, "gaps")? > 0, "{record}");
    quit(victim)
}
