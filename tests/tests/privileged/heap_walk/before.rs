//! Blocks that were there before the trace, in its figures.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Ended, Leaktrace, Victim};
use serde_json::Value;

use super::{figure, quit, tell, victim};
use crate::Case;

pub(super) const CASES: &[Case] = &[
    ("heap_walk::blocks_from_before", blocks_from_before),
    ("heap_walk::before_while_churning", while_churning),
];

/// At rest they are counted to the byte, and each free and reallocation of one is seen; dump, sites and a replay agree.
fn blocks_from_before() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| Ok(directory.path().join(name).to_str().context("no text")?.to_owned());
    let (recording, dump): (Result<String>, Result<String>) = (path("trace"), path("dump"));
    let (recording, dump) = (recording?, dump?);
    let mut victim = victim(8)?;
    for command in ["fill", "reserve 20000", "keep 40000"] {
        tell(&mut victim, command)?;
    }
    let pid = victim.pid().to_string();
    let arguments =
        ["--pid", &pid, "--heap-walk", "--record", &recording, "--dump-live", &dump, "--top", "50"];
    let mut leaktrace = Leaktrace::start(&arguments)?;
    let first = leaktrace.wait_for("the blocks from before", |tick| tick["before_attach"].is_object())?;
    let walk =
        leaktrace.records().iter().find(|record| record["type"] == "heap_walk").context("no walk")?.clone();
    let (count, bytes) = (figure(&walk, "heap.live_count")?, figure(&walk, "heap.live_bytes")?);
    println!("before: {count} blocks, {bytes} bytes");
    let found = |name| figure(&first, &format!("before_attach.{name}"));
    ensure!((found("found_count")?, found("found_bytes")?) == (count, bytes), "{}", first["before_attach"]);
    ensure!((figure(&first, "live_count")?, figure(&first, "live_bytes")?) == (count, bytes), "{first}");
    let sizes = first.pointer("/before_attach/sizes").and_then(Value::as_array).context("no sizes")?;
    ensure!(sizes.iter().filter_map(|size| size["count"].as_u64()).sum::<u64>() == count, "{sizes:?}");

    // 500 of them are freed, and 250 of 2000 bytes come.
    tell(&mut victim, "scatter 500")?;
    tell(&mut victim, "keep 300")?;
    leaktrace.wait_for("a tick with all of it", |tick| tick["live_count"] == count + 50)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let process = ended.summary()?.pointer("/processes/0").context("no process")?;
    let totals = ["live_count", "allocs", "frees", "unknown_frees"].map(|name| process[name].as_u64());
    ensure!(totals == [count + 50, 550, 500, 0].map(Some), "{process}");
    ensure!(ended.summary()?["losses"]["total"] == 0, "{}", ended.summary()?["losses"]);
    check_site(&ended, count - 500)?;
    whole_is_the_heap(&ended, 0.0)?;

    let dumped = std::fs::read_to_string(&dump)?;
    let old = dumped.lines().filter(|line| line.contains("\"before_attach\"")).count() as u64;
    ensure!(old == count - 500, "{old} blocks from before in the dump of {count}");
    let replayed = Leaktrace::run(&["replay", &recording, "--top", "50"])?;
    let ticks =
        |ended: &Ended| ended.of_type("tick").map(|tick| tick["before_attach"].clone()).collect::<Vec<_>>();
    ensure!(ticks(&replayed) == ticks(&ended), "a replay tells other blocks from before");
    quit(victim)
}

/// The call site that they are shown at.
fn check_site(ended: &Ended, left: u64) -> Result<()> {
    let sites = ended.summary()?["sites"].as_array().context("no sites")?;
    let mut before = sites.iter().filter(|site| site["kind"] == "before_attach");
    let site = before.next().context("no site of blocks from before")?;
    ensure!(
        before.next().is_none() && site["live_count"] == left && site["function"] == "before attach",
        "{site}"
    );
    ensure!(site["verdict"].is_null(), "a verdict on what was there before: {site}");
    Ok(())
}

/// What is live by the trace against the walk at its end: what the allocator rounds up is known, too.
fn whole_is_the_heap(ended: &Ended, tolerance: f64) -> Result<()> {
    let walk = ended.of_type("heap_walk").next_back().context("no walk")?;
    let tick = ended.of_type("tick").next_back().context("no tick")?;
    let process = ended.summary()?.pointer("/processes/0").context("no process")?;
    let (walked, traced) = (figure(walk, "heap.live_count")?, figure(process, "live_count")?);
    let usable = figure(process, "live_bytes")? + figure(tick, "internal_bytes")?;
    let walked_bytes = figure(walk, "heap.live_bytes")?;
    println!("{walked} blocks, {walked_bytes} bytes by the walk; {traced}, {usable} by the trace");
    let allowed = (walked as f64 * tolerance) as u64;
    ensure!(walked.abs_diff(traced) <= allowed, "{walked} blocks by the walk, {traced} by the trace");
    if tolerance == 0.0 {
        // A remainder too small for a chunk stays with the block before it.
        ensure!(
            walked_bytes.abs_diff(usable) <= 16 * 64,
            "{walked_bytes} bytes by the walk, {usable} by the trace"
        );
    }
    Ok(())
}

/// While eight threads allocate and free: what the walk read before a block moved must not count twice, nor for ever.
fn while_churning() -> Result<()> {
    let mut victim = victim(8)?;
    tell(&mut victim, "churn")?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--heap-walk", "--ring-size", "64MiB"])?;
    let found = leaktrace.wait_for("the blocks from before", |tick| tick["before_attach"].is_object())?;
    // Most of them have been freed by then.
    let old = figure(&found, "before_attach.found_count")?;
    leaktrace.wait_for("frees of them", |tick| {
        tick.pointer("/before_attach/live_count").and_then(Value::as_u64).is_some_and(|left| left < old / 10)
    })?;
    rest(&mut victim)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    println!("{old} found; {}", ended.summary()?["losses"]);
    whole_is_the_heap(&ended, 0.005)?;
    quit(victim)
}

fn rest(victim: &mut Victim) -> Result<()> {
    tell(victim, "rest")
}
