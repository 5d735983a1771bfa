//! Victims that keep memory in a known way: `--js-sites` names the function; and what is bounded is no leak.

use anyhow::{Context, Result, bail, ensure};
use leaktrace_tests::{Ended, Leaktrace, js_victim};
use serde_json::Value;

use super::{ANY_PORT, ends_well, first_functions};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("javascript::sites::listener", || leak("listener", &[])),
    ("javascript::sites::closure", || leak("closure", &[])),
    ("javascript::sites::global", || leak("global", &[])),
    ("javascript::sites::map_cache", || leak("cache", &[])),
    ("javascript::sites::timer", || leak("timer", &[])),
    ("javascript::sites::worker", worker),
    ("javascript::sites::buffer_by_its_wrappers", || leak("buffer", &["--js-interval", "128"])),
    ("javascript::sites::bounded_lru", || no_leak("lru", "bounded_lru")),
    ("javascript::sites::fragmentation", || no_leak("fragmentation", "fragment")),
    ("javascript::sites::replay_says_the_same", replay),
];

/// Calls a second: some samples of 32 KiB each, and a heap that stays small.
const RATE: &str = "300";

/// Watches a victim until a call site of JavaScript is an alarm that names its function; gives that record.
fn alarm(kind: &str, options: &[&str]) -> Result<Value> {
    let function = format!("leak_{kind}");
    let victim = js_victim(ANY_PORT, &[kind, RATE])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[&["--js-sites"], options].concat())?;
    let verdict = leaktrace.wait_for("an alarm on the function", |record| {
        let is_alarm = record["verdict"] == "leak" || record["verdict"] == "suspect";
        let is_js = record["type"] == "verdict" && record["estimated"] == true;
        is_js
            && is_alarm
            && first_functions(&record["stack"]).is_ok_and(|first| first.contains(&function.as_str()))
    })?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    ends_well(victim)?;
    is_ranked(&ended, &function)?;
    Ok(verdict)
}

/// The site stands in ticks and in the summary, beside those of the native heap.
fn is_ranked(ended: &Ended, function: &str) -> Result<()> {
    let sites = ended.summary()?["sites"].as_array().context("no sites")?;
    let site = sites.iter().find(|site| site["kind"] == "js" && site["function"] == function);
    let site = site.with_context(|| format!("{function} is not in the summary: {sites:?}"))?;
    let place = site["stack"].as_array().into_iter().flatten().find(|frame| frame["function"] == function);
    let place = place.context("its function is not on its stack")?;
    ensure!(place["file"].as_str().is_some_and(|file| file.ends_with("/jsleaks.js")), "{place}");
    ensure!(place["line"].is_u64() && place["column"].is_u64(), "{place}");
    let told = ended.of_type("site").filter(|told| told["site"] == site["site"]).count();
    ensure!(told == 1, "its stack was told {told} times");
    let is_native = |site: &Value| site["kind"] == "heap";
    ensure!(ended.of_type("tick").any(|tick| tick["sites"].as_array().into_iter().flatten().any(is_native)));
    Ok(())
}

fn leak(kind: &str, options: &[&str]) -> Result<()> {
    let verdict = alarm(kind, options)?;
    ensure!(verdict["subject"]["kind"] == "site" && verdict["live_bytes"].as_u64() > Some(0), "{verdict}");
    Ok(())
}

fn worker() -> Result<()> {
    let verdict = alarm("worker", &[])?;
    ensure!(verdict["culprit"]["function"] == "leak_worker", "{verdict}");
    Ok(())
}

/// Nothing that turns over is called a leak.
fn no_leak(kind: &str, function: &str) -> Result<()> {
    let victim = js_victim(ANY_PORT, &[kind])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--js-sites"])?;
    let is_seen = |record: &Value| {
        let mut sites = record["sites"].as_array().into_iter().flatten();
        sites.any(|site| site["kind"] == "js" && site["function"] == function)
    };
    if kind == "lru" {
        leaktrace.wait_for("the call site", is_seen)?;
    }
    leaktrace.wait_for("some ticks more", |record| record["t"].as_f64() > Some(15.0))?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    ends_well(victim)?;
    let leaks: Vec<&Value> = ended.of_type("verdict").filter(|record| record["verdict"] == "leak").collect();
    if let Some(leak) = leaks.first() {
        bail!("what turns over is no leak: {leak}");
    }
    Ok(())
}

fn replay() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("trace.leaktrace");
    let path = file.to_str().context("a path that is no text")?;
    let victim = js_victim(ANY_PORT, &["closure"])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &["--js-sites", "--record", path])?;
    leaktrace.wait_for("the call site", |record| {
        let mut sites = record["sites"].as_array().into_iter().flatten();
        sites.any(|site| site["kind"] == "js")
    })?;
    let live = leaktrace.stop()?;
    live.expect_success()?;
    ends_well(victim)?;
    let replayed = Leaktrace::run(&["replay", path])?;
    replayed.expect_success()?;
    let of = |ended: &Ended, kind: &str| ended.of_type(kind).cloned().collect::<Vec<_>>();
    for kind in ["tick", "verdict", "summary"] {
        ensure!(of(&live, kind) == of(&replayed, kind), "a {kind} differs");
    }
    ensure!(
        of(&replayed, "tick").iter().any(|tick| tick.to_string().contains("\"js\"")),
        "no site of JavaScript"
    );
    Ok(())
}
