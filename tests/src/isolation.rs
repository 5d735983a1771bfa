//! Victims that are hard to look at: in namespaces of their own with another libc, or without their file.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::{DEADLINE, Victim, children};

/// A victim in a mount and PID namespace of its own, whose root is a tmpfs with copies of its program and libraries.
///
/// The copies have other inodes than the host's files, so whoever opens the host's libc looks at the wrong file.
#[derive(Debug)]
pub struct Namespaced {
    /// Its own `pid` is that of its namespace.
    victim: Victim,
    /// Process id as the host sees it.
    pub host_pid: u32,
    _root: TempDir,
}

/// Copies the program and every library that it is linked to into a fresh tmpfs, and changes root to it. `$1` is the
/// (empty) directory, `$2` the program; the rest are its arguments.
const SCRIPT: &str = r#"
set -e
root=$1; program=$2; shift 2
mount -t tmpfs tmpfs "$root"
cp "$program" "$root/victim"
ldd "$program" | grep -o '/[^ )]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
exec chroot "$root" /victim "$@"
"#;

impl Namespaced {
    /// Starts a program. Needs root.
    pub fn start(program: &Path, arguments: &[&str]) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let mut command = Command::new("unshare");
        // --kill-child: the victim is init of its namespace, and ends with the process that we can kill.
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", SCRIPT, "sh"]);
        command.arg(root.path()).arg(program).args(arguments);
        let victim = Victim::spawn(&mut command).context("starting a victim in namespaces of its own")?;
        let [host_pid] = children(victim.spawned_pid())[..] else {
            bail!("unshare has not exactly one child");
        };
        Ok(Self { victim, host_pid, _root: root })
    }

    /// Hands the victim over; its root stays until `run` returns.
    pub fn with_victim<T>(self, run: impl FnOnce(Victim) -> T) -> T {
        run(self.victim)
    }
}

/// Starts a copy of a program, and deletes the copy.
pub fn deleted_binary(program: &Path, arguments: &[&str]) -> Result<Victim> {
    let directory = tempfile::tempdir()?;
    let copy = directory.path().join("deleted");
    fs::copy(program, &copy)?;
    let victim = retry_busy(|| Victim::start(&copy, arguments))?;
    fs::remove_file(&copy)?;
    Ok(victim)
}

/// A thread that forks while the copy is open for writing makes its start fail with ETXTBSY for a moment.
fn retry_busy(start: impl Fn() -> Result<Victim>) -> Result<Victim> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match start() {
            Err(error) if error.root_cause().to_string().contains("Text file busy") => {
                if Instant::now() >= deadline {
                    return Err(error);
                }
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
