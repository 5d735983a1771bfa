//! What the target uses at a tick, and how much memory it may use at most.

use std::io;
use std::path::{Component, Path, PathBuf};

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

/// The smallest memory limit, in bytes, among the control groups that process `pid` belongs to.
pub fn memory_limit(pid: u32) -> Option<u64> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    limit_in(&groups, Path::new("/sys/fs/cgroup"))
}

fn limit_in(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        if controllers.is_empty() {
            smallest(root, path, "memory.max").or_else(|| smallest(&root.join("unified"), path, "memory.max"))
        } else if controllers.split(',').any(|controller| controller == "memory") {
            smallest(&root.join("memory"), path, "memory.limit_in_bytes")
        } else {
            None
        }
    });
    limits.min()
}

/// The smallest limit from the group at `path` up to `root`.
fn smallest(root: &Path, path: &str, file: &str) -> Option<u64> {
    let below: PathBuf = Path::new(path).components().filter(|part| *part != Component::RootDir).collect();
    // "/.." stands for a group outside of our namespace: its limit cannot be seen.
    if below.components().any(|part| !matches!(part, Component::Normal(_))) {
        return None;
    }
    let read = |group: &Path| {
        let limit: u64 = std::fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse().ok()?;
        // v1 says "no limit" by the largest page-aligned number of 63 bits.
        (limit < 1 << 62).then_some(limit)
    };
    below.ancestors().filter_map(read).min()
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

    #[test]
    fn the_smallest_limit_of_the_ancestors_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |group: &str, file: &str, text: &str| {
            std::fs::create_dir_all(root.path().join(group)).unwrap();
            std::fs::write(root.path().join(group).join(file), text).unwrap();
        };
        write("a/b", "memory.max", "max\n");
        write("a", "memory.max", "1048576\n");
        assert_eq!(limit_in("0::/a/b\n", root.path()), Some(1 << 20));
        assert_eq!(limit_in("0::/none\n", root.path()), None);
        assert_eq!(limit_in("0::/../a\n", root.path()), None);
        write("memory/x", "memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_in("4:cpu,memory:/x\n0::/\n", root.path()), None);
        write("memory/x", "memory.limit_in_bytes", "4096\n");
        assert_eq!(limit_in("4:cpu,memory:/x\n0::/a\n", root.path()), Some(4096));
        assert_eq!(limit_in("nonsense", root.path()), None);
    }
}
