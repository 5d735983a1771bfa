//! Node victims: which node they run on, and one in namespaces of its own.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{Victim, children, victim_source};

/// The node that victims run on: that of `LEAKTRACE_TEST_NODE`, else the system's.
pub fn js_node() -> OsString {
    env::var_os("LEAKTRACE_TEST_NODE").unwrap_or_else(|| "node".into())
}

/// Starts `jsleaks.js`, with options for node before it.
pub fn js_victim(options: &[&str], arguments: &[&str]) -> Result<Victim> {
    let mut command = Command::new(js_node());
    command.args(options).arg(victim_source("jsleaks.js")).args(arguments);
    Victim::spawn(&mut command).context("starting node")
}

/// Makes a root directory of its own with node, its libraries and the script, in mount, PID and network namespaces of
/// its own, and starts it there. `$1` is the (empty) directory, `$2` node, `$3` the script; the rest are its arguments.
const SCRIPT: &str = r#"
set -e
root=$1; node=$2; script=$3; shift 3
ip link set lo up
mount -t tmpfs tmpfs "$root"
cp "$node" "$root/node"
cp "$script" "$root/script.js"
ldd "$node" | grep -o '/[^ )]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
mkdir "$root/proc"
mount -t proc proc "$root/proc"
exec chroot "$root" /node /script.js "$@"
"#;

/// Runs `jsleaks.js` in namespaces of its own while `run` has it, with its process id as we see it.
pub fn with_js_victim_in_namespaces<T>(
    arguments: &[&str],
    run: impl FnOnce(Victim, u32) -> Result<T>,
) -> Result<T> {
    let root = tempfile::tempdir()?;
    let path = Command::new("sh").arg("-c").arg("command -v \"$0\"").arg(js_node()).output()?;
    let path = String::from_utf8(path.stdout)?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--fork", "--kill-child", "--", "sh", "-c", SCRIPT, "sh"]);
    command.arg(root.path()).arg(path.trim()).arg(victim_source("jsleaks.js")).args(arguments);
    let victim = Victim::spawn(&mut command).context("starting node in namespaces of its own")?;
    let [host_pid] = children(victim.spawned_pid())[..] else { bail!("unshare has not exactly one child") };
    run(victim, host_pid)
}
