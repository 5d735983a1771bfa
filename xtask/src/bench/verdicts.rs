//! What judging costs at a tick, by the number of call sites.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::table::{Table, number};
use crate::workspace;

/// Call sites of the runs.
const SITES: [u64; 3] = [1_000, 10_000, 100_000];

/// Runs the example that feeds ticks of a made-up process to the pipeline of a trace, and prints its table.
pub(crate) fn run(ticks: u64) -> Result<()> {
    let mut table = Table::new(
        format!("a tick with its verdicts, one core, after {ticks} ticks a second apart"),
        &["call sites", "ms a tick", "longest, ms", "share of a core", "with a verdict"],
    );
    for sites in SITES {
        let printed = workspace::cargo()
            .args(["run", "--quiet", "--release", "--package", "leaktrace", "--example", "verdicts", "--"])
            .args([sites.to_string(), ticks.to_string()])
            .read_stdout()?;
        let result: Value = serde_json::from_str(&printed).context("the example printed no JSON")?;
        let figure = |name: &str| result[name].as_f64().with_context(|| format!("no {name} in {result}"));
        table.row(vec![
            sites.to_string(),
            number(Some(figure("tick_ms")?)),
            number(Some(figure("tick_ms_max")?)),
            format!("{:.1} %", figure("core_share")? * 100.0),
            number(Some(figure("sites_with_a_verdict")?)),
        ]);
    }
    print!("{table}");
    Ok(())
}
