//! Servers that are asked for something without a pause, and keep more and more.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::bench::servers::{node_http, start_node, start_redis};
use crate::bench::tracer::Server;
use crate::command::Cmd;

/// What the Node server keeps.
const BYTES_PER_S: &str = "1000000";
/// A member that redis keeps, and what it asks its allocator for to do so: a header of five bytes and a zero more.
const MEMBER: usize = 992;
const MEMBER_KEPT: u64 = 998;
/// A member comes so long after the answer to the one before it.
const PAUSE: Duration = Duration::from_micros(850);
/// The load ends with the server, long before that.
const FOR_EVER: &str = "1000000000";

/// A server at work.
pub(super) struct Leaky {
    // Dropped in this order: what asks goes before the server.
    _load: Server,
    server: Server,
    kept: Kept,
    /// What redis has its socket in.
    _scratch: Option<tempfile::TempDir>,
}

/// Who knows how much was kept.
enum Kept {
    /// Whoever sends it.
    Sent(Arc<Members>),
    /// The server, which listens there.
    Asked(u16),
}

/// The members that were added, until the server is not needed any more.
#[derive(Default)]
struct Members {
    count: AtomicU64,
    is_over: AtomicBool,
}

impl Leaky {
    pub(super) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Bytes that were kept so far.
    pub(super) fn kept_bytes(&self) -> Result<u64> {
        match &self.kept {
            Kept::Sent(members) => Ok(members.count.load(Ordering::Relaxed) * MEMBER_KEPT),
            Kept::Asked(port) => ask(*port),
        }
    }
}

impl Drop for Leaky {
    fn drop(&mut self) {
        if let Kept::Sent(members) = &self.kept {
            members.is_over.store(true, Ordering::Relaxed);
        }
    }
}

/// redis-server under redis-benchmark, and a set that grows.
pub(super) fn redis() -> Result<Leaky> {
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let (server, socket) = start_redis(scratch.path())?;
    let load = Cmd::new("redis-benchmark")
        .arg("-s")
        .arg(&socket)
        .args(["-t", "set,get", "-n", FOR_EVER, "-c", "32", "-q"]);
    let (load, _) = Server::start(load, false)?;
    let members = Arc::<Members>::default();
    let stream = UnixStream::connect(&socket).context("cannot reach redis-server")?;
    let adds = Arc::clone(&members);
    thread::spawn(move || add_members(stream, &adds));
    Ok(Leaky { _load: load, server, kept: Kept::Sent(members), _scratch: Some(scratch) })
}

/// Until the server is gone, or is not needed any more.
fn add_members(mut stream: UnixStream, members: &Members) {
    let mut answer = [0; 64];
    while !members.is_over.load(Ordering::Relaxed) {
        let number = members.count.load(Ordering::Relaxed);
        let asked = format!("*3\r\n$4\r\nSADD\r\n$4\r\nkept\r\n${MEMBER}\r\n{number:0MEMBER$}\r\n");
        if stream.write_all(asked.as_bytes()).is_err() || !matches!(stream.read(&mut answer), Ok(1..)) {
            return;
        }
        members.count.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
}

/// A JSON-over-HTTP server on Node under its own load generator, which keeps buffers.
pub(super) fn node() -> Result<Leaky> {
    let (server, port) = start_node(&[BYTES_PER_S])?;
    let load = node_http().args(["load", &port.to_string(), FOR_EVER]);
    let (load, _) = Server::start(load, false)?;
    Ok(Leaky { _load: load, server, kept: Kept::Asked(port), _scratch: None })
}

/// Asks the Node server what it kept.
fn ask(port: u16) -> Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("cannot reach the node server")?;
    stream.write_all(b"GET /kept HTTP/1.0\r\n\r\n").context("cannot ask the node server")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("cannot read from the node server")?;
    let kept = answer.rsplit("\r\n").next().and_then(|body| body.trim().parse().ok());
    kept.with_context(|| format!("the node server answered: {answer}"))
}
