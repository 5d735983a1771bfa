//! V8 from outside: its collections against its own `--trace-gc`, its heaps, and where the resident set goes.

mod collections;
mod victims;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Leaktrace, Victim, leaktrace_binary, node, node_victim, victim_source};
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("v8::without_v8_there_is_nothing_to_watch", without_v8),
    ("v8::doctor_tells_the_version_and_the_probes", doctor),
    ("v8::a_limit_that_was_asked_for_is_seen", limit),
    ("v8::plain_probes_see_the_same", plain_probes),
    ("v8::a_recording_replays_collections_and_heaps", replays),
    ("v8::a_child_with_v8_is_watched_too", child),
    ("v8::a_stripped_node_is_seen_by_sizes_or_said_to_be_unreadable", stripped),
];

/// V8's collections against its own trace, for each version.
pub(crate) const COLLECTIONS: &[Case] = collections::CASES;

/// Cases that mostly wait.
pub(crate) fn waiting() -> Vec<Case> {
    victims::CASES.to_vec()
}

/// Records of one type.
fn of_type<'a>(records: &'a [Value], kind: &'a str) -> impl DoubleEndedIterator<Item = &'a Value> {
    records.iter().filter(move |record| record["type"] == kind)
}

fn wait_for_collections(leaktrace: &mut Leaktrace, count: usize) -> Result<()> {
    for _ in 0..count {
        leaktrace.wait_for("a collection", |record| record["type"] == "gc")?;
    }
    Ok(())
}

fn without_v8() -> Result<()> {
    let victim =
        Victim::spawn(Command::new("python3").arg(victim_source("patterns.py")).args(["loop", "86400"]))?;
    let pid = victim.pid().to_string();
    let output = Command::new(leaktrace_binary()?)
        .args(["--pid", &pid, "--only", "v8", "--duration", "5s"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(5) && said.contains("no V8 found"), "{}: {said}", output.status);
    Ok(())
}

fn doctor() -> Result<()> {
    let victim = node_victim(node("24.21.0")?, "v8gc.js", &[])?;
    let pid = victim.pid().to_string();
    let output =
        Command::new(leaktrace_binary()?).args(["doctor", "--pid", &pid, "--format", "ndjson"]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(text.contains("V8 13.6.233") && text.contains("10 functions found by name"), "{text}");
    ensure!(text.contains("v8::Heap::MarkCompact") && text.contains("v8::Heap::SizeOfObjects"), "{text}");
    Ok(())
}

/// `--max-old-space-size` is in the limit that V8 computes, beside its young generation.
fn limit() -> Result<()> {
    let command = || -> Result<Command> {
        let mut command = Command::new(node("22.23.3")?);
        command.args(["--expose-gc", "--max-old-space-size=300"]).arg(victim_source("v8gc.js"));
        Ok(command)
    };
    let victim = Victim::spawn(&mut command()?)?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--only", "v8"])?;
    let has_limit = |record: &Value| !record["v8"]["isolates"][0]["limit_bytes"].is_null();
    let tick = leaktrace.wait_for("a limit", has_limit)?;
    let isolate = &tick["v8"]["isolates"][0];
    let limit = isolate["limit_bytes"].as_u64().context("no limit")?;
    ensure!((300 << 20..400 << 20).contains(&limit) && isolate["limit_source"] == "v8", "{isolate}");
    leaktrace.stop()?.expect_success()
}

fn plain_probes() -> Result<()> {
    let victim = node_victim(node("18.20.8")?, "v8gc.js", &[])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--only", "v8", "--plain-probes"])?;
    wait_for_collections(&mut leaktrace, 4)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let header = of_type(&ended.records, "header").next().context("no header")?;
    ensure!(header["capture"]["mode"] == "plain_probes", "{header}");
    for gc in of_type(&ended.records, "gc") {
        let sizes = (gc["before_bytes"].as_u64(), gc["after_bytes"].as_u64());
        // A scavenge that finds nothing to free moves objects, which may leave a little more behind.
        let is_sound = |before, after| after <= before + (64 << 10) && after > 1 << 20;
        ensure!(matches!(sizes, (Some(before), Some(after)) if is_sound(before, after)), "{gc}");
    }
    Ok(())
}

fn replays() -> Result<()> {
    let victim = node_victim(node("20.20.2")?, "v8gc.js", &["1"])?;
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("run.leaktrace");
    let name = file.to_str().context("a path that is no text")?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--record", name])?;
    wait_for_collections(&mut leaktrace, 6)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let output =
        Command::new(leaktrace_binary()?).args(["replay", "--format", "ndjson"]).arg(&file).output()?;
    let text = String::from_utf8(output.stdout)?;
    let replayed: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let live: Vec<_> = of_type(&ended.records, "gc").collect();
    ensure!(live == of_type(&replayed, "gc").collect::<Vec<_>>(), "the collections differ");
    let last = |records| of_type(records, "tick").next_back().map(|tick| tick["v8"].clone());
    ensure!(last(&ended.records) == last(&replayed), "the heaps differ");
    Ok(())
}

fn child() -> Result<()> {
    let node = node("26.10.0")?;
    let script = victim_source("v8gc.js");
    // The child reads the shell's input, and ends with it.
    let line = format!("echo ready $$; '{}' --expose-gc '{}' until-eof; :", node.display(), script.display());
    let victim = Victim::spawn(Command::new("sh").args(["-c", &line]))?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--children"])?;
    let pid = u64::from(victim.pid());
    leaktrace.wait_for("a collection of the child", |record| {
        record["type"] == "gc" && record["pid"].as_u64().is_some_and(|one| one != pid)
    })?;
    leaktrace.stop()?.expect_success()
}

fn stripped() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("node");
    fs::copy(node("26.10.0")?, &path)?;
    let status = Command::new("strip")
        .args(["--strip-all", "-o"])
        .arg(scratch.path().join("stripped"))
        .arg(&path)
        .status()?;
    ensure!(status.success(), "strip failed");
    let victim = node_victim(scratch.path().join("stripped"), "v8gc.js", &[])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--only", "v8"])?;
    wait_for_collections(&mut leaktrace, 4)?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let header = of_type(&ended.records, "header").next().context("no header")?;
    ensure!(header["v8"]["found_by"] == "call_order", "{header}");
    ensure!(
        of_type(&ended.records, "notice").any(|one| one["code"] == "v8_sizes_only"),
        "nothing is said of it"
    );
    // What V8 traced of these collections, by their sizes.
    let traced: Vec<_> =
        victim.lines_so_far().iter().filter_map(|line| leaktrace_tests::TracedGc::of(line)).collect();
    for gc in of_type(&ended.records, "gc") {
        ensure!(gc["kind"] == "unknown", "{gc}");
        let mib = |name: &str| gc[name].as_u64().map(|bytes| bytes as f64 / 1_048_576.0);
        let (before, after) =
            (mib("before_bytes").context("no size")?, mib("after_bytes").context("no size")?);
        let is_traced =
            traced.iter().any(|one| (one.before - before).abs() < 0.1 && (one.after - after).abs() < 0.1);
        ensure!(is_traced, "{gc} is in no line of {traced:?}");
    }
    Ok(())
}
