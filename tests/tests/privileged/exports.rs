//! Call sites for other tools: folded stacks, flame graphs and profiles of real processes, read by their own readers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Ended, Language, Leaktrace, Ledger, Victim, altered_code};
use serde_json::Value;
use tempfile::TempDir;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("exports::a_leak_is_on_top_of_all", a_leak),
    ("exports::of_a_command_that_exits", of_a_command),
    ("exports::children_stand_apart", children),
    ("exports::a_bad_path_is_refused_before_anything_is_probed", bad_path),
];

const OUTPUT_FAILED: i32 = 7;
const MIB: u64 = 1 << 20;

/// Where the three files go.
struct Files {
    _directory: TempDir,
    folded: PathBuf,
    svg: PathBuf,
    pprof: PathBuf,
}

impl Files {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let (folded, svg, pprof) = (at("a.folded"), at("a.svg"), at("a.pb.gz"));
        Ok(Self { _directory: directory, folded, svg, pprof })
    }

    fn arguments(&self) -> Result<[&str; 6]> {
        let text = |path| Path::to_str(path).context("a path that is no text");
        let (folded, svg, pprof) = (text(&self.folded)?, text(&self.svg)?, text(&self.pprof)?);
        Ok(["--folded", folded, "--flamegraph", svg, "--pprof", pprof])
    }

    fn read(&self) -> Result<[Vec<u8>; 3]> {
        Ok([fs::read(&self.folded)?, fs::read(&self.svg)?, fs::read(&self.pprof)?])
    }

    /// Stacks and their bytes, in the order of the file.
    fn stacks(&self) -> Result<Vec<(String, u64)>> {
        let line = |line: &str| {
            let (stack, bytes) = line.rsplit_once(' ').with_context(|| format!("no number: {line}"))?;
            Ok((stack.to_owned(), bytes.parse()?))
        };
        fs::read_to_string(&self.folded)?.lines().map(line).collect()
    }
}

/// What the summary has of all processes together.
fn total(ended: &Ended, name: &str) -> Result<u64> {
    let processes = ended.summary()?["processes"].as_array().context("no processes")?;
    Ok(processes.iter().filter_map(|process| process[name].as_u64()).sum())
}

fn sum<'a>(stacks: impl IntoIterator<Item = &'a (String, u64)>) -> u64 {
    stacks.into_iter().map(|(_, bytes)| bytes).sum()
}

/// The functions that `go tool pprof -top` shows, the first on top.
fn top(profile: &Path, sample_index: &str) -> Result<Vec<String>> {
    let output = Command::new("go")
        .args(["tool", "pprof", "-top", &format!("-sample_index={sample_index}")])
        .arg(profile)
        .output()
        .context("cannot start go: install the Debian package golang-go")?;
    let (text, errors) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "go tool pprof: {errors}");
    ensure!(text.contains(&format!("Type: {sample_index}\n")), "another type: {text}");
    let rows = text.lines().skip_while(|line| !line.trim_start().starts_with("flat ")).skip(1);
    Ok(rows.filter_map(|row| row.split_whitespace().last().map(str::to_owned)).collect())
}

fn demo_service() -> Result<PathBuf> {
    Build::new("demo_service.c", Language::C).path()
}

fn a_leak() -> Result<()> {
    let files = Files::new()?;
    let victim = Victim::start(demo_service()?, &[])?;
    let recording = files.folded.with_file_name("recording");
    let recording = recording.to_str().context("a path that is no text")?;
    let mut arguments = files.arguments()?.to_vec();
    arguments.extend(["--record", recording]);
    let mut leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    let is_large = |record: &Value| record["live_bytes"].as_u64().is_some_and(|live| live > 4 * MIB);
    leaktrace.wait_for("4 MiB", |record| record["type"] == "tick" && is_large(record))?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    ensure!(ended.summary()?["ended"] == "interrupted", "why it ended: {}", ended.summary()?);
    let stacks = files.stacks()?;
    ensure!(
        sum(&stacks) == total(&ended, "live_bytes")?,
        "another sum than {}: {stacks:?}",
        ended.summary()?
    );
    let (first, _) = stacks.first().context("no stacks")?;
    ensure!(first.ends_with(";handle_request;remember_session"), "the first stack: {first}");
    ensure!(first.split(';').any(|name| name == "main"), "no main in {first}");
    ensure!(fs::read_to_string(&files.svg)?.contains("remember_session ("), "not in the picture");
    let in_use = top(&files.pprof, "inuse_space")?;
    ensure!(in_use.first().is_some_and(|name| name == "remember_session"), "on top: {in_use:?}");
    let allocated = top(&files.pprof, "alloc_space")?;
    // What each request gives back is more than what is kept.
    let passing = allocated.iter().position(|name| name == "render_response");
    let leaking = allocated.iter().position(|name| name == "remember_session");
    ensure!(passing.is_some() && passing < leaking, "allocated: {allocated:?}");

    let live = files.read()?;
    let mut arguments = vec!["replay", recording];
    arguments.extend(files.arguments()?);
    let replayed = Leaktrace::run(&arguments)?;
    replayed.expect_success()?;
    ensure!(files.read()? == live, "the replay writes other files");
    arguments.extend(["--bytes", "allocated"]);
    Leaktrace::run(&arguments)?.expect_success()?;
    let (allocated, expected) = (sum(&files.stacks()?), total(&ended, "alloc_bytes")?);
    ensure!(allocated == expected, "{allocated} allocated by stacks, {expected} in the summary");
    Ok(())
}

