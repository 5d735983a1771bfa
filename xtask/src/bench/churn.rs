//! Nanoseconds per malloc+free pair on a program that does nothing else.

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use super::account::Account;
use super::stats::median;
use super::table::{Table, number, ratio};
use super::tracer::{Programs, Tracer, Variant};
use crate::command::Cmd;

/// Each block is freed at once by the thread that took it: the dearest load for a tracer.
const DEPTH: &str = "8";

/// One run.
#[derive(Clone, Copy, Debug)]
struct Sample {
    variant: Variant,
    ns_per_pair: f64,
    /// Of CPU time, which is what the tracer tells.
    cpu_ns_per_pair: f64,
    pairs: u64,
    account: Account,
}

/// Measures with each number of threads and prints the table.
pub(super) fn run(
    programs: &Programs,
    (name, churn): (&str, &Path),
    threads: &[u32],
    (rounds, seconds): (u32, u32),
) -> Result<()> {
    const MEASURED: [Variant; 6] = [
        Variant::Untraced,
        Variant::Leaktrace,
        Variant::Multi,
        Variant::OneRing,
        Variant::Sampled,
        Variant::Bcc,
    ];
    let mut cost = Table::new(
        format!("{name}: ns per malloc+free pair, medians of {rounds} rounds of {seconds} s"),
        &["threads", "tracer", "ns", "added", "of bcc's", "CPU added", "of bcc's", "lost", "told/seen"],
    );
    let mut account = Table::new(
        format!("{name}: what the tracers say of themselves"),
        &["threads", "events/s", "lost", "own CPU s", "own MiB", "bcc events", "bcc lost"],
    );
    for &threads in threads {
        let mut samples = Vec::new();
        for round in 1..=rounds {
            for variant in MEASURED {
                eprintln!("{name}, {threads} threads, round {round} of {rounds}: {variant:?}");
                samples.push(sample(programs, churn, variant, (threads, seconds))?);
            }
        }
        let middle = |variant, value: fn(&Sample) -> f64| {
            median(samples.iter().filter(|sample| sample.variant == variant).map(value))
        };
        let ns = |variant| middle(variant, |sample| sample.ns_per_pair);
        let base = ns(Variant::Untraced);
        let added = |variant| ns(variant).zip(base).map(|(traced, base)| traced - base);
        let cpu_ns = |variant| middle(variant, |sample| sample.cpu_ns_per_pair);
        let added_cpu =
            |variant| cpu_ns(variant).zip(cpu_ns(Variant::Untraced)).map(|(traced, base)| traced - base);
        // A pair is two calls. The tracers that are compared do not tell.
        let told = |variant| middle(variant, |sample| 2.0 * sample.account.told_ns).filter(|ns| *ns > 0.0);
        for variant in MEASURED {
            let is_traced = variant != Variant::Untraced;
            cost.row(vec![
                threads.to_string(),
                format!("{variant:?}").to_lowercase(),
                number(ns(variant)),
                number(added(variant).filter(|_| is_traced)),
                ratio(added(variant).filter(|_| is_traced), added(Variant::Bcc)),
                number(added_cpu(variant).filter(|_| is_traced)),
                ratio(added_cpu(variant).filter(|_| is_traced), added_cpu(Variant::Bcc)),
                losses(&samples, variant, |sample| sample.account.lost).to_string(),
                ratio(told(variant), added_cpu(variant)),
            ]);
        }
        let events = middle(Variant::Leaktrace, |sample| sample.account.events as f64);
        let lost: u64 = losses(&samples, Variant::Leaktrace, |sample| sample.account.lost);
        // bpftrace does not count what its maps refuse: what it did not see of the calls made is lost.
        let bcc_lost: u64 = losses(&samples, Variant::Bcc, |sample| {
            sample.account.lost.max((2 * sample.pairs).saturating_sub(sample.account.events))
        });
        account.row(vec![
            threads.to_string(),
            number(events.map(|events| events / f64::from(seconds))),
            lost.to_string(),
            number(middle(Variant::Leaktrace, |sample| sample.account.cpu_s)),
            number(middle(Variant::Leaktrace, |sample| sample.account.peak_rss_bytes as f64 / 1_048_576.0)),
            number(middle(Variant::Bcc, |sample| sample.account.events as f64)),
            bcc_lost.to_string(),
        ]);
    }
    print!("{cost}{account}");
    Ok(())
}

/// The sum over all rounds: a loss in one round is a loss.
fn losses(samples: &[Sample], variant: Variant, value: fn(&Sample) -> u64) -> u64 {
    samples.iter().filter(|sample| sample.variant == variant).map(value).sum()
}

/// Starts the program, attaches the tracer while it waits, and lets it go.
fn sample(
    programs: &Programs,
    churn: &Path,
    variant: Variant,
    (threads, seconds): (u32, u32),
) -> Result<Sample> {
    let command = Cmd::new(churn).args([
        "--threads",
        &threads.to_string(),
        "--seconds",
        &seconds.to_string(),
        "--depth",
        DEPTH,
        "--wait",
    ]);
    traced(programs, command, variant, |churn, tracer, line| {
        let status = churn.wait().context("cannot wait for churn")?;
        if !status.success() {
            bail!("churn under {variant:?} ended with {status}");
        }
        let account = tracer.map_or(Ok(Account::default()), Tracer::finish)?;
        let (pairs, ns_per_pair, cpu_ns_per_pair) =
            parse(line).with_context(|| format!("churn printed: {line}"))?;
        Ok(Sample { variant, ns_per_pair, cpu_ns_per_pair, pairs, account })
    })
}

/// Starts a churn, attaches a tracer while it waits, lets it go, and gives both with the line that it printed to `told`.
pub(super) fn traced<T>(
    programs: &Programs,
    command: Cmd,
    variant: Variant,
    told: impl FnOnce(&mut Child, Option<Tracer>, &str) -> Result<T>,
) -> Result<T> {
    let mut command = command.into_std();
    let mut churn =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start churn")?;
    let result = (|| {
        let mut printed = BufReader::new(churn.stdout.take().context("churn has no output")?);
        let mut line = String::new();
        printed.read_line(&mut line).context("cannot read from churn")?;
        let tracer = Tracer::attach(variant, programs.root, &programs.leaktrace, churn.id())?;
        // Open until the end: some programs stay for a line that never comes.
        let mut input = churn.stdin.take().context("churn has no input")?;
        input.write_all(b"go\n").context("cannot write to churn")?;
        line.clear();
        printed.read_line(&mut line).context("cannot read from churn")?;
        told(&mut churn, tracer, &line)
    })();
    // It may still wait for a line; or it is gone already.
    let _ = churn.kill();
    let _ = churn.wait();
    result
}

/// Pairs and ns per pair in `pairs N ns_per_pair X cpu_ns_per_pair Y threads …`.
fn parse(line: &str) -> Option<(u64, f64, f64)> {
    let mut words = line.split_whitespace();
    let mut after = |name| words.find(|word| *word == name).and_then(|_| words.next());
    let pairs = after("pairs")?.parse().ok()?;
    Some((pairs, after("ns_per_pair")?.parse().ok()?, after("cpu_ns_per_pair")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn churns_line_is_read() {
        let line = "pairs 1000 ns_per_pair 31.50 cpu_ns_per_pair 30.25 threads 31.00 32.00\n";
        assert_eq!(super::parse(line), Some((1000, 31.5, 30.25)));
        assert_eq!(super::parse("ready 12\n"), None);
    }
}
