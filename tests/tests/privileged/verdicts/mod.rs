//! What is a leak, and what is not: programs that grow in a known way, and real ones that only work.
//!
//! These cases mostly wait, so they run at the same time. What they check is the time in the records, and the victim's
//! own ledger, never how long anything took here.

mod patterns;
mod programs;

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use leaktrace_tests::Watched;

use crate::Case;

pub(crate) const CASES: [&[Case]; 2] = [patterns::CASES, programs::CASES];

/// How long real programs are watched in the long form of `cargo xtask soak`, where victims take their time as well.
pub(crate) fn soak_time() -> Result<Option<Duration>> {
    let Some(seconds) = env::var_os("LEAKTRACE_TEST_SOAK_SECONDS") else { return Ok(None) };
    let seconds = seconds.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.context("LEAKTRACE_TEST_SOAK_SECONDS is no number of seconds")?;
    Ok(Some(Duration::from_secs(seconds)))
}

/// The short form, or the long one.
fn either<T>(short: T, long: T) -> Result<T> {
    Ok(if soak_time()?.is_some() { long } else { short })
}

/// Prints what was said, for who reads the log. In one piece: other cases print at the same time.
fn print(case: &str, watched: &Watched) {
    println!("{case}: {watched}");
}
