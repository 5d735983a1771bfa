//! What watching V8's heap alone costs a Node HTTP server: hits × cost, and throughput in pairs.

use anyhow::{Context as _, Result};

use super::account::Account;
use super::servers::{node_http, node_rate, start_node};
use super::stats::interval95;
use super::tracer::{Programs, Tracer, Variant};

/// Each round runs the load untraced and traced, in turn first and second, against the same server.
pub(super) fn run(programs: &Programs, rounds: u32, seconds: u32) -> Result<()> {
    let (server, port) = start_node(&[])?;
    let port = port.to_string();
    let load = || -> Result<f64> {
        let printed = node_http().args(["load", &port, &seconds.to_string()]).read()?;
        node_rate(&printed).with_context(|| format!("the node load printed: {printed}"))
    };
    load().context("the warm-up failed")?;
    let traced = || -> Result<(f64, Account)> {
        let tracer = Tracer::attach(Variant::V8Only, programs.root, &programs.leaktrace, server.pid())?;
        let rate = load()?;
        Ok((rate, tracer.context("no tracer")?.detach()?))
    };
    let (mut logs, mut shares, mut events, mut lost) = (Vec::new(), Vec::new(), 0, 0);
    for round in 0..rounds {
        eprintln!("v8, round {} of {rounds}", round + 1);
        let (plain, (rate, account)) = if round % 2 == 0 {
            let plain = load()?;
            (plain, traced()?)
        } else {
            let traced = traced()?;
            (load()?, traced)
        };
        logs.push((rate / plain).ln());
        shares.push(account.target_share);
        events += account.events;
        lost += account.lost;
    }
    let share = shares.iter().sum::<f64>() / f64::from(rounds.max(1));
    println!("v8 only, Node HTTP server, {rounds} pairs of {seconds} s");
    println!("  probe hits × cost: {:.4} % of a CPU; {events} events, {lost} lost", share * 100.0);
    match interval95(&logs) {
        Some((mean, low, high)) => println!(
            "  throughput traced ÷ untraced: {:.3}, 95 % interval {:.3} to {:.3}",
            mean.exp(),
            low.exp(),
            high.exp()
        ),
        None => println!("  throughput: too few pairs"),
    }
    Ok(())
}
