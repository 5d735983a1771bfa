//! Stacks of programs without frame pointers, against what the program's own unwinder finds.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Ended, Language, Leaktrace, Postgres, Redis, Victim, victim_source};
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("stacks::without_frame_pointers", || equal(&["-O2", "-fomit-frame-pointer"], false)),
    ("stacks::with_frame_pointers", || equal(&["-O2", "-fno-omit-frame-pointer"], false)),
    ("stacks::optimised_and_linked_as_one", || equal(&["-O3", "-flto", "-fomit-frame-pointer"], false)),
    ("stacks::stripped", || equal(&["-O2", "-fomit-frame-pointer"], true)),
    ("stacks::of_distributions_programs_are_whole", programs),
    ("stacks::many_paths_in_a_small_ring_are_lost_aloud", small_ring),
    ("stacks::frame_pointers_when_asked_for", frame_pointers),
    ("stacks::plain_probes_see_the_same", plain_probes),
];

/// Return addresses, from the caller of the function that leaks outwards.
type Path = Vec<u64>;

/// Bytes by path.
type Paths = HashMap<Path, u64>;

/// What a program that leaks from `paths` call paths says of itself, and what was seen of it.
fn trace(build: &Build, (depth, go): (u32, &str), arguments: &[&str]) -> Result<(Paths, Ended)> {
    let mut victim = Victim::start(build.path()?, &[&depth.to_string()])?;
    let mut leaktrace = Leaktrace::attach(victim.pid(), &[&["--top", "10000"], arguments].concat())?;
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
        // The first address lies in the function that leaks, where it asks for its stack: not where it allocates.
        let path: Result<Path, _> = words.skip(1).map(|word| u64::from_str_radix(word, 16)).collect();
        *paths.entry(path?).or_default() += bytes;
    }
    Ok((paths, ended))
}

/// Live bytes of the summary's sites by their paths.
fn seen(ended: &Ended) -> Result<Paths> {
    let mut paths = Paths::new();
    for site in ended.summary()?["sites"].as_array().context("no sites")? {
        let frames = site["stack"].as_array().context("no stack")?;
        let real = frames.iter().filter(|frame| frame["inlined"] != true);
        let path: Option<Path> = real.skip(1).map(address).collect();
        *paths.entry(path.context("no address")?).or_default() += site["live_bytes"].as_u64().unwrap_or(0);
    }
    Ok(paths)
}

fn address(frame: &Value) -> Option<u64> {
    u64::from_str_radix(frame["address"].as_str()?.strip_prefix("0x")?, 16).ok()
}

fn equal(flags: &[&str], stripped: bool) -> Result<()> {
    let build = Build::new("paths.c", Language::C).flags(flags);
    let build = if stripped { build.stripped() } else { build };
    // Eight threads, and functions of sixty levels that differ in their innermost and outermost ones only.
    for (depth, go) in [(9, "go 400 1 200"), (60, "go 600 8 20000")] {
        let (told, ended) = trace(&build, (depth, go), &[])?;
        let header = ended.of_type("header").next().context("no header")?;
        ensure!(header["capture"]["stacks"] == "unwind_tables", "{}", header["capture"]);
        let seen = seen(&ended)?;
        let total: u64 = told.values().sum();
        let equal: u64 =
            told.iter().filter(|(path, bytes)| seen.get(*path) == Some(*bytes)).map(|(_, b)| b).sum();
        println!("{flags:?}, depth {depth}: {equal} of {total} bytes, {} paths", told.len());
        ensure!(equal * 100 >= total * 99, "{equal} of {total} bytes have the right stack");
        for (path, bytes) in &told {
            let found = seen.get(path).copied().unwrap_or(0);
            ensure!(found <= *bytes, "{found} bytes, not {bytes}, are said to come from {path:x?}");
        }
    }
    Ok(())
}

