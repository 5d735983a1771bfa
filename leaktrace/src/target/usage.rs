//! What the target uses at a tick.

use std::io;

use super::process::stat;
use super::status::Status;

/// Memory and processor time of a process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// Resident anonymous memory (heaps, stacks) in bytes.
    pub rss_anon: u64,
    /// Resident pages of files in bytes.
    pub rss_file: u64,
    /// Resident shared memory in bytes.
    pub rss_shmem: u64,
    /// Swapped-out anonymous memory in bytes.
    pub vm_swap: u64,
    /// User and system time in clock ticks.
    pub cpu_ticks: u64,
}

impl Usage {
    /// Reads it from `/proc/PID/status`, whose counters are exact since 6.2 and off by at most a few pages a
    /// thread before; `statm` is the same without the split.
    pub fn read(pid: u32) -> io::Result<Self> {
        let status = Status::read(pid)?;
        let stat = stat(pid)?;
        Ok(Self { cpu_ticks: stat.utime.saturating_add(stat.stime), ..Self::from_status(&status) })
    }

    fn from_status(status: &Status) -> Self {
        let bytes = |key| status.bytes(key).unwrap_or(0);
        Self {
            rss_bytes: bytes("VmRSS"),
            rss_anon: bytes("RssAnon"),
            rss_file: bytes("RssFile"),
            rss_shmem: bytes("RssShmem"),
            vm_swap: bytes("VmSwap"),
            cpu_ticks: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_in_bytes() {
        let text = "VmRSS:\t   10240 kB\nRssAnon:\t    4096 kB\nRssFile:\t 6144 kB\nRssShmem:\t 0 kB\nVmSwap:\t 8 kB\n";
        let usage = Usage::from_status(&Status::from_text(text));
        assert_eq!((usage.rss_bytes, usage.rss_anon, usage.rss_file), (10 << 20, 4 << 20, 6 << 20));
        assert_eq!((usage.rss_shmem, usage.vm_swap), (0, 8192));
    }

    #[test]
    fn our_own_usage_adds_up() {
        let usage = Usage::read(std::process::id()).unwrap();
        assert!(usage.rss_anon > 0);
        assert_eq!(usage.rss_bytes, usage.rss_anon + usage.rss_file + usage.rss_shmem);
    }
}
