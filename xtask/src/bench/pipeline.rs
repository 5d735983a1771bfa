//! The pipeline without a kernel: events a second of CPU time, and bytes a live block.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::table::Table;
use crate::workspace;

/// Live blocks of the runs.
const LIVE_BLOCKS: [u64; 2] = [1_000_000, 10_000_000];

/// Runs the example that feeds made-up batches to the pipeline of a trace, and prints its table.
pub(crate) fn run(events: u64) -> Result<()> {
    let mut table = Table::new(
        "the pipeline without a kernel, one core",
        &["live blocks", "filling, events/s", "churning, events/s", "bytes a live block"],
    );
    for blocks in LIVE_BLOCKS {
        let arguments = [blocks.to_string(), events.to_string()];
        let printed = workspace::cargo()
            .args(["run", "--quiet", "--release", "--package", "leaktrace", "--example", "pipeline", "--"])
            .args(&arguments)
            .read_stdout()?;
        let result: Value = serde_json::from_str(&printed).context("the example printed no JSON")?;
        let number = |name: &str| result[name].as_f64().with_context(|| format!("no {name} in {result}"));
        let millions = |name: &str| number(name).map(|rate| format!("{:.2} M", rate / 1e6));
        let bytes = number("bytes_per_live_block_filled")?.max(number("bytes_per_live_block_churned")?);
        table.row(vec![
            format!("{} M", blocks / 1_000_000),
            millions("fill_events_per_s")?,
            millions("churn_events_per_s")?,
            format!("{bytes:.0}"),
        ]);
    }
    print!("{table}");
    Ok(())
}
