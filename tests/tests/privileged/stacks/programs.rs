//! Stacks of Debian's own programs, which keep no frame pointers.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Ended, Leaktrace, Postgres, Redis, Victim, victim_source};
use serde_json::Value;

use crate::Case;

pub(super) const CASES: &[Case] = &[("stacks::of_distributions_programs_are_whole", programs)];

/// Stacks reach the start of the thread.
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
