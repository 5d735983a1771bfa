//! Whether the function that leaks is named, in a program without frame pointers whose blocks come from an allocating
//! function of its own.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::bcc;
use super::churn::traced;
use super::table::{Table, ratio};
use super::tracer::{Programs, Variant};
use crate::command::Cmd;

/// The function of churn that leaks.
const LEAKING: &str = "remember";
/// It leaks a block after each 256 of them.
const PAIRS: &str = "200000";

/// Lets the program leak under each tracer, and prints the shares.
pub(super) fn run(programs: &Programs, (name, churn): (&str, &Path)) -> Result<()> {
    let mut table = Table::new(
        format!("{name}: leaked bytes whose leaking function is named"),
        &["tracer", "leaked", "named", "share"],
    );
    for (tracer, variant) in [("leaktrace", Variant::Leaktrace), ("bcc shape", Variant::BccStacks)] {
        eprintln!("{name}, what is named: {variant:?}");
        let (leaked, named) = leak(programs, churn, variant)?;
        let share = ratio(Some(named as f64), Some(leaked as f64));
        table.row(vec![tracer.to_owned(), leaked.to_string(), named.to_string(), share]);
    }
    print!("{table}");
    Ok(())
}

/// Bytes that the program says it leaked, and those whose leaking function the tracer names. The program stays until the
/// tracer has ended: bpftrace looks names up at its end.
fn leak(programs: &Programs, churn: &Path, variant: Variant) -> Result<(u64, u64)> {
    let command = Cmd::new(churn).args(["--pairs", PAIRS, "--leak", "--wait"]);
    traced(programs, command, variant, |_, tracer, line| {
        let told = line.trim().rsplit_once("leaked ").and_then(|(_, bytes)| bytes.parse().ok());
        let leaked = told.with_context(|| format!("churn printed: {line}"))?;
        let printed = tracer.context("nothing to compare")?.end()?;
        let named = match variant {
            Variant::Leaktrace => named_bytes(&printed)?,
            Variant::BccStacks => bcc::named_bytes(&printed, LEAKING),
            other => bail!("{other:?} prints no stacks"),
        };
        Ok((leaked, named))
    })
}

/// Live bytes of the call sites in leaktrace's summary on whose stack the function is.
fn named_bytes(printed: &str) -> Result<u64> {
    let last = printed.lines().last().context("leaktrace printed nothing")?;
    let summary: Value = serde_json::from_str(last).context("leaktrace's last line is no JSON")?;
    let sites = summary["sites"].as_array().context("no `sites` in the summary")?;
    let is_named = |site: &&Value| {
        let stack = site["stack"].as_array();
        stack.is_some_and(|stack| stack.iter().any(|frame| frame["function"] == LEAKING))
    };
    Ok(sites.iter().filter(is_named).filter_map(|site| site["live_bytes"].as_u64()).sum())
}
