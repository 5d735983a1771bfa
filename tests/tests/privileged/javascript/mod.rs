//! `--js-sites` and `leaktrace snapshot` on node: the one of `LEAKTRACE_TEST_NODE`, else the system's.
//!
//! Whatever is done to a victim, it says `bye` and ends with its own exit code afterwards.

mod inspector;
mod sites;
mod snapshot;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Ended, Victim};
use serde_json::Value;

use crate::Case;

pub(crate) const CASES: [&[Case]; 3] = [inspector::CASES, sites::CASES, snapshot::CASES];

/// So many run at the same time.
pub(crate) const AT_ONCE: usize = 8;

/// Victims that are watched side by side may not all open the default port.
const ANY_PORT: &[&str] = &["--inspect-port=0"];

/// Sends `quit`, and fails unless the victim ends as it would have without us.
fn ends_well(mut victim: Victim) -> Result<()> {
    victim.send("quit")?;
    victim.expect("bye")?;
    let status = victim.finish()?;
    ensure!(status.code() == Some(5), "the victim ended with {status}");
    Ok(())
}

/// Fails unless leaktrace refused with exit code 6, for this reason.
fn expect_refused(ended: &Ended, why: &str) -> Result<()> {
    ended.expect_failure(6)?;
    ensure!(ended.stderr.contains(why), "the reason is another one: {}", ended.stderr.trim());
    ensure!(ended.records.is_empty(), "something was traced all the same");
    Ok(())
}

/// Ports on which a process listens, as its own network namespace shows them.
fn listening_ports(pid: u32) -> Result<Vec<u16>> {
    let own: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))?
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp"))?;
    let port = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_own = own.contains(&format!("socket:[{}]", fields.get(9)?));
        let port = fields.get(1)?.rsplit_once(':')?.1;
        (is_own && fields.get(3) == Some(&"0A")).then(|| u16::from_str_radix(port, 16).ok())?
    };
    Ok(table.lines().skip(1).filter_map(port).collect())
}

fn is_open(port: u16) -> bool {
    TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok()
}

/// The pid of a victim as an argument.
fn pid_of(victim: &Victim) -> String {
    victim.pid().to_string()
}

/// The first three functions of a stack.
fn first_functions(stack: &Value) -> Result<Vec<&str>> {
    let frames = stack.as_array().context("no stack")?;
    Ok(frames.iter().take(3).map(|frame| frame["function"].as_str().unwrap_or_default()).collect())
}