fn of_a_command() -> Result<()> {
    let files = Files::new()?;
    let program = demo_service()?;
    let mut arguments = files.arguments()?.to_vec();
    arguments.extend([
        "--bytes",
        "allocated",
        "--",
        program.to_str().context("a path that is no text")?,
        "2",
    ]);
    let ended = Leaktrace::run(&arguments)?;
    ended.expect_success()?;
    ensure!(ended.summary()?["ended"] == "target_exited", "why it ended: {}", ended.summary()?);
    let stacks = files.stacks()?;
    ensure!(
        sum(&stacks) == total(&ended, "alloc_bytes")?,
        "another sum than {}: {stacks:?}",
        ended.summary()?
    );
    for name in ["remember_session", "render_response", "cache_lookup"] {
        ensure!(
            stacks.iter().any(|(stack, _)| stack.ends_with(&format!(";{name}"))),
            "no {name}: {stacks:?}"
        );
    }
    let in_use = top(&files.pprof, "inuse_space")?;
    ensure!(in_use.iter().any(|name| name == "remember_session"), "in use: {in_use:?}");
    Ok(())
}

fn children() -> Result<()> {
    let files = Files::new()?;
    let mut victim = Victim::start(Build::new("forker.c", Language::C).path()?, &["3"])?;
    let mut arguments = files.arguments()?.to_vec();
    arguments.push("--children");
    let mut leaktrace = Leaktrace::attach(victim.pid(), &arguments)?;
    victim.send("go 10000")?;
    let forked = victim.expect("forked")?;
    for pid in forked.split(' ').skip(1).map(str::parse::<u32>) {
        let pid = pid?;
        // Its first tick says that it is being followed.
        let is_followed = |record: &Value| record["type"] == "tick" && record["pid"] == pid;
        if !leaktrace.records().iter().any(is_followed) {
            leaktrace.wait_for(&format!("a tick of {pid}"), is_followed)?;
        }
    }
    victim.send("work")?;
    let mut ledgers = Vec::new();
    for _ in 0..3 {
        ledgers.push(Ledger::from_totals(&victim.expect("worker")?)?);
    }
    victim.expect("done")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let stacks = files.stacks()?;
    ensure!(
        sum(&stacks) == total(&ended, "live_bytes")?,
        "another sum than {}: {stacks:?}",
        ended.summary()?
    );
    for ledger in ledgers {
        let process = format!("({});", ledger.pid);
        let of_it = stacks.iter().filter(|(stack, _)| {
            stack.split_inclusive(';').next().is_some_and(|name| name.ends_with(&process))
                && stack.ends_with(";grow")
        });
        let kept = sum(of_it);
        ensure!(kept == ledger.bytes, "{process} {kept} by stacks, has {ledger:?}: {stacks:?}");
    }
    for sample_index in ["inuse_space", "alloc_space"] {
        let top = top(&files.pprof, sample_index)?;
        ensure!(top.first().is_some_and(|name| name == "grow"), "{sample_index}: {top:?}");
    }
    ensure!(victim.quit()?.success(), "a worker did not end well");
    Ok(())
}

fn bad_path() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let link = directory.path().join("link");
    let elsewhere = directory.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, &link)?;
    let link = link.to_str().context("a path that is no text")?;
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    for option in ["--folded", "--flamegraph", "--pprof"] {
        let refused = Leaktrace::run(&["--pid", &victim.pid().to_string(), option, link])?;
        refused.expect_failure(OUTPUT_FAILED)?;
        ensure!(refused.records.is_empty() && refused.stderr.contains(link), "{option}: {}", refused.stderr);
        ensure!(altered_code(victim.pid())?.is_empty(), "{option}: probes were placed");
    }
    ensure!(!elsewhere.exists(), "written through the link");
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}
