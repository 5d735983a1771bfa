//! Children of our own, in which something is tried or measured before a target is touched.

use std::{
    io::{self, Read as _},
    num::NonZeroU32,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::target::maps;

/// Our own program, whatever became of its name.
pub(super) const OURSELVES: &str = "/proc/self/exe";

/// More is not read of what a child says before it is ready.
const MAX_OUTPUT: usize = 64 << 10;

/// A child that is ended and waited for, come what may.
pub(super) struct Reaped(pub(super) Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both do nothing to a child that was waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A child that is ready.
pub(super) struct Ready {
    pub(super) process: Reaped,
    pub(super) pid: NonZeroU32,
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
}

/// Starts a child, and waits until it has said that it is ready.
pub(super) fn start(mut command: Command, ready: &str, deadline: Instant) -> io::Result<Ready> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Reaped(command.spawn()?);
    let pid = NonZeroU32::new(process.0.id()).ok_or(io::ErrorKind::NotFound)?;
    let input = process.0.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut output = process.0.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    wait_until_ready(&mut output, ready, deadline)?;
    Ok(Ready { process, pid, input, output })
}

fn wait_until_ready(output: &mut ChildStdout, ready: &str, deadline: Instant) -> io::Result<()> {
    let mut said = Vec::new();
    while !said.windows(ready.len()).any(|part| part == ready.as_bytes()) {
        if !read_some(output, deadline, &mut said)? || said.len() > MAX_OUTPUT {
            return Err(io::Error::other("the child ended, or did not say that it is ready"));
        }
    }
    Ok(())
}

/// Reads what there is; false at the end. Gives up at the deadline.
pub(super) fn read_some(output: &mut ChildStdout, deadline: Instant, into: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut buffer = [0; 4096];
    let count = output.read(&mut buffer)?;
    into.extend(buffer.iter().take(count));
    Ok(count > 0)
}

/// Where in our own file the code at an address of ours lies. The child is the same file, wherever it is loaded.
pub(super) fn file_offset(address: u64) -> io::Result<u64> {
    let maps = maps::read(std::process::id())?;
    let mapping = maps.iter().find(|mapping| mapping.contains(address) && mapping.executable);
    let offset = mapping.and_then(|mapping| mapping.offset.checked_add(address - mapping.start));
    offset.ok_or_else(|| io::Error::other("our own code is not mapped from a file"))
}
