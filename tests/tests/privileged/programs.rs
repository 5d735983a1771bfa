//! Real programs: redis, a postgres backend, an nginx worker, node; and runtimes with a heap of their own.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    Build, Language, Leaktrace, Nginx, Postgres, Redis, Totals, Victim, victim_source, within_percent,
};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("programs::redis", redis),
    ("programs::postgres_backend", postgres_backend),
    ("programs::nginx_worker", nginx_worker),
    ("programs::node", node),
    ("programs::python_has_its_own_heap", || own_heap(&mut script("python3", "pychurn.py"))),
    ("programs::go_has_its_own_heap", || {
        own_heap(&mut Command::new(Build::new("gochurn.go", Language::Go).path()?))
    }),
];

const ENOUGH: u64 = 10_000;

/// Attaches and prints how long the first tick took: measured, not asserted, because the machine may be busy.
fn attach_timed(name: &str, pid: u32) -> Result<Leaktrace> {
    let pid = pid.to_string();
    let mut leaktrace = Leaktrace::start(&["--pid", &pid])?;
    let elapsed = leaktrace.wait_attached()?;
    println!("{name}: first tick after {elapsed:.2?}");
    Ok(leaktrace)
}

fn redis() -> Result<()> {
    let redis = Redis::start()?;
    redis.load(1_000)?; // clients' and commands' first-use tables are not part of the comparison
    let leaktrace = attach_timed("redis", redis.pid())?;
    let before = redis.used_memory()?;
    redis.load(40_000)?;
    let after = redis.used_memory()?;
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    let totals = Totals::of(ended.summary()?)?;
    totals.expect_plausible(ENOUGH)?;
    // used_memory counts usable sizes; both are changes since the attach.
    println!("redis: used_memory +{}, live bytes {}", after - before, totals.live_bytes);
    ensure!(
        totals.unknown_frees > 0 || within_percent(after - before, totals.live_bytes as i64, 1.0),
        "used_memory changed by {}, live bytes by {}",
        after - before,
        totals.live_bytes
    );
    Ok(())
}

fn postgres_backend() -> Result<()> {
    let postgres = Postgres::start()?;
    let mut session = postgres.session()?;
    let leaktrace = Leaktrace::attach(session.backend, &[])?;
    // Memory contexts are made of malloc'd blocks: many small statements, each with contexts of its own.
    let answer = session.query(
        "do $$ begin for i in 1..20000 loop execute 'select string_agg(repeat(''x'', 9000), '''') \
         from generate_series(1, 2) where ' || i || ' > 0'; end loop; end $$; select 42;",
    )?;
    ensure!(answer == "42", "postgres answered {answer}");
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_plausible(ENOUGH)
}

fn nginx_worker() -> Result<()> {
    let nginx = Nginx::start()?;
    let worker = *nginx.workers().first().context("nginx has no worker")?;
    let mut leaktrace = Leaktrace::attach(worker, &[])?;
    // The kernel shares connections out as it likes: load until this worker has done enough.
    let mut seen = 0;
    while seen < ENOUGH {
        nginx.load(2_000)?;
        let tick = leaktrace.wait_for("a tick", |record| record["type"] == "tick")?;
        let now = Totals::of(&tick)?.allocs;
        ensure!(now > seen || seen == 0, "the worker gets no requests");
        seen = now;
    }
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_plausible(ENOUGH)
}

fn node() -> Result<()> {
    let victim = Victim::spawn(script("node", "nodehttp.js").arg("serve"))?;
    let port = victim.ready_words().next().context("the server tells no port")?.to_owned();
    let leaktrace = attach_timed("node", victim.pid())?;
    let load = script("node", "nodehttp.js").args(["load", &port, "3", "8"]).output()?;
    ensure!(load.status.success(), "the load failed: {}", String::from_utf8_lossy(&load.stderr));
    let ended = leaktrace.stop()?;
    ended.expect_success()?;
    Totals::of(ended.summary()?)?.expect_plausible(ENOUGH)
}

fn script(interpreter: &str, name: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(victim_source(name));
    command
}

fn own_heap(command: &mut Command) -> Result<()> {
    let victim = Victim::spawn(command)?;
    let pid = victim.pid().to_string();
    // A Go program may have nothing to probe; the notice must come all the same.
    let mut leaktrace = Leaktrace::start(&["--pid", &pid])?;
    leaktrace.wait_for_notice("own_heap")?;
    leaktrace.stop()?.expect_success()
}
