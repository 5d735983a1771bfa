//! Very many call paths, and too little room for them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{CallPath, Paths, compare, paths_c, seen, text, trace};
use crate::Case;

pub(super) const CASES: &[Case] = &[
    ("stacks::fifty_thousand_paths", fifty_thousand),
    ("stacks::many_paths_in_a_small_ring_are_lost_aloud", small_ring),
];

const FLAGS: [&str; 2] = ["-O2", "-fomit-frame-pointer"];

/// Fifty thousand paths of sixty levels, which differ in the outermost five and innermost three, on stacks that are full
/// of other return addresses.
fn fifty_thousand() -> Result<()> {
    const PATHS: usize = 50_000;
    const MOST_MEMORY: u64 = 512 << 20;
    let directory = tempfile::tempdir()?;
    let profile = directory.path().join("a.pb.gz");
    let arguments = ["--top", "10", "--pprof", text(&profile)?];
    let (told, ended) = trace(&paths_c(&FLAGS).path()?, (60, "go 50000 8 2000"), &arguments)?;
    ensure!(told.len() == PATHS, "the victim went {} paths", told.len());
    let (equal, all) = compare(&told, profiled(&profile)?)?;
    let summary = ended.summary()?;
    let lost = summary["losses"]["total"].as_u64().context("no losses")?;
    let memory = summary["own_peak_rss_bytes"].as_u64().context("no memory")?;
    println!("{equal} of {all} bytes, {PATHS} paths, lost {lost}, memory {} MiB", memory >> 20);
    // On a machine that is busy otherwise some find no room; what is missing must be told of.
    ensure!(equal == all || lost > 0, "{equal} of {all} bytes have the right stack, and nothing was lost");
    ensure!(equal * 100 >= all * 95, "{equal} of {all} bytes have the right stack: {}", summary["losses"]);
    ensure!(memory < MOST_MEMORY, "{memory} bytes for {PATHS} paths");
    Ok(())
}

/// Copies that find no room are counted, and what is named is named rightly.
fn small_ring() -> Result<()> {
    let arguments = ["--top", "10000", "--ring-size", "256K"];
    let (told, ended) = trace(&paths_c(&FLAGS).path()?, (60, "go 4000 8"), &arguments)?;
    let lost = ended.summary()?["losses"]["causes"]["ring_full_stacks"].as_u64().unwrap_or(0);
    ensure!(lost > 0, "{}", ended.summary()?["losses"]);
    compare(&told, seen(&ended)?)?;
    Ok(())
}

/// Bytes in use by paths, as pprof reads a profile: each location is one line that begins with its number and address,
/// each sample one with its values and locations.
fn profiled(profile: &Path) -> Result<Paths> {
    let output = Command::new("go")
        .args(["tool", "pprof", "-raw"])
        .arg(profile)
        .output()
        .context("cannot start go: install the Debian package golang-go")?;
    ensure!(output.status.success(), "go tool pprof: {}", String::from_utf8_lossy(&output.stderr));
    let raw = String::from_utf8(output.stdout)?;
    let (samples, locations) = raw.split_once("\nLocations\n").context("no locations")?;
    let (_, samples) = samples.split_once("\nSamples:\n").context("no samples")?;
    let address = |line: &str| {
        let (number, rest) = line.split_once(": 0x")?;
        // What pprof shows lies in the call, before the return address.
        let call = u64::from_str_radix(rest.split(' ').next()?, 16).ok()?;
        Some((number.trim().parse::<usize>().ok()?, call + 1))
    };
    let addresses: Vec<(usize, u64)> = locations.lines().filter_map(address).collect();
    let in_order = addresses.iter().zip(1..).all(|(&(number, _), at)| number == at);
    ensure!(in_order, "the locations are not in order");
    let mut paths = Paths::new();
    for sample in samples.lines() {
        let Some((values, numbers)) = sample.split_once(": ") else { continue };
        let Some(Ok(bytes)) = values.split_whitespace().nth(1).map(str::parse::<u64>) else { continue };
        let at = |number: &str| Some(addresses.get(number.parse::<usize>().ok()?.checked_sub(1)?)?.1);
        let path: Option<CallPath> = numbers.split_whitespace().map(at).collect();
        *paths.entry(path.with_context(|| format!("no such location: {sample}"))?).or_default() += bytes;
    }
    Ok(paths)
}
