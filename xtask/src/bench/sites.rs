//! Many call sites: what their histories cost at each tick, and how soon a slow leak among them is followed.

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::table::Table;
use crate::workspace;

/// Call sites of the runs.
const SITES: [u32; 3] = [1000, 10_000, 100_000];

/// Runs the example that ticks a tracker of many sites, and prints its table.
pub(super) fn run(ticks: u32) -> Result<()> {
    let mut table = Table::new(
        "histories of call sites, CPU time; 100 MB of churn a second, one site leaks 10 KB/s",
        &[
            "sites",
            "tick, ms",
            "longest",
            "facts for 200 verdicts, ms",
            "bytes a site",
            "leak followed after",
        ],
    );
    for sites in SITES {
        let arguments = [sites.to_string(), ticks.to_string()];
        let printed = workspace::cargo()
            .args(["run", "--quiet", "--release", "--package", "leaktrace", "--example", "sites", "--"])
            .args(&arguments)
            .read_stdout()?;
        let result: Value = serde_json::from_str(&printed).context("the example printed no JSON")?;
        let number = |name: &str| result[name].as_f64().with_context(|| format!("no {name} in {result}"));
        let ms = |name: &str| number(name).map(|ms| format!("{ms:.2}"));
        table.row(vec![
            sites.to_string(),
            ms("tick_ms")?,
            ms("longest_tick_ms")?,
            ms("judging_ms")?,
            format!("{:.0}", number("bytes_per_site")?),
            format!("{} s", number("leak_followed_at_s")?),
        ]);
    }
    print!("{table}");
    Ok(())
}
