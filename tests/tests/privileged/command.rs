//! The command line as people use it: its output in pipes, its ways to name a target, and an early Ctrl-C.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use leaktrace_tests::{
    Build, Ended, Language, Leaktrace, Totals, Victim, altered_code, leaktrace_binary, wait_until,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("command::every_line_validates", every_line_validates),
    ("command::readme_jq_line", readme_jq_line),
    ("command::starts_a_command", starts_a_command),
    ("command::comm_unique_and_ambiguous", comm),
    ("command::seccomp_target", || seccomp(&[])),
    ("command::seccomp_target_plain_probes", || seccomp(&["--plain-probes"])),
    ("command::interrupted_early", interrupted_early),
    ("command::interrupted_before_the_command", interrupted_before_the_command),
];

const USAGE: i32 = 2;
const NO_SUCH_PROCESS: i32 = 3;

fn repository(name: &str) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).with_context(|| format!("no {}: run `cargo xtask gen`", path.display()))
}

/// Validates every record against the committed schema: the types of record seen.
fn validate(ended: &Ended) -> Result<BTreeSet<String>> {
    let schema: Value = serde_json::from_str(&repository("docs/schema/leaktrace-1.json")?)?;
    let validator = jsonschema::validator_for(&schema)?;
    let mut kinds = BTreeSet::new();
    for record in &ended.records {
        validator
            .validate(record)
            .map_err(|error| anyhow!("{error}, at {}: {record}", error.instance_path()))?;
        kinds.insert(record["type"].as_str().context("a record without a type")?.to_owned());
    }
    Ok(kinds)
}

fn every_line_validates() -> Result<()> {
    let mut victim = Victim::start(Build::new("forker.c", Language::C).path()?, &["--exec", "3"])?;
    // A small ring: there will be losses to be told of as well, but not of every stack.
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--children", "--ring-size", "16384"])?;
    victim.send("go 5000")?;
    victim.expect("forked")?;
    leaktrace.wait_for_notice("child_followed")?;
    victim.send("work")?;
    for _ in 0..3 {
        victim.expect("worker")?;
    }
    victim.expect("done")?;
    leaktrace.wait_for("the names of a site", |record| record["type"] == "site")?;
    ensure!(victim.quit()?.success(), "a worker did not end well");
    let ended = leaktrace.finish()?;
    ended.expect_success()?;
    ended.summary()?;
    let kinds = validate(&ended)?;
    let all = ["header", "notice", "site", "summary", "tick"];
    ensure!(kinds.iter().eq(all), "the types of record are {kinds:?}, wanted {all:?}");
    Ok(())
}

fn readme_jq_line() -> Result<()> {
    const FILTER: &str = r#"jq -c 'select(.type=="tick") | {t,live_bytes,live_count}'"#;
    ensure!(repository("README.md")?.contains(&format!("| {FILTER}")), "the README has another line now");
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let line = format!("'{}' --pid {} --duration 2s | {FILTER}", leaktrace_binary()?.display(), victim.pid());
    let output = Command::new("sh").args(["-c", &line]).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "is the Debian package jq installed? {}", errors.trim());
    let ticks = String::from_utf8(output.stdout)?;
    ensure!(ticks.lines().count() >= 2, "too few ticks: {ticks}");
    for tick in ticks.lines() {
        let tick: Value = serde_json::from_str(tick)?;
        let is_count = |name: &str| tick[name].is_u64();
        ensure!(tick["t"].is_number() && is_count("live_bytes") && is_count("live_count"), "a tick: {tick}");
    }
    ensure!(victim.quit()?.success(), "the victim did not end well");
    Ok(())
}

fn starts_a_command() -> Result<()> {
    // Whether the first tick or the exec comes first differs from run to run, and must not matter.
    (0..4).try_for_each(|_| start_a_command())
}

fn start_a_command() -> Result<()> {
    const PAIRS: u64 = 20_480;
    let program = Build::new("churn.c", Language::C).path()?;
    let program = program.to_str().context("a path that is no text")?;
    let ended = Leaktrace::run(&["--top", "100", "--", program, "--pairs", &PAIRS.to_string()])?;
    ended.expect_success()?;
    let summary = ended.summary()?;
    let totals = Totals::of(summary)?;
    totals.expect_nothing_lost()?;
    // Beside the pairs: one before the clock starts, and what libc allocates for a thread and a line of output.
    ensure!(totals.allocs > PAIRS && totals.frees > PAIRS, "calls are missing: {totals:?}");
    // The first stacks after an exec may be cut: all have the same caller in common.
    let mut pairs: HashMap<&str, (u64, u64)> = HashMap::new();
    for site in summary["sites"].as_array().context("no sites")? {
        let sums = pairs.entry(site["stack"][0]["address"].as_str().unwrap_or_default()).or_default();
        sums.0 += site["allocs"].as_u64().unwrap_or(0);
        sums.1 += site["frees"].as_u64().unwrap_or(0);
    }
    ensure!(pairs.values().any(|sums| *sums == (PAIRS, PAIRS)), "no caller has all pairs: {summary}");
    ensure!(summary["ended"] == "target_exited", "why it ended: {summary}");
    let comm = summary["processes"][0]["comm"].as_str().context("no comm")?;
    ensure!(comm.starts_with("churn-"), "the command is called {comm}");
    let mut notices = ended.of_type("notice");
    ensure!(notices.any(|notice| notice["code"] == "command_ended"), "nothing told of the command's end");
    // Its own output is not mixed into the records.
    ensure!(ended.stderr.starts_with("pairs "), "the command's output: {}", ended.stderr);
    validate(&ended).map(|_| ())
}

