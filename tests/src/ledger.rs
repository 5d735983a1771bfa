//! A victim's own account of what it allocated.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

/// Totals since the victim's `go`, and its live blocks where it lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Process that kept it.
    pub pid: u32,
    /// Successful allocations (a successful realloc is one).
    pub allocs: u64,
    /// Frees of blocks allocated since `go` (a successful realloc of such a block is one).
    pub frees: u64,
    /// Frees of blocks from before `go`.
    pub unknown: u64,
    /// Bytes in live blocks, as requested.
    pub bytes: u64,
    /// Bytes of all allocations, as requested.
    pub alloc_bytes: Option<u64>,
    /// Blocks whose contents were damaged.
    pub corrupt: u64,
    /// Reallocations: grown, shrunk, of NULL, of old blocks, to size zero, failed.
    pub reallocs: [u64; 6],
    /// Live blocks: address to requested size.
    pub live: BTreeMap<u64, u64>,
}

impl Ledger {
    /// Takes in one line of a report. `false` if the line was `end` or the last of a short report.
    pub(crate) fn take(&mut self, line: &str) -> Result<bool> {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("live") => {
                let address = words.next().context("a live line without an address")?;
                let size = words.next().context("a live line without a size")?;
                self.live.insert(u64::from_str_radix(address, 16)?, size.parse()?);
            }
            Some("reallocs") => {
                for (slot, word) in self.reallocs.iter_mut().zip(words) {
                    *slot = word.parse()?;
                }
            }
            Some("allocs" | "worker") => self.take_totals(line)?,
            Some("end") => return Ok(false),
            _ => bail!("not a line of a report: {line}"),
        }
        Ok(true)
    }

    /// Parses a line of `name number` pairs.
    pub fn from_totals(line: &str) -> Result<Self> {
        let mut ledger = Self::default();
        ledger.take_totals(line)?;
        Ok(ledger)
    }

    fn take_totals(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        for pair in words.chunks(2) {
            let [name, value] = pair else { bail!("a name without its number: {line}") };
            let value: u64 = value.parse().with_context(|| format!("not a total: {line}"))?;
            match *name {
                "worker" => self.pid = value as u32,
                "allocs" => self.allocs = value,
                "frees" => self.frees = value,
                "unknown" => self.unknown = value,
                "bytes" => self.bytes = value,
                "alloc_bytes" => self.alloc_bytes = Some(value),
                "corrupt" => self.corrupt = value,
                other => bail!("unknown total `{other}` in: {line}"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn reports_are_read() {
        let mut ledger = Ledger::default();
        for line in ["live 7f00 16", "reallocs 1 2 3 4 5 6", "allocs 2 frees 1 unknown 3 bytes 16 corrupt 0"]
        {
            assert!(ledger.take(line).unwrap());
        }
        assert!(!ledger.take("end").unwrap());
        assert_eq!((ledger.allocs, ledger.frees, ledger.unknown, ledger.bytes), (2, 1, 3, 16));
        assert_eq!(ledger.live.get(&0x7f00), Some(&16));
        assert!(ledger.take("nonsense").is_err());
    }
}
