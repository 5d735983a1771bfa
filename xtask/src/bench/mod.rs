//! `cargo xtask bench`: what tracing costs, interleaved in one run with no tracer and with the shape of bcc's memleak.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::command::find_program;
use crate::privilege::Root;
use crate::workspace::{self, Frames, Profile};

mod account;
mod bcc;
mod churn;
mod heap_walk;
mod leaks;
mod named;
mod pipeline;
mod servers;
mod sites;
mod snapshot;
mod stats;
mod stop;
mod table;
mod tracer;
mod v8;
mod verdicts;

pub(crate) use tracer::{Programs, Server, Tracer, Variant};

/// Options of the bench.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// One short round instead of several longer ones: shows that everything runs, not what it costs.
    #[arg(long)]
    quick: bool,
    /// Runs only the benches whose name contains this: churn, churn-nofp, stop, redis, node, leaks, v8,
    /// pipeline, pipeline-sites, verdicts, snapshot, heap-walk.
    #[arg(long, default_value = "")]
    filter: String,
}

/// Those that trace a program at work.
const OF_TRACES: [&str; 7] = ["churn", "churn-nofp", "stop", "redis", "node", "leaks", "v8"];

/// Runs the benches and prints their tables.
pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen = |name: &str| name.contains(&options.filter);
    if chosen("pipeline") {
        pipeline::run(if options.quick { 2_000_000 } else { 20_000_000 })?;
    }
    if chosen("pipeline-sites") {
        sites::run(if options.quick { 30 } else { 300 })?;
    }
    if chosen("verdicts") {
        verdicts::run(if options.quick { 60 } else { 900 })?;
    }
    if chosen("snapshot") {
        let (megabytes, rounds) = if options.quick { (20, 1) } else { (320, 3) };
        snapshot::run(megabytes, rounds)?;
    }
    if !OF_TRACES.into_iter().chain(["heap-walk"]).any(chosen) {
        return Ok(());
    }
    let root = Root::find();
    if !root.unattended() {
        bail!("the bench needs root: run it as root, or run `sudo -v` first");
    }
    if chosen("heap-walk") {
        let (chunks, rounds) = if options.quick { (100_000, 1) } else { (10_000_000, 5) };
        heap_walk::run(root, chunks, rounds)?;
    }
    if !OF_TRACES.into_iter().any(chosen) {
        return Ok(());
    }
    if find_program("bpftrace").is_none() {
        bail!("bpftrace is missing: cargo xtask test --install");
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let programs = Programs {
        root,
        leaktrace: workspace::build_leaktrace(Profile::Release)?,
        churn: workspace::compile_victim("churn", scratch.path(), Frames::Kept)?,
    };
    let (rounds, seconds, requests) = if options.quick { (1, 1, 20_000) } else { (5, 3, 200_000) };
    if chosen("churn") {
        churn::run(&programs, ("churn", &programs.churn), &[1, 2, 8], (rounds, seconds))?;
    }
    if chosen("churn-nofp") {
        let program = workspace::compile_victim("churn", scratch.path(), Frames::Omitted)?;
        let name = "churn without frame pointers";
        churn::run(&programs, (name, &program), &[1, 8], (rounds, seconds))?;
        named::run(&programs, (name, &program))?;
    }
    if chosen("stop") {
        stop::run(&programs, if options.quick { 1 } else { 10 })?;
    }
    if chosen("v8") {
        v8::run(&programs, if options.quick { 2 } else { 12 }, seconds)?;
    }
    let mut table = servers::table(rounds);
    if chosen("redis") {
        servers::redis(&programs, &mut table, rounds, requests)?;
    }
    if chosen("node") {
        servers::node(&programs, &mut table, rounds, seconds)?;
    }
    if chosen("redis") || chosen("node") {
        print!("{table}");
    }
    if chosen("leaks") {
        leaks::run(&programs, Duration::from_secs(if options.quick { 5 } else { 65 }))?;
    }
    Ok(())
}