fn comm() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let name = format!("lt-{}", std::process::id());
    let program = directory.path().join(&name);
    fs::copy(Build::new("ledger.c", Language::C).path()?, &program)?;
    Leaktrace::run(&["--comm", &name])?.expect_failure(NO_SUCH_PROCESS)?;
    let mut first = Victim::start(&program, &[])?;
    let mut leaktrace = Leaktrace::start(&["--comm", &name])?;
    leaktrace.wait_attached()?;
    first.go(1_000, 1, 1)?;
    let ledger = first.report()?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    ensure!(ended.summary()?["processes"][0]["pid"] == first.pid(), "another process: {}", ended.summary()?);
    let second = Victim::start(&program, &[])?;
    let refused = Leaktrace::run(&["--comm", &name])?;
    refused.expect_failure(USAGE)?;
    for pid in [first.pid(), second.pid()] {
        ensure!(refused.stderr.contains(&pid.to_string()), "{pid} is not named: {}", refused.stderr);
    }
    Ok(())
}

fn seccomp(options: &[&str]) -> Result<()> {
    let mut victim = Victim::start(Build::new("seccomp.c", Language::C).path()?, &[])?;
    let status = fs::read_to_string(format!("/proc/{}/status", victim.pid()))?;
    ensure!(status.lines().any(|line| line == "Seccomp:\t2"), "the victim has no filter");
    let leaktrace = Leaktrace::attach(victim.pid(), options)?;
    let ledger = victim.go_for_totals("go 20000")?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_equal(&ledger)?;
    let capture = &ended.of_type("header").next().context("no header")?["capture"];
    let (mode, why) = (&capture["mode"], &capture["why"]);
    // Whether this kernel hides return probes from filters is not ours to say; that plain ones were chosen needs a reason.
    let may_be =
        (mode == "return_probes" && options.is_empty()) || (mode == "plain_probes" && why.is_string());
    ensure!(may_be, "capture: {capture}");
    println!("seccomp {options:?}: {mode}, {why}");
    ensure!(victim.quit()?.success(), "the filter ended the victim");
    Ok(())
}

/// How far a start is when Ctrl-C comes.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Started,
    FirstProbe,
    Header,
}

fn interrupted_early() -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    for stage in [Stage::Started, Stage::FirstProbe, Stage::Header] {
        let mut leaktrace = Leaktrace::start(&["--pid", &victim.pid().to_string()])?;
        match stage {
            Stage::Started => {}
            Stage::FirstProbe => wait_until("a probe", || Ok(!altered_code(victim.pid())?.is_empty()))?,
            Stage::Header => drop(leaktrace.wait_for("the header", |record| record["type"] == "header")?),
        }
        leaktrace.signal(Signal::INT)?;
        let ended = leaktrace.finish()?;
        // Before it listens for the signal, the signal ends it as it ends any program.
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
        let is_quiet = ended.stderr.trim().is_empty();
        ensure!(
            is_quiet && (ended.status.success() || by_signal == Some(Signal::INT.as_raw())),
            "{stage:?}: {}, {}",
            ended.status,
            ended.stderr
        );
        if ended.status.success() {
            ensure!(ended.summary()?["ended"] == "interrupted", "{stage:?}: {}", ended.summary()?);
        }
        println!("interrupted at {stage:?}: {}", ended.status);
        wait_until("the code as it was", || Ok(altered_code(victim.pid())?.is_empty()))?;
    }
    victim.go(1_000, 1, 8)?;
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}

/// The command waits for its probes; whoever ends leaktrace until then does not want it to run.
fn interrupted_before_the_command() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let ran = scratch.path().join("ran");
    let path = ran.to_str().context("a path that is no text")?;
    for signal in [Signal::TERM, Signal::INT] {
        let leaktrace = Leaktrace::start(&["--", "touch", path])?;
        // Loading the programs comes after it listens, and takes most of the time until the command may go.
        wait_until("leaktrace's programs", || holds_programs(leaktrace.pid()))?;
        leaktrace.signal(signal)?;
        let ended = leaktrace.finish()?;
        ended.expect_success()?;
        ensure!(ended.summary()?["ended"] == "interrupted", "{signal:?}: {}", ended.summary()?);
        ensure!(!ran.exists(), "{signal:?}: the command ran all the same");
    }
    Leaktrace::run(&["--", "touch", path])?.expect_success()?;
    ensure!(ran.exists(), "the command did not run");
    Ok(())
}

/// Whether a process has loaded a BPF program.
fn holds_programs(pid: u32) -> Result<bool> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?;
    let mut names = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    Ok(names.any(|name| name.to_string_lossy() == "anon_inode:bpf-prog"))
}
