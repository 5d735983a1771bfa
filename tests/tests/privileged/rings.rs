//! Several rings: what CPUs send by different ways is in one order, and exact.

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Victim};

use crate::Case;
use crate::exactness::compare_with;

pub(crate) const CASES: &[Case] = &[
    ("rings::two_are_exact", || exact(&["--rings", "2"], 2)),
    ("rings::sixteen_are_exact", || exact(&["--rings", "16"], 16)),
    ("rings::of_copied_stacks_are_exact", || exact(&["--rings", "4", "--unwind", "dwarf"], 4)),
    ("rings::small_ones_become_one", || exact(&["--rings", "8", "--ring-size", "1MiB"], 1)),
];

/// Eight threads pass their blocks on to each other: a block is freed by one CPU while its address is handed out on
/// another.
fn exact(options: &[&str], rings: u32) -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid();
    let ended = compare_with(options, victim, pid, 10_000, 8)?;
    let header = ended.of_type("header").next().context("no header")?;
    ensure!(header["capture"]["rings"] == rings, "as many rings: {}", header["capture"]);
    Ok(())
}
