//! `cargo xtask demo`: traces a small leaking service, and shows that its leaking function is found.

use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::Cmd;
use crate::packages;
use crate::privilege::Root;
use crate::workspace::{self, Profile};

/// The function of the demo service that leaks.
const LEAKING_FUNCTION: &str = "remember_session";

/// Builds leaktrace and the service, traces it for `seconds`, and checks that the leak is on top.
pub(crate) fn run(seconds: u32) -> Result<()> {
    let root = Root::find();
    if root == Root::Unreachable {
        bail!("tracing needs root: run this as root, or install sudo");
    }
    if crate::command::find_program("cc").is_none() {
        packages::apt_install(&["gcc", "libc6-dev"])?;
    }
    println!("building leaktrace");
    let leaktrace = workspace::build_leaktrace(Profile::Release)?;
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let program = workspace::compile_victim("demo_service", scratch.path(), workspace::Frames::Kept)?;
    let service = Service::start(&program, seconds + 30)?;
    let pid = service.child.id();
    println!("the demo service runs as process {pid}: 2000 requests a second, one of its functions leaks");
    let summary = if std::io::stdout().is_terminal() {
        trace_on_terminal(root, &leaktrace, pid, seconds, scratch.path())?
    } else {
        trace_to_pipe(root, &leaktrace, pid, seconds)?
    };
    drop(service);
    conclude(&summary, seconds)
}

/// Shows the live table; the result comes from the recording that is made beside it.
fn trace_on_terminal(root: Root, leaktrace: &Path, pid: u32, seconds: u32, scratch: &Path) -> Result<Value> {
    let recording = scratch.join("demo.leaktrace");
    let trace = trace(root, leaktrace, pid, seconds).arg("--record").arg(&recording);
    let text = trace.describe();
    println!("$ {text}");
    let status = trace.into_std().status().with_context(|| format!("cannot start `{text}`"))?;
    if !status.success() {
        bail!("`{text}` failed with {status}");
    }
    let replay = root.command(leaktrace).arg("replay").arg(&recording).args(["--format", "ndjson"]);
    summary(&replay.read_stdout()?)
}

/// Takes the result from the NDJSON stream and prints it for people.
fn trace_to_pipe(root: Root, leaktrace: &Path, pid: u32, seconds: u32) -> Result<Value> {
    let trace = trace(root, leaktrace, pid, seconds).args(["--format", "ndjson"]);
    println!("$ {}", trace.describe());
    summary(&trace.read_stdout()?)
}

fn trace(root: Root, leaktrace: &Path, pid: u32, seconds: u32) -> Cmd {
    root.command(leaktrace).arg("--pid").arg(pid.to_string()).arg("--duration").arg(format!("{seconds}s"))
}

/// The last record of a stream.
fn summary(stream: &str) -> Result<Value> {
    let last = stream.lines().last().context("leaktrace printed nothing")?;
    let record: Value = serde_json::from_str(last).context("leaktrace's last line is no JSON")?;
    if record["type"] != "summary" {
        bail!("leaktrace's last record is no summary: {last}");
    }
    Ok(record)
}

/// Prints the largest sites; an error unless the leaking function's is the first.
fn conclude(summary: &Value, seconds: u32) -> Result<()> {
    println!("\nafter {seconds} s, live since the trace began:");
    println!("{:>12} {:>10}  allocated by", "bytes", "blocks");
    let sites = summary["sites"].as_array().context("the summary has no sites")?;
    for site in sites.iter().take(5) {
        let (bytes, blocks) = (site["live_bytes"].to_string(), site["live_count"].to_string());
        println!("{bytes:>12} {blocks:>10}  {}", path_of(site));
    }
    let lost = &summary["losses"]["total"];
    println!("events received {}, lost {lost}", summary["events"]);
    let top = sites.first().map(path_of).unwrap_or_default();
    if !top.starts_with(LEAKING_FUNCTION) {
        bail!("the leak in {LEAKING_FUNCTION} is not on top, but: {top}");
    }
    println!("\nfound: {LEAKING_FUNCTION} holds the growing memory");
    Ok(())
}

/// The call path of a site, innermost first.
fn path_of(site: &Value) -> String {
    let frames = site["stack"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<_> =
        frames.iter().take(4).map(|frame| frame["function"].as_str().unwrap_or("(unknown)")).collect();
    names.join(" < ")
}

/// The demo service, ended when dropped.
struct Service {
    child: Child,
}

impl Service {
    /// Starts it and waits until it says that it is ready.
    fn start(program: &Path, seconds: u32) -> Result<Self> {
        let mut command = Cmd::new(program).arg(seconds.to_string()).into_std();
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut service = Self { child: child.context("cannot start the demo service")? };
        let mut line = String::new();
        if let Some(stdout) = service.child.stdout.as_mut() {
            BufReader::new(stdout).read_line(&mut line).context("cannot read from the demo service")?;
        }
        if !line.starts_with("ready") {
            bail!("the demo service did not start: {line}");
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_leak_on_top_is_a_success() {
        let site =
            |function: &str| serde_json::json!({ "live_bytes": 1, "stack": [{ "function": function }] });
        let summary =
            |first, second| serde_json::json!({ "sites": [site(first), site(second)], "losses": {} });
        assert!(conclude(&summary(LEAKING_FUNCTION, "cache_lookup"), 1).is_ok());
        assert!(conclude(&summary("cache_lookup", LEAKING_FUNCTION), 1).is_err());
        assert!(conclude(&serde_json::json!({ "sites": [] }), 1).is_err());
    }

    #[test]
    fn the_summary_is_the_last_line() {
        assert_eq!(summary("{\"type\":\"tick\"}\n{\"type\":\"summary\",\"t\":1}\n").unwrap()["t"], 1);
        assert!(summary("{\"type\":\"tick\"}\n").is_err());
        assert!(summary("").is_err());
    }
}
