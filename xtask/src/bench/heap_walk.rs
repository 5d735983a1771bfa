//! Reading a large heap of a running process: how long, and what it finds.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::stats::median;
use super::table::{Table, number};
use crate::privilege::Root;
use crate::workspace::{self, Frames, Profile};

/// A process with a heap of so many chunks of 208 bytes, of which each tenth is free.
struct Target(Child);

impl Target {
    fn start(chunks: u64) -> Result<Self> {
        let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
        let program = workspace::compile_victim("heap", scratch.path(), Frames::Kept)?;
        let child = Command::new(program).arg("1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut target = Self(child.context("cannot start the victim")?);
        let mut lines = BufReader::new(target.0.stdout.take().context("no output")?).lines();
        let input = target.0.stdin.as_mut().context("no input")?;
        writeln!(input, "large {chunks}").context("the victim does not listen")?;
        ensure!(lines.any(|line| line.is_ok_and(|line| line == "done")), "the victim ended");
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Walks through a heap of so many chunks.
pub(super) fn run(root: Root, chunks: u64, rounds: u32) -> Result<()> {
    let leaktrace = workspace::build_leaktrace(Profile::Release)?;
    eprintln!("heap-walk: a heap of {chunks} chunks");
    let target = Target::start(chunks)?;
    let pid = target.0.id().to_string();
    let walk = || -> Result<Value> {
        let printed = root.command(&leaktrace).args(["heapwalk", "--pid", &pid]).read()?;
        serde_json::from_str(&printed).context("no record")
    };
    let records = (0..rounds).map(|_| walk()).collect::<Result<Vec<_>>>()?;
    let figure = |name: &str| median(records.iter().filter_map(|record| record["heap"][name].as_f64()));
    let seconds = median(records.iter().filter_map(|record| Some(record["walk_ms"].as_f64()? / 1e3)));
    let mut table = Table::new(
        format!("heap walk: medians of {rounds} rounds"),
        &["chunks", "MB of arenas", "seconds", "coverage", "retries"],
    );
    let chunks = figure("live_count").zip(figure("free_count")).map(|(live, free)| live + free);
    table.row(vec![
        number(chunks),
        number(figure("system_bytes").map(|bytes| bytes / 1e6)),
        number(seconds),
        number(figure("coverage")),
        number(figure("retries")),
    ]);
    print!("{table}");
    Ok(())
}
