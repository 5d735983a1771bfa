//! `leaktrace snapshot`: a file for its owner alone, complete or not there at all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use leaktrace_tests::{DEADLINE, Leaktrace, js_victim, leaktrace_binary, with_js_victim_in_namespaces};
use rustix::process::Signal;

use super::{ANY_PORT, ends_well, expect_refused, listening_ports, pid_of};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("javascript::snapshot::complete_and_private", complete),
    ("javascript::snapshot::target_dies_meanwhile", target_dies),
    ("javascript::snapshot::interrupted", interrupted),
    ("javascript::snapshot::refused", refused),
    ("javascript::snapshot::other_namespaces", namespaces),
];

/// Takes a snapshot of a process into a file, and looks at it.
fn take(pid: u32, file: &Path) -> Result<()> {
    let output = std::process::Command::new(leaktrace_binary()?)
        .args(["snapshot", "--yes", "--pid", &pid.to_string(), "-o"])
        .arg(file)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    ensure!(said.contains("stops its event loop"), "the cost was not said: {said}");
    let snapshot: serde_json::Value = serde_json::from_slice(&fs::read(file)?)?;
    let nodes = snapshot["snapshot"]["node_count"].as_u64().context("no nodes")?;
    let fields = snapshot["snapshot"]["meta"]["node_fields"].as_array().context("no fields")?.len() as u64;
    let values = snapshot["nodes"].as_array().context("no nodes")?.len() as u64;
    ensure!(nodes > 1000 && values == nodes * fields, "{nodes} nodes in {values} values");
    ensure!(fs::metadata(file)?.permissions().mode() & 0o777 == 0o600, "others can read it");
    Ok(())
}

fn complete() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let victim = js_victim(ANY_PORT, &["closure"])?;
    for name in ["a.heapsnapshot", "b.heapsnapshot"] {
        take(victim.pid(), &directory.path().join(name))?;
        ensure!(listening_ports(victim.pid())?.is_empty(), "the inspector is still open");
    }
    let exists = directory.path().join("a.heapsnapshot");
    let arguments =
        ["snapshot", "--yes", "--pid", &pid_of(&victim), "-o", exists.to_str().context("a path")?];
    let again = Leaktrace::run(&arguments)?;
    ensure!(again.status.code() == Some(7) && again.stderr.contains("exists"), "{}", again.stderr);
    ensure!(fs::read_dir(directory.path())?.count() == 2, "something else was left behind");
    ends_well(victim)
}

/// Starts a snapshot of a victim with a large heap, and waits until part of it is written.
fn in_the_middle(pid: &str, directory: &Path) -> Result<Leaktrace> {
    let file = directory.join("large.heapsnapshot");
    let file = file.to_str().context("a path that is no text")?;
    let leaktrace = Leaktrace::start(&["snapshot", "--yes", "--force", "--pid", pid, "-o", file])?;
    let partial = format!("{file}.partial");
    let deadline = Instant::now() + DEADLINE;
    while fs::metadata(&partial).map_or(0, |meta| meta.len()) == 0 {
        ensure!(Instant::now() < deadline, "nothing was written");
        ensure!(!Path::new(file).exists(), "it was complete before it could be cut");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(leaktrace)
}

fn target_dies() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut victim = js_victim(ANY_PORT, &["large"])?;
    let leaktrace = in_the_middle(&pid_of(&victim), directory.path())?;
    victim.kill()?;
    let ended = leaktrace.finish()?;
    ensure!(ended.status.code() == Some(3), "{}: {}", ended.status, ended.stderr);
    ensure!(
        ended.stderr.contains("was removed") && ended.stderr.contains("the process ended"),
        "{}",
        ended.stderr
    );
    ensure!(fs::read_dir(directory.path())?.next().is_none(), "something was left behind");
    Ok(())
}

fn interrupted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let victim = js_victim(ANY_PORT, &["large"])?;
    let leaktrace = in_the_middle(&pid_of(&victim), directory.path())?;
    leaktrace.signal(Signal::INT)?;
    let ended = leaktrace.finish()?;
    if ended.status.success() {
        bail!("the interrupt came too late");
    }
    ensure!(ended.stderr.contains("interrupted"), "{}", ended.stderr);
    ensure!(fs::read_dir(directory.path())?.next().is_none(), "something was left behind");
    ensure!(listening_ports(victim.pid())?.is_empty(), "the inspector is still open: {}", ended.stderr);
    ends_well(victim)
}

fn refused() -> Result<()> {
    let victim = js_victim(&[], &["user-handler"])?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("x");
    let file = file.to_str().context("a path that is no text")?;
    let run = |more: &[&str]| {
        let pid = pid_of(&victim);
        Leaktrace::run(&[&["snapshot", "--pid", &pid, "-o", file], more].concat())
    };
    let handler = run(&["--yes"])?;
    ensure!(handler.status.code() == Some(6), "{}: {}", handler.status, handler.stderr);
    ensure!(handler.stderr.contains("handles SIGUSR1 itself"), "{}", handler.stderr);
    let unasked = run(&[])?;
    ensure!(unasked.status.code() == Some(6) && unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    expect_refused(&Leaktrace::run(&["--pid", &pid_of(&victim), "--js-sites"])?, "handles SIGUSR1 itself")?;
    ensure!(fs::read_dir(directory.path())?.next().is_none(), "something was left behind");
    ends_well(victim)
}

fn namespaces() -> Result<()> {
    let directory = tempfile::tempdir()?;
    with_js_victim_in_namespaces(&["closure"], |victim, host_pid| {
        take(host_pid, &directory.path().join("a.heapsnapshot"))?;
        ends_well(victim)
    })
}
