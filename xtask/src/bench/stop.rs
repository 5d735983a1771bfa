//! How long it takes until a target has its functions back: from the signal that ends leaktrace to its end.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::stats::median;
use super::table::{Table, number};
use super::tracer::{Programs, Server, Tracer, Variant};
use crate::command::Cmd;

/// More than a small machine has CPUs: whoever takes the probes away has to wait for one, too.
const THREADS: &str = "8";
/// By then a budget of a twentieth is passed, and looked after in slices.
const SETTLED: Duration = Duration::from_secs(2);
/// Stops come at moments of a slice's cycle that fit no rhythm.
const LATER_MS: u64 = 137;
const CYCLE_MS: u64 = 1200;

/// Stops traces of a program that does nothing but allocate, and prints how long that took.
pub(super) fn run(programs: &Programs, stops: u32) -> Result<()> {
    let mut table = Table::new(
        format!("stop: ms from the signal to the end, {THREADS} threads that do nothing but allocate"),
        &["links", "traced", "stops", "median", "longest"],
    );
    let measured = [
        ("sessions", "everything", Variant::Leaktrace),
        ("sessions", "5%", Variant::Budget),
        ("multi", "everything", Variant::Multi),
        ("multi", "5%", Variant::MultiBudget),
    ];
    for (links, traced, variant) in measured {
        let seconds = (u64::from(stops) * 15).to_string();
        let command = Cmd::new(&programs.churn).args(["--threads", THREADS, "--seconds", &seconds]);
        let (target, _) = Server::start(command.args(["--depth", "8"]), false)?;
        let mut took_ms = Vec::new();
        for stop in 0..u64::from(stops) {
            eprintln!("stop, {links}, {traced}: {} of {stops}", stop + 1);
            let tracer = Tracer::attach(variant, programs.root, &programs.leaktrace, target.pid())?;
            thread::sleep(SETTLED + Duration::from_millis(stop * LATER_MS % CYCLE_MS));
            let took = tracer.context("nothing to stop")?.stop()?;
            took_ms.push(took.as_secs_f64() * 1e3);
        }
        let longest = took_ms.iter().copied().fold(0.0, f64::max);
        let median = number(median(took_ms));
        table.row(vec![links.into(), traced.into(), stops.to_string(), median, number(Some(longest))]);
    }
    print!("{table}");
    Ok(())
}
