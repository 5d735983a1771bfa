//! Compares what leaktrace counted with what a victim or service says of itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::Ledger;

/// The cumulative numbers of a tick or summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Bytes in live blocks.
    pub live_bytes: u64,
    /// Live blocks.
    pub live_count: u64,
    /// Allocations.
    pub allocs: u64,
    /// Frees of known blocks.
    pub frees: u64,
    /// Frees of blocks from before the trace.
    pub unknown_frees: u64,
    /// Loss counters by name.
    pub losses: BTreeMap<String, u64>,
}

impl Totals {
    /// Reads a `tick`, or the target's totals in the `summary`.
    pub fn of(record: &Value) -> Result<Self> {
        Self::read(record["processes"].get(0).unwrap_or(record), record)
    }

    /// Reads the totals of one process in the `summary`.
    pub fn of_process(summary: &Value, pid: u64) -> Result<Self> {
        let processes = summary["processes"].as_array().context("no processes in the summary")?;
        let process = processes.iter().find(|process| process["pid"] == pid);
        Self::read(process.with_context(|| format!("{pid} is not in the summary"))?, summary)
    }

    fn read(totals: &Value, record: &Value) -> Result<Self> {
        let number = |name: &str| {
            totals[name]
                .as_u64()
                .with_context(|| format!("no count `{name}`, or a negative one, in {record}"))
        };
        let losses = &record["losses"]["causes"];
        let mut by_name = BTreeMap::new();
        for (name, value) in losses.as_object().with_context(|| format!("no losses in {record}"))? {
            by_name
                .insert(name.clone(), value.as_u64().with_context(|| format!("loss `{name}` is no count"))?);
        }
        Ok(Self {
            live_bytes: number("live_bytes")?,
            live_count: number("live_count")?,
            allocs: number("allocs")?,
            frees: number("frees")?,
            unknown_frees: number("unknown_frees")?,
            losses: by_name,
        })
    }

    /// All losses together.
    pub fn lost(&self) -> u64 {
        self.losses.values().sum()
    }

    /// Fails if anything was lost, naming it.
    pub fn expect_nothing_lost(&self) -> Result<()> {
        let lost: Vec<_> = self.losses.iter().filter(|(_, count)| **count > 0).collect();
        if !lost.is_empty() {
            bail!("events were lost: {lost:?}");
        }
        Ok(())
    }

    /// Fails unless the numbers are those of the victim's own ledger, and nothing was lost.
    pub fn expect_equal(&self, ledger: &Ledger) -> Result<()> {
        self.expect_nothing_lost()?;
        let live = ledger.allocs - ledger.frees;
        let ours = [self.allocs, self.frees, self.unknown_frees, self.live_count, self.live_bytes];
        let theirs = [ledger.allocs, ledger.frees, ledger.unknown, live, ledger.bytes];
        if ours != theirs {
            bail!(
                "[allocs, frees, unknown, live blocks, live bytes]: traced {ours:?}, the ledger has {theirs:?}"
            );
        }
        Ok(())
    }

    /// Fails unless enough was seen, nothing lost, and no more freed than there was.
    pub fn expect_plausible(&self, at_least: u64) -> Result<()> {
        self.expect_nothing_lost()?;
        if self.allocs < at_least {
            bail!("only {} allocations seen, wanted {at_least}", self.allocs);
        }
        if self.frees > self.allocs || self.live_count != self.allocs - self.frees {
            bail!("the account does not add up: {self:?}");
        }
        Ok(())
    }
}

/// The live blocks of the heap that `--dump-live` wrote: address to size.
pub fn dumped_blocks(path: &Path) -> Result<BTreeMap<u64, u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("no live set in {}", path.display()))?;
    dumped(&text, "heap")
}

/// The lines of one kind.
pub(crate) fn dumped(text: &str, kind: &str) -> Result<BTreeMap<u64, u64>> {
    let mut blocks = BTreeMap::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))?;
        if record["kind"] != kind {
            continue;
        }
        let address = record["address"].as_str().and_then(|hex| hex.strip_prefix("0x"));
        let address = u64::from_str_radix(address.with_context(|| format!("no address in {line}"))?, 16)?;
        let size = record["size"].as_u64().with_context(|| format!("no size in {line}"))?;
        if blocks.insert(address, size).is_some() {
            bail!("block {address:#x} is in the live set twice");
        }
    }
    Ok(blocks)
}

/// Whether two changes are the same within `percent` of the larger.
pub fn within_percent(one: i64, other: i64, percent: f64) -> bool {
    let larger = one.unsigned_abs().max(other.unsigned_abs()) as f64;
    (one as f64 - other as f64).abs() <= larger * percent / 100.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Totals, within_percent};

    #[test]
    fn totals_are_read_and_losses_named() {
        let record = json!({"type": "tick", "live_bytes": 5, "live_count": 1, "allocs": 2, "frees": 1,
            "unknown_frees": 0, "losses": {"total": 3, "causes": {"ring_full_frees": 3}}});
        let totals = Totals::of(&record).unwrap();
        assert_eq!(totals.lost(), 3);
        assert!(totals.expect_nothing_lost().unwrap_err().to_string().contains("ring_full_frees"));
    }

    #[test]
    fn negative_counts_are_refused() {
        let record = json!({"live_bytes": -5, "live_count": 1, "allocs": 2, "frees": 1, "unknown_frees": 0,
            "losses": {"total": 0, "causes": {}}});
        assert!(Totals::of(&record).is_err());
    }

    #[test]
    fn percentages() {
        assert!(within_percent(1000, 1009, 1.0));
        assert!(!within_percent(1000, 1020, 1.0));
        assert!(within_percent(0, 0, 1.0));
    }
}
