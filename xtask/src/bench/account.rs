//! What a tracer says of its own run.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// What a tracer says of its own run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Account {
    /// Events received.
    pub(crate) events: u64,
    /// Events lost, as far as the tracer knows.
    pub(crate) lost: u64,
    /// CPU seconds that it used itself; 0 where it does not say.
    pub(crate) cpu_s: f64,
    /// Its largest resident set; 0 where it does not say.
    pub(crate) peak_rss_bytes: u64,
    /// The share of a CPU that its probes take by its own estimate: hits × cost of their class, mean of its ticks.
    pub(crate) target_share: f64,
    /// Nanoseconds that a call costs the target by the same estimate; 0 where none was seen.
    pub(crate) told_ns: f64,
}

/// Reads leaktrace's summary, the last line of its stream.
pub(super) fn leaktrace_account(printed: &str) -> Result<Account> {
    let last = printed.lines().last().context("leaktrace printed nothing")?;
    let summary: Value = serde_json::from_str(last).context("leaktrace's last line is no JSON")?;
    if summary["type"] != "summary" {
        bail!("leaktrace ended without a summary: {last}");
    }
    Ok(Account {
        events: summary["events"].as_u64().context("no `events` in the summary")?,
        lost: summary["losses"]["total"].as_u64().context("no `losses.total` in the summary")?,
        cpu_s: summary["own_cpu_s"].as_f64().unwrap_or(0.0),
        peak_rss_bytes: summary["own_peak_rss_bytes"].as_u64().unwrap_or(0),
        target_share: mean_share(printed),
        told_ns: told_ns(printed),
    })
}

/// The first tick comes directly after the attach, before anything was seen.
fn mean_share(printed: &str) -> f64 {
    let ticks = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let ticks = ticks.filter(|record| record["type"] == "tick").skip(1);
    let shares: Vec<f64> = ticks.filter_map(|tick| tick["overhead"]["target_cpu_share"].as_f64()).collect();
    if shares.is_empty() { 0.0 } else { shares.iter().sum::<f64>() / shares.len() as f64 }
}

/// What the ticks tell of cost, over the calls that they tell of: those with a record, and those without.
fn told_ns(printed: &str) -> f64 {
    let ticks = printed.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let (mut share, mut calls) = (0.0, 0.0);
    for tick in ticks.filter(|record| record["type"] == "tick") {
        let number = |name: &str| tick["overhead"][name].as_f64().unwrap_or(0.0);
        share += number("target_cpu_share");
        calls += number("events_per_s") + number("passed_per_s");
    }
    if calls > 0.0 { share * 1e9 / calls } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_the_account() {
        let printed = concat!(
            "{\"type\":\"tick\"}\n",
            "{\"type\":\"tick\",\"overhead\":{\"target_cpu_share\":0.5,\"events_per_s\":4e5,\"passed_per_s\":1e5}}\n",
            "{\"type\":\"summary\",\"events\":9,\"losses\":{\"total\":2},\"own_cpu_s\":0.5,\"own_peak_rss_bytes\":7}\n"
        );
        let account = leaktrace_account(printed).unwrap();
        let expected =
            Account { events: 9, lost: 2, cpu_s: 0.5, peak_rss_bytes: 7, target_share: 0.5, told_ns: 1000.0 };
        assert_eq!(account, expected);
        assert!(leaktrace_account("{\"type\":\"tick\"}\n").is_err());
    }
}
