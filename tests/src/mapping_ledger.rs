//! The mapper victim's own account of its mappings, and what leaktrace counted of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::accounts::dumped;

/// What was mapped since the victim's `go`, by either account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappingLedger {
    /// Mappings made.
    pub maps: u64,
    /// Mappings gone to their last page.
    pub unmaps: u64,
    /// Unmaps and remaps of files and of mappings from before `go`.
    pub unknown: u64,
    /// Accessible bytes.
    pub live: u64,
    /// Bytes that may not be accessed.
    pub reserved: u64,
    /// Bytes that became accessible.
    pub mapped: u64,
    /// Bytes that were unmapped or lost their access.
    pub unmapped: u64,
    /// Mappings of which something is left.
    pub count: u64,
}

/// The victim's report: its account, the accessible ranges (address to size), and how often it did what.
#[derive(Clone, Debug, Default)]
pub struct MappingReport {
    /// Its account.
    pub ledger: MappingLedger,
    /// Accessible ranges: address to size.
    pub ranges: BTreeMap<u64, u64>,
    /// Mappings, partial unmaps, changes of protection, remaps in place, remaps elsewhere, replacements, failures.
    pub operations: Vec<u64>,
}

impl MappingReport {
    /// Takes in one line of a report. `false` if the line was `end`.
    pub(crate) fn take(&mut self, line: &str) -> Result<bool> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("range") => {
                let address = words.next().context("a range without an address")?;
                let size = words.next().context("a range without a size")?;
                self.ranges.insert(u64::from_str_radix(address, 16)?, size.parse()?);
            }
            Some("maps") => self.ledger = MappingLedger::from_line(line)?,
            Some("ops") => self.operations = words.map(str::parse).collect::<Result<_, _>>()?,
            Some("end") => return Ok(false),
            _ => bail!("not a line of a report: {line}"),
        }
        Ok(true)
    }
}

impl MappingLedger {
    fn from_line(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let pairs = words.chunks_exact(2).map(|pair| Ok((pair[0], pair[1].parse()?)));
        let pairs: BTreeMap<&str, u64> = pairs.collect::<Result<_>>()?;
        Self::from_numbers(|name| pairs.get(name).copied(), |name| name)
    }

    /// Reads what leaktrace says: a `tick`, or the target's part of the `summary`.
    pub fn of(record: &Value) -> Result<Self> {
        let mapped = &record["processes"].get(0).unwrap_or(record)["mapped"];
        let name_of = |name| match name {
            "unknown" => "unknown_unmaps",
            "live" => "live_bytes",
            "reserved" => "reserved_bytes",
            "mapped" => "mapped_bytes",
            "unmapped" => "unmapped_bytes",
            "count" => "live_count",
            other => other,
        };
        Self::from_numbers(|name| mapped[name].as_u64(), name_of)
            .with_context(|| format!("no figures of mappings in {record}"))
    }

    fn from_numbers(
        number: impl Fn(&str) -> Option<u64>,
        name_of: impl Fn(&'static str) -> &'static str,
    ) -> Result<Self> {
        let get = |name| number(name_of(name)).with_context(|| format!("no count `{}`", name_of(name)));
        Ok(Self {
            maps: get("maps")?,
            unmaps: get("unmaps")?,
            unknown: get("unknown")?,
            live: get("live")?,
            reserved: get("reserved")?,
            mapped: get("mapped")?,
            unmapped: get("unmapped")?,
            count: get("count")?,
        })
    }
}

/// The mapped ranges that `--dump-live` wrote: address to size.
pub fn dumped_ranges(path: &Path) -> Result<BTreeMap<u64, u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("no live set in {}", path.display()))?;
    dumped(&text, "mapping")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_accounts_are_read_alike() {
        let mut report = MappingReport::default();
        let totals = "maps 1 unmaps 2 unknown 3 live 4 reserved 5 mapped 6 unmapped 7 count 8";
        for line in ["range 7f00 4096", totals, "ops 1 2 3"] {
            assert!(report.take(line).unwrap());
        }
        assert!(!report.take("end").unwrap() && report.take("nonsense").is_err());
        assert_eq!((report.ranges.get(&0x7f00), report.operations.as_slice()), (Some(&4096), &[1, 2, 3][..]));
        let mapped = json!({"maps": 1, "unmaps": 2, "unknown_unmaps": 3, "live_bytes": 4, "reserved_bytes": 5,
            "mapped_bytes": 6, "unmapped_bytes": 7, "live_count": 8, "peak_live_bytes": 9});
        assert_eq!(MappingLedger::of(&json!({ "mapped": mapped })).unwrap(), report.ledger);
        assert!(MappingLedger::of(&json!({"mapped": null})).is_err());
    }
}