/// Debian's own programs, which keep no frame pointers: stacks reach the start of the thread.
fn programs() -> Result<()> {
    let redis = Redis::start()?;
    let leaktrace = Leaktrace::attach(redis.pid(), &["--top", "10000"])?;
    redis.load(20_000)?;
    reaches_the_start("redis", &leaktrace.stop()?)?;
    let postgres = Postgres::start()?;
    let mut session = postgres.session()?;
    let leaktrace = Leaktrace::attach(session.backend, &["--top", "10000"])?;
    // Its compiler is a hundred megabytes of code that is loaded in the middle, and each of its first calls is a new one.
    session.query("set jit = off; select 42;")?;
    session.query(
        "do $$ begin create temp table t as select i, repeat('x', 200) as x from generate_series(1, 20000) as i; \
         perform count(*) from t a join t b using (i); end $$; select 42;",
    )?;
    reaches_the_start("postgres", &leaktrace.stop()?)?;
    let python = Victim::spawn(Command::new("/usr/bin/python3").arg(victim_source("pychurn.py")))?;
    let mut leaktrace = Leaktrace::attach(python.pid(), &["--top", "10000"])?;
    leaktrace
        .wait_for("live blocks", |record| record["live_bytes"].as_u64().is_some_and(|live| live > 100_000))?;
    reaches_the_start("python3", &leaktrace.stop()?)
}

fn reaches_the_start(name: &str, ended: &Ended) -> Result<()> {
    const STARTS: [&str; 5] = ["_start", "main", "__libc_start", "start_thread", "clone"];
    ended.expect_success()?;
    let sites = ended.summary()?["sites"].as_array().context("no sites")?;
    let (mut whole, mut all, mut cut) = (0, 0, &Value::Null);
    for site in sites {
        let bytes = site["live_bytes"].as_u64().unwrap_or(0);
        let outermost = site["stack"].as_array().and_then(|stack| stack.last());
        let function = outermost.and_then(|frame| frame["function"].as_str()).unwrap_or_default();
        all += bytes;
        if STARTS.iter().any(|start| function.contains(start)) {
            whole += bytes;
        } else if cut["live_bytes"].as_u64().is_none_or(|most| most < bytes) {
            cut = site;
        }
    }
    println!("{name}: {whole} of {all} live bytes have a whole stack");
    ensure!(all > 0 && whole * 100 >= all * 95, "{name}: {whole} of {all}; the largest of the rest: {cut}");
    Ok(())
}

/// Copies that find no room are counted, and what is named is named rightly.
fn small_ring() -> Result<()> {
    let build = Build::new("paths.c", Language::C).flags(&["-O2", "-fomit-frame-pointer"]);
    let (told, ended) = trace(&build, (60, "go 4000 8"), &["--ring-size", "256K"])?;
    let lost = ended.summary()?["losses"]["causes"]["ring_full_stacks"].as_u64().unwrap_or(0);
    ensure!(lost > 0, "{}", ended.summary()?["losses"]);
    for (path, bytes) in seen(&ended)? {
        let most = told.get(&path).copied().unwrap_or(u64::MAX);
        ensure!(bytes <= most, "{bytes} bytes, not {most}, are said to come from {path:x?}");
    }
    Ok(())
}

fn frame_pointers() -> Result<()> {
    let build = Build::new("paths.c", Language::C).flags(&["-O1"]);
    let (told, ended) = trace(&build, (9, "go 100 1"), &["--unwind", "fp"])?;
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["stacks"] == "frame_pointers", "{}", header["capture"]);
    // Up to main the program's own functions are whole; the C library's, which has none, are not.
    let seen = seen(&ended)?;
    let named = told.iter().filter(|(path, bytes)| {
        seen.iter()
            .any(|(found, found_bytes)| found.len() >= 9 && path.starts_with(found) && found_bytes == *bytes)
    });
    ensure!(named.count() == told.len(), "{seen:x?} is not {told:x?}");
    Ok(())
}

fn plain_probes() -> Result<()> {
    let build = Build::new("paths.c", Language::C).flags(&["-O2", "-fomit-frame-pointer"]);
    let (told, ended) = trace(&build, (20, "go 200 2 500"), &["--plain-probes"])?;
    let seen = seen(&ended)?;
    let missing = told.iter().find(|(path, bytes)| seen.get(*path) != Some(*bytes));
    ensure!(missing.is_none(), "{missing:x?} was not seen");
    Ok(())
}
