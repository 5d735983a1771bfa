//! Own instances of real services, on free loopback ports and in temporary directories.

mod nginx;
mod postgres;
mod redis;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::DEADLINE;
use crate::victim::wait_for_exit;

pub use nginx::Nginx;
pub use postgres::{Bench, Postgres, Session as PostgresSession};
pub use redis::Redis;

/// A service's process in the foreground. Dropping it asks it to end, and kills it if it does not.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stop_signal: Signal,
}

impl Server {
    pub(crate) fn spawn(command: &mut Command, package: &str, stop_signal: Signal) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().with_context(|| {
            format!("cannot start {}: install {package}", command.get_program().display())
        })?;
        Ok(Self { child, stop_signal })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the kernel says it is doing, for the error of a client that got no answer.
    pub(crate) fn state(&self) -> String {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find(|line| line.starts_with("State:")).unwrap_or("State: gone");
        format!(
            "server {}: {state}; waits in {}; {}",
            self.child.id(),
            read("wchan"),
            read("stack").replace('\n', " ")
        )
    }

    /// Waits until `ready`; fails when the server ends or the deadline passes first.
    pub(crate) fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended ({status}) before {what}");
            }
            if Instant::now() >= deadline {
                bail!("gave up waiting for {what}");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, self.stop_signal);
        }
        let _ = wait_for_exit(&mut self.child, Duration::from_secs(10));
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

pub(crate) fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1))
        .map_err(|error| error.kind() != ErrorKind::ConnectionRefused)
        .is_ok()
}

/// `count` requests to an HTTP server on the loopback, one after the other, each on a connection of its own.
pub fn http_requests(port: u16, path: &str, count: u32) -> Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = BufReader::new(stream);
        let mut status = String::new();
        answer.read_line(&mut status)?;
        status.contains(" 200 ").then_some(()).with_context(|| format!("the server answered {status}"))?;
        answer.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Runs a command to its end: its stdout. The error holds what it said. One that does not end in time is killed: a
/// server that answers no more must not hold up the test for ever.
pub(crate) fn output_of(command: &mut Command, package: &str) -> Result<String> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("no {program}: install {package}"))?;
    let (stdout, stderr) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
    let status = wait_for_exit(&mut child, DEADLINE).context(program.clone())?;
    let read = |thread: JoinHandle<Vec<u8>>| {
        thread.join().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    let (stdout, stderr) = (read(stdout), read(stderr));
    if !status.success() {
        bail!("{program} failed: {}", stderr.trim());
    }
    Ok(stdout)
}

/// Reads a stream to its end on a thread of its own.
fn read_all(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// The first of `candidates` that exists.
pub(crate) fn find_program(candidates: &[&str], package: &str) -> Result<PathBuf> {
    let found = candidates.iter().map(Path::new).find(|path| path.exists());
    found.map(Path::to_owned).with_context(|| format!("no {}: install {package}", candidates.join(" or ")))
}
