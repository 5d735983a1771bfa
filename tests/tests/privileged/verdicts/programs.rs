//! Real programs at work, which do not leak: no `leak` verdict, on anything, at any time.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use leaktrace_tests::{
    Leaktrace, Nginx, Postgres, Redis, Said, Victim, Watched, http_requests, victim_source,
};

use super::{print, soak_time};
use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("verdicts::programs::redis", redis),
    ("verdicts::programs::postgres_backend", postgres_backend),
    ("verdicts::programs::node", node),
    ("verdicts::programs::nginx_worker", nginx_worker),
    ("verdicts::programs::python", python),
];

/// Fewer allocations would say nothing.
const ENOUGH: u64 = 100;

/// How long to watch, and how long to rest between two bursts of load: in the short form other cases run beside it.
fn time_and_rest() -> Result<(f64, Duration)> {
    let short = (Duration::from_secs(35), Duration::from_millis(500));
    let (time, rest) = soak_time()?.map_or(short, |time| (time, Duration::ZERO));
    Ok((time.as_secs_f64(), rest))
}

/// Watches a process under bursts of load: nothing may be called a leak.
fn no_leak(name: &str, pid: u32, burst: impl Fn() -> Result<()> + Sync) -> Result<()> {
    let (seconds, rest) = time_and_rest()?;
    // It has been at work for a while when somebody comes to look.
    burst()?;
    let leaktrace = Leaktrace::attach(pid, &[])?;
    let is_over = AtomicBool::new(false);
    let watched = thread::scope(|scope| {
        let load = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                burst()?;
                thread::sleep(rest);
            }
            anyhow::Ok(())
        });
        let is_enough = |watched: &Watched| watched.seconds() > seconds || load.is_finished();
        let watched = Watched::follow(leaktrace, None, is_enough);
        is_over.store(true, Relaxed);
        load.join().map_err(|_| anyhow!("the load panicked"))?.context("the load")?;
        watched
    })?;
    print(name, &watched);
    ensure!(watched.allocs > ENOUGH, "{name} made only {} allocations", watched.allocs);
    watched.expect_never(&format!("{name} does not leak"), Said::is_leak)
}

fn redis() -> Result<()> {
    let redis = Redis::start()?;
    let requests = if soak_time()?.is_some() { 20_000 } else { 1_000 };
    no_leak("redis", redis.pid(), || redis.benchmark(requests))
}

fn postgres_backend() -> Result<()> {
    let postgres = Postgres::start()?;
    let bench = postgres.bench(if soak_time()?.is_some() { None } else { Some(40) })?;
    // pgbench is the load, and goes on by itself.
    no_leak("postgres backend", bench.backend, || {
        thread::sleep(Duration::from_millis(100));
        Ok(())
    })
}

fn node() -> Result<()> {
    let victim = Victim::spawn(Command::new("node").arg(victim_source("nodehttp.js")).arg("serve"))?;
    let port = victim.ready_words().next().context("the server tells no port")?.parse()?;
    no_leak("node", victim.pid(), || http_requests(port, "/items", 50))
}

fn nginx_worker() -> Result<()> {
    let nginx = Nginx::start()?;
    let worker = *nginx.workers().first().context("nginx has no worker")?;
    no_leak("nginx worker", worker, || nginx.load(100))
}

fn python() -> Result<()> {
    let victim =
        Victim::spawn(Command::new("python3").arg(victim_source("patterns.py")).args(["loop", "86400"]))?;
    no_leak("python", victim.pid(), || {
        thread::sleep(Duration::from_millis(100));
        Ok(())
    })
}
