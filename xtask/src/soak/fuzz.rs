//! The fuzz targets, each for its time, from its seeds and what earlier runs found.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};

use crate::{command::Cmd, workspace};

/// What takes a target longer is unbounded work, and as wrong as a panic.
const LONGEST_INPUT: Duration = Duration::from_secs(10);
/// What takes more memory is, too.
const MOST_MEMORY_MB: u32 = 1024;

fn directory() -> PathBuf {
    workspace::root().join("fuzz")
}

/// The names of all targets.
pub(super) fn targets() -> Result<Vec<String>> {
    let directory = directory().join("fuzz_targets");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names: Vec<String> =
        paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    ensure!(!names.is_empty(), "there are no fuzz targets");
    Ok(names)
}

/// Runs a target; an input that it does not survive is kept in `fuzz/artifacts`.
pub(super) fn run(target: &str, time: Duration) -> Result<String> {
    let directory = directory();
    let cargo = || {
        Cmd::new("cargo").without_env("CARGO").without_env("RUSTUP_TOOLCHAIN").arg("+nightly").dir(&directory)
    };
    if !cargo().args(["fuzz", "--version"]).succeeds() {
        bail!("needs `rustup toolchain install nightly` and `cargo install cargo-fuzz`");
    }
    // What is found goes to the corpus; the seeds stay as they are.
    let corpus = format!("corpus/{target}");
    fs::create_dir_all(directory.join(&corpus)).with_context(|| format!("cannot make fuzz/{corpus}"))?;
    let seeds = format!("seeds/{target}");
    let seeds = directory.join(&seeds).exists().then_some(seeds);
    let limits = [
        format!("-max_total_time={}", time.as_secs()),
        format!("-timeout={}", LONGEST_INPUT.as_secs()),
        format!("-rss_limit_mb={MOST_MEMORY_MB}"),
    ];
    cargo().args(["fuzz", "run", target, &corpus]).args(seeds).arg("--").args(limits).run()?;
    Ok(format!("{} s", time.as_secs()))
}
