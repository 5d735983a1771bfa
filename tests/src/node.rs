//! Node of several versions, and what V8 says of its own collections (`--trace-gc`).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{Victim, cache_directory, victim_source};

/// The versions that `cargo xtask test --install` fetches.
pub const NODES: [&str; 6] = ["16.20.2", "18.20.8", "20.20.2", "22.23.3", "24.21.0", "26.10.0"];

/// Node of a version.
pub fn node(version: &str) -> Result<PathBuf> {
    let victims = cache_directory()?;
    let target = victims.parent().context("the victims lie in no directory")?;
    let path = target.join("node").join(version).join("bin/node");
    ensure!(path.is_file(), "{} is missing: `cargo xtask test --install` fetches it", path.display());
    Ok(path)
}

/// A script of ours under a Node, with `--expose-gc`.
pub fn node_victim(node: PathBuf, script: &str, arguments: &[&str]) -> Result<Victim> {
    Victim::spawn(Command::new(node).arg("--expose-gc").arg(victim_source(script)).args(arguments))
}

/// A collection, as V8 traces it.
#[derive(Clone, Debug, PartialEq)]
pub struct TracedGc {
    /// Address of the isolate.
    pub isolate: String,
    /// `scavenge`, `mark_compact` or `minor_mark_sweep`.
    pub kind: &'static str,
    /// Megabytes in use before.
    pub before: f64,
    /// Megabytes in use after.
    pub after: f64,
    /// Milliseconds.
    pub pause: f64,
}

impl TracedGc {
    /// Reads `[PID:ISOLATE] 1601 ms: Mark-Compact (reduce) 55.2 (82.3) -> 15.2 (48.8) MB, 28.43 / 0.00 ms …`.
    pub fn of(line: &str) -> Option<Self> {
        let (head, text) = line.split_once(" ms: ")?;
        let isolate = head.strip_prefix('[')?.split_once(']')?.0.split_once(':')?.1;
        let (left, right) = text.split_once(" -> ")?;
        let kind = match left {
            left if left.contains("Minor") => "minor_mark_sweep",
            left if left.contains("Scavenge") => "scavenge",
            left if left.contains("Mark-") => "mark_compact",
            _ => return None,
        };
        let number = |text: &str| text.parse().ok();
        let before = number(left.rsplit(' ').nth(1)?)?;
        let after = number(right.split(' ').next()?)?;
        let pause = number(right.split_once(" / ")?.0.rsplit(' ').next()?)?;
        Some(Self { isolate: isolate.to_owned(), kind, before, after, pause })
    }
}

#[cfg(test)]
mod tests {
    use super::TracedGc;

    #[test]
    fn lines_of_old_and_new_versions_are_read() {
        let old = "[9973:0x87308e0]       79 ms: Scavenge 4.7 (5.0) -> 4.4 (6.0) MB, 7.6 / 0.0 ms  (average mu = 1.000) allocation failure";
        let new = "[12374:0xac49000]      718 ms: Incremental Mark-Compact (reduce) 55.7 (77.7) -> 28.9 (55.0) MB, pooled: 15.8 MB, 9.88 / 0.00 ms (+ 23.0 ms in 145 steps)";
        let of = |line| TracedGc::of(line).map(|gc| (gc.kind, gc.before, gc.after, gc.pause));
        assert_eq!(of(old), Some(("scavenge", 4.7, 4.4, 7.6)));
        assert_eq!(of(new), Some(("mark_compact", 55.7, 28.9, 9.88)));
        assert_eq!(of("ready 12"), None);
        assert_eq!(TracedGc::of(old).map(|gc| gc.isolate).as_deref(), Some("0x87308e0"));
    }
}
