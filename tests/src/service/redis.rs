//! A redis-server of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{Server, answers, free_port, output_of};

/// redis-server without persistence (it would fork), in a temporary directory.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: u16,
    _directory: TempDir,
}

impl Redis {
    /// Starts it and waits until it answers.
    pub fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        // Resizing and defragmenting in the background would change used_memory while it is being compared.
        command.args(["--activerehashing", "no", "--dir"]).arg(directory.path());
        let mut server = Server::spawn(&mut command, "redis-server", Signal::TERM)?;
        server.wait_until("redis answers", || answers(port))?;
        Ok(Self { server, port, _directory: directory })
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Loads it: `requests` SETs and LPUSHes with random keys. The clients are gone when this returns.
    pub fn load(&self, requests: u64) -> Result<()> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port.to_string(), "-q", "-t", "set,lpush", "-r", "100000", "-d", "100"]);
        command.args(["-c", "8", "-n", &requests.to_string()]);
        output_of(&mut command, "redis-tools").map(|_| ())
    }

    /// `requests` requests of redis-benchmark for each of its usual commands, on a set of keys that is soon full.
    pub fn benchmark(&self, requests: u64) -> Result<()> {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &self.port.to_string(), "-q", "-r", "1000", "-d", "100", "-c", "8"]);
        command.args(["-t", "set,get,incr,lpush,lpop,hset,spop,zadd", "-n", &requests.to_string()]);
        output_of(&mut command, "redis-tools").map(|_| ()).with_context(|| self.server.state())
    }

    /// Sets `count` new keys of one length to values of `value_bytes`, in a connection of its own that is closed
    /// when this returns.
    pub fn set_new_keys(&self, count: u32, value_bytes: usize) -> Result<()> {
        /// Commands sent before their answers are read.
        const PIPELINED: u32 = 64;
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut answers = BufReader::new(stream.try_clone()?).lines();
        let value = "v".repeat(value_bytes);
        let mut next = 0;
        while next < count {
            let end = count.min(next + PIPELINED);
            let mut commands = Vec::new();
            for key in next..end {
                write!(commands, "*3\r\n$3\r\nSET\r\n$14\r\nkey:{key:010}\r\n${value_bytes}\r\n{value}\r\n")?;
            }
            stream.write_all(&commands)?;
            for _ in next..end {
                let answer = answers.next().context("redis closed the connection")??;
                ensure!(answer == "+OK", "redis answered {answer}");
            }
            next = end;
        }
        stream.write_all(b"QUIT\r\n")?;
        answers.last().transpose()?;
        Ok(())
    }

    /// Deletes all keys.
    pub fn delete_all(&self) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"FLUSHALL SYNC\r\nQUIT\r\n")?;
        let answer = BufReader::new(stream).lines().next().context("redis closed the connection")??;
        ensure!(answer == "+OK", "redis answered {answer}");
        Ok(())
    }

    /// `used_memory`: bytes that redis counts as allocated, by the allocator's usable sizes.
    pub fn used_memory(&self) -> Result<i64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"INFO memory\r\nQUIT\r\n")?;
        for line in BufReader::new(stream).lines() {
            if let Some(bytes) = line?.strip_prefix("used_memory:") {
                return Ok(bytes.trim().parse()?);
            }
        }
        None.context("redis does not tell its used_memory")
    }
}
