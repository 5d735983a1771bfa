//! How much more memory a process may take before a limit stops it: control groups of both versions, resource limits.
//!
//! What a control group uses counts without the file pages that the kernel would give up first (`inactive_file`), as
//! Kubernetes counts it: these make room before a limit stops anybody.

mod group;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::status::Status;
use group::{Hierarchy, Version};

/// The files read here are far smaller; a target that mounts something else in their place gets no further.
const MAX_FILE: u64 = 1 << 16;

/// A limit on memory, and how far away it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What sets it: `memory.max`, `memory.high`, `memory.limit_in_bytes`, `RLIMIT_AS` or `RLIMIT_DATA`.
    pub name: &'static str,
    /// The limit in bytes: of a control group's memory, of address space, of private writable memory.
    pub limit_bytes: u64,
    /// Bytes that may still come; 0 where the limit is reached.
    pub headroom_bytes: u64,
}

impl Limit {
    fn new(name: &'static str, limit_bytes: u64, used_bytes: u64) -> Self {
        Self { name, limit_bytes, headroom_bytes: limit_bytes.saturating_sub(used_bytes) }
    }
}

/// Finds the nearest limit of processes. Processes of one control group share what was read of it until
/// [`Self::forget`].
#[derive(Debug, Default)]
pub struct Limits {
    hierarchies: Vec<Hierarchy>,
    groups: HashMap<PathBuf, Option<Limit>>,
}

impl Limits {
    /// Looks up where control groups are mounted here.
    pub fn new() -> Self {
        let mounts = read_text(Path::new("/proc/self/mountinfo"), 1 << 22).unwrap_or_default();
        Self { hierarchies: group::hierarchies(&mounts), groups: HashMap::new() }
    }

    /// What comes next is read afresh.
    pub fn forget(&mut self) {
        self.groups.clear();
    }

    /// The limit that process `pid` will reach first, if it has any.
    pub fn nearest(&mut self, pid: u32) -> Option<Limit> {
        let of_groups = self.nearest_group(pid);
        of_groups.into_iter().chain(resource_limits(pid)).min_by_key(|limit| limit.headroom_bytes)
    }

    fn nearest_group(&mut self, pid: u32) -> Option<Limit> {
        let membership = read_text(Path::new(&format!("/proc/{pid}/cgroup")), MAX_FILE)?;
        let groups = group::memory_groups(&membership);
        let limits = groups.flat_map(|(version, path)| {
            // A group outside of our own namespace: the process may see it itself.
            let seen_by_process = || group::as_the_process_sees_it(pid, version).into_iter().collect();
            self.on_path(version, path).unwrap_or_else(seen_by_process)
        });
        limits.min_by_key(|limit| limit.headroom_bytes)
    }

    /// The limits of a group and of all above it, up to the mount; `None` where the group cannot be seen from here.
    fn on_path(&mut self, version: Version, path: &str) -> Option<Vec<Limit>> {
        let mut hierarchies = self.hierarchies.iter().filter(|one| one.version == version);
        let directories = hierarchies.find_map(|one| one.directories(path))?;
        let limit = |directory: PathBuf| {
            let read = |directory: &PathBuf| group::limit(version, directory);
            *self.groups.entry(directory).or_insert_with_key(read)
        };
        Some(directories.into_iter().filter_map(limit).collect())
    }
}

/// Limits that the process was started with.
fn resource_limits(pid: u32) -> Vec<Limit> {
    let Some(limits) = read_text(Path::new(&format!("/proc/{pid}/limits")), MAX_FILE) else {
        return Vec::new();
    };
    let wanted = [
        ("RLIMIT_AS", soft_limit(&limits, "Max address space"), "VmSize"),
        ("RLIMIT_DATA", soft_limit(&limits, "Max data size"), "VmData"),
    ];
    // Most processes have neither, and then their status need not be read.
    if wanted.iter().all(|(_, limit, _)| limit.is_none()) {
        return Vec::new();
    }
    let Ok(status) = Status::read(pid) else { return Vec::new() };
    let limit = |(name, limit, used): (&'static str, Option<u64>, &str)| {
        Some(Limit::new(name, limit?, status.bytes(used)?))
    };
    wanted.into_iter().filter_map(limit).collect()
}

/// The soft limit of a line of `/proc/PID/limits`, in bytes; `None` where it is unlimited.
fn soft_limit(limits: &str, name: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The first `most` bytes of a file as text.
fn read_text(path: &Path, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
