//! Lines of a child's output, read on a thread of their own and waited for with a deadline.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Lines as they arrive. The pipe is always drained, so a talkative child never blocks on a slow test.
#[derive(Debug)]
pub struct Lines {
    receiver: Receiver<String>,
}

impl Lines {
    /// Starts to read `stream` until it ends.
    pub fn read(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if sender.send(text).is_err() {
                    // Nobody listens any more; go on draining.
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                    return;
                }
                line.clear();
            }
        });
        Self { receiver }
    }

    /// The next line, or `None` at the end of the stream. Fails when `deadline` passes first.
    pub fn next_before(&self, deadline: Instant) -> Result<Option<String>> {
        match self.receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("no line before the deadline"),
        }
    }

    /// The next line; fails at the end of the stream or after `timeout`.
    pub fn next(&self, timeout: Duration) -> Result<String> {
        match self.next_before(Instant::now() + timeout)? {
            Some(line) => Ok(line),
            None => bail!("the output ended"),
        }
    }

    /// The lines that have come and were not taken yet.
    pub fn so_far(&self) -> Vec<String> {
        self.receiver.try_iter().collect()
    }

    /// All lines up to the end of the stream.
    pub fn rest(&self, timeout: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + timeout;
        let mut lines = Vec::new();
        while let Some(line) = self.next_before(deadline)? {
            lines.push(line);
        }
        Ok(lines)
    }
}
