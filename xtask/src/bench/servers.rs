//! How much of a server's throughput is kept while it is traced.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::stats::median;
use super::table::{Table, number, ratio};
use super::tracer::{Programs, Server, Tracer, Variant};
use crate::command::Cmd;
use crate::workspace;

/// One run of the load.
#[derive(Clone, Copy, Debug)]
struct Sample {
    variant: Variant,
    requests_per_s: f64,
    account: Account,
}

/// A table that both servers fill.
pub(super) fn table(rounds: u32) -> Table {
    Table::new(
        format!("servers: requests/s, medians of {rounds} rounds"),
        &[
            "server",
            "untraced",
            "leaktrace",
            "kept",
            "sampled",
            "kept",
            "budget 5%",
            "kept",
            "bcc shape",
            "kept",
            "events",
            "lost",
            "own CPU s",
            "own MiB",
        ],
    )
}

/// redis-server (on jemalloc) under redis-benchmark.
pub(super) fn redis(programs: &Programs, table: &mut Table, rounds: u32, requests: u32) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (server, socket) = start_redis(scratch.path())?;
    let load = || {
        let printed = Cmd::new("redis-benchmark")
            .arg("-s")
            .arg(&socket)
            .args(["-t", "set", "-n", &requests.to_string(), "-r", "10000", "-d", "64", "-c", "32", "--csv"])
            .read()?;
        redis_rate(&printed).with_context(|| format!("redis-benchmark printed: {printed}"))
    };
    measure("redis", programs, &server, table, rounds, load)
}

/// A JSON-over-HTTP server on Node under its own load generator.
pub(super) fn node(programs: &Programs, table: &mut Table, rounds: u32, seconds: u32) -> Result<()> {
    let (server, port) = start_node(&[])?;
    let port = port.to_string();
    let load = || {
        let printed = node_http().args(["load", &port, &seconds.to_string()]).read()?;
        node_rate(&printed).with_context(|| format!("the node load printed: {printed}"))
    };
    measure("node", programs, &server, table, rounds, load)
}

/// Runs the load under each variant in turn, round by round, against the same server.
fn measure(
    name: &str,
    programs: &Programs,
    server: &Server,
    table: &mut Table,
    rounds: u32,
    load: impl Fn() -> Result<f64>,
) -> Result<()> {
    load().context("the warm-up failed")?;
    let mut samples = Vec::new();
    for round in 1..=rounds {
        for variant in Variant::ALL {
            eprintln!("{name}, round {round} of {rounds}: {variant:?}");
            let tracer = Tracer::attach(variant, programs.root, &programs.leaktrace, server.pid())?;
            if variant == Variant::Budget {
                // Everything is traced until the first window is over.
                load()?;
            }
            let requests_per_s = load()?;
            let account = tracer.map_or(Ok(Account::default()), Tracer::detach)?;
            samples.push(Sample { variant, requests_per_s, account });
        }
    }
    let middle = |variant, value: fn(&Sample) -> f64| {
        median(samples.iter().filter(|sample| sample.variant == variant).map(value))
    };
    let rate = |variant| middle(variant, |sample| sample.requests_per_s);
    let base = rate(Variant::Untraced);
    let own = samples.iter().filter(|sample| sample.variant == Variant::Leaktrace);
    let lost: u64 = own.map(|sample| sample.account.lost).sum();
    table.row(vec![
        name.to_owned(),
        number(base),
        number(rate(Variant::Leaktrace)),
        ratio(rate(Variant::Leaktrace), base),
        number(rate(Variant::Sampled)),
        ratio(rate(Variant::Sampled), base),
        number(rate(Variant::Budget)),
        ratio(rate(Variant::Budget), base),
        number(rate(Variant::Bcc)),
        ratio(rate(Variant::Bcc), base),
        number(middle(Variant::Leaktrace, |sample| sample.account.events as f64)),
        lost.to_string(),
        number(middle(Variant::Leaktrace, |sample| sample.account.cpu_s)),
        number(middle(Variant::Leaktrace, |sample| sample.account.peak_rss_bytes as f64 / 1_048_576.0)),
    ]);
    Ok(())
}

/// Starts redis-server on a socket in a directory, and waits until it answers there.
pub(super) fn start_redis(directory: &Path) -> Result<(Server, PathBuf)> {
    let socket = directory.join("redis.sock");
    let command = Cmd::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--logfile", "/dev/null", "--unixsocket"])
        .arg(&socket)
        .arg("--dir")
        .arg(directory);
    let (server, _) = Server::start(command, false)?;
    wait_for_redis(&socket)?;
    Ok((server, socket))
}

/// The Node HTTP server and its load generator.
pub(super) fn node_http() -> Cmd {
    Cmd::new("node").arg(workspace::root().join("tests/victims/nodehttp.js"))
}

/// Starts the Node HTTP server: with the port on which it listens.
pub(super) fn start_node(options: &[&str]) -> Result<(Server, u16)> {
    let (server, line) = Server::start(node_http().arg("serve").args(options.iter().copied()), true)?;
    let port = line.split_whitespace().nth(2).and_then(|port| port.parse().ok());
    let port = port.with_context(|| format!("the node server printed: {line}"))?;
    Ok((server, port))
}

fn wait_for_redis(socket: &Path) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(20);
    while !Cmd::new("redis-cli").arg("-s").arg(socket).arg("ping").succeeds() {
        if Instant::now() > until {
            bail!("redis-server does not answer");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Requests a second in redis-benchmark's CSV.
fn redis_rate(printed: &str) -> Option<f64> {
    let line = printed.lines().find(|line| line.starts_with("\"SET\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}

/// Requests a second in `requests N seconds S req_per_s R`.
pub(super) fn node_rate(printed: &str) -> Option<f64> {
    printed.split_whitespace().skip_while(|word| *word != "req_per_s").nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"81234.50\",\"0.35\"\n";
        assert_eq!(redis_rate(csv), Some(81234.5));
        assert_eq!(node_rate("requests 900 seconds 3.00 req_per_s 300\n"), Some(300.0));
        assert_eq!(node_rate("requests 900"), None);
    }
}
