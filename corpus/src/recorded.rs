//! Series of real programs, from `corpus/recorded`: what the files look like is in the README there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::labelled::{Class, Labelled};

/// Nobody could label a shorter series.
const FEWEST_POINTS: usize = 12;

/// What `labels.toml` says of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    class: String,
    about: String,
    rate: Option<f64>,
    #[serde(default)]
    insufficient: bool,
}

/// Where this crate keeps its recorded series.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded")
}

/// Reads every series of a directory, by name. Fails on a file without a label, a label without a file, and on anything
/// that is no series.
pub fn load(directory: &Path) -> Result<Vec<Labelled>> {
    let path = directory.join("labels.toml");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let labels: BTreeMap<String, Label> =
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?;
    let entries = fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_series = path.extension().is_some_and(|extension| extension == "csv");
        ensure!(!is_series || labels.contains_key(&*name), "{name} has no label in labels.toml");
    }
    labels.iter().map(|(name, label)| read(directory, name, label)).collect()
}

fn read(directory: &Path, name: &str, label: &Label) -> Result<Labelled> {
    let class = Class::from_name(&label.class);
    let class = class.with_context(|| format!("{name}: no class is called {}", label.class))?;
    ensure!(!label.about.is_empty(), "{name}: say in `about` what it is");
    let path = directory.join(name);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Labelled {
        name: format!("recorded/{}", name.trim_end_matches(".csv")),
        class,
        rate: label.rate,
        noise_sd: 0.0,
        may_be_insufficient: label.insufficient,
        ease: 1.0,
        points: parse(&text).with_context(|| format!("cannot understand {}", path.display()))?,
    })
}

/// Points of a CSV file with the header `t,bytes`.
fn parse(text: &str) -> Result<Vec<(f64, u64)>> {
    let mut lines = text.lines().enumerate();
    ensure!(lines.next().is_some_and(|(_, header)| header == "t,bytes"), "line 1 is not t,bytes");
    let mut points: Vec<(f64, u64)> = Vec::new();
    for (index, line) in lines {
        let number = index + 1;
        let Some((t, bytes)) = line.split_once(',') else { bail!("line {number} has no comma") };
        let t: f64 = t.parse().with_context(|| format!("line {number}: {t} is no time"))?;
        let bytes = bytes.parse().with_context(|| format!("line {number}: {bytes} are no bytes"))?;
        let goes_on = t.is_finite() && points.last().is_none_or(|last| last.0 < t);
        ensure!(goes_on, "line {number}: time {t} does not go on");
        points.push((t, bytes));
    }
    ensure!(points.len() >= FEWEST_POINTS, "{} points are too few", points.len());
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(count: usize) -> String {
        (0..count).fold("t,bytes\n".to_owned(), |text, i| text + &format!("{i}.5,{}\n", i * 10))
    }

    #[test]
    fn files_become_series() {
        let points = parse(&csv(20)).unwrap();
        assert_eq!((points.len(), points[3]), (20, (3.5, 30)));
        let error = |text: &str| format!("{:#}", parse(text).unwrap_err());
        assert!(error("time,bytes\n").contains("line 1"));
        assert!(error("t,bytes\n1,2\n1,3\n").contains("line 3: time 1 does not go on"));
        assert!(error("t,bytes\n1,-2\n").contains("line 2: -2 are no bytes"));
        assert!(error("t,bytes\n1\n").contains("line 2 has no comma"));
        assert!(error(&csv(5)).contains("too few"));
    }

    #[test]
    fn files_and_labels_belong_together() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        let error = || format!("{:#}", load(directory.path()).unwrap_err());
        write("a.csv", &csv(20));
        assert!(error().contains("labels.toml"));
        write("labels.toml", "");
        assert!(error().contains("a.csv has no label"));
        write("labels.toml", "[\"a.csv\"]\nclass = \"rising\"\nabout = \"a test\"\n");
        assert!(error().contains("no class is called rising"));
        write("labels.toml", "[\"a.csv\"]\nclass = \"linear\"\nabout = \"a test\"\nrate = 10.0\n");
        let series = load(directory.path()).unwrap();
        assert_eq!((series[0].class, series[0].rate), (Class::Linear, Some(10.0)));
        write("labels.toml", "[\"b.csv\"]\nclass = \"linear\"\nabout = \"gone\"\n");
        fs::remove_file(directory.path().join("a.csv")).unwrap();
        assert!(error().contains("cannot read"));
    }

    #[test]
    fn the_recorded_series_can_be_read() {
        let series = load(&directory()).unwrap();
        assert!(series.iter().any(|series| series.class == Class::Linear), "at least a leak");
        assert!(series.iter().any(|series| series.class == Class::Warmup), "and a cache");
    }
}
