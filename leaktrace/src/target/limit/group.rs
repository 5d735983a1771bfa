//! Control groups: where they are mounted, which of them a process belongs to, and what their limits leave.

use std::os::fd::AsRawFd as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{Limit, MAX_FILE, read_text};

/// Deeper nesting is not followed: the kernel's own files stay far below, a forged one need not.
const MAX_DEPTH: usize = 64;
/// `CGROUP_SUPER_MAGIC` and `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const MAGIC: [(Version, u64); 2] = [(Version::V1, 0x0027_e0eb), (Version::V2, 0x6367_7270)];

/// Which interface a hierarchy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// A hierarchy of the memory controller alone, or with others.
    V1,
    /// The unified hierarchy.
    V2,
}

/// A hierarchy of groups that has, or may have, the memory controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// The group that is mounted.
    pub(super) root: PathBuf,
    /// Where.
    pub(super) mount_point: PathBuf,
}

impl Hierarchy {
    /// The directories of the group at `path` and of all above it that can be seen; `None` where it cannot be.
    pub(super) fn directories(&self, path: &str) -> Option<Vec<PathBuf>> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        // "/.." stands for a group outside of our namespace.
        if below.components().any(|part| !matches!(part, Component::Normal(_))) {
            return None;
        }
        Some(below.ancestors().take(MAX_DEPTH).map(|group| self.mount_point.join(group)).collect())
    }
}

/// The hierarchies that a `mountinfo` file names.
pub(super) fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        // `31 23 0:28 ROOT MOUNT-POINT options [optional fields] - TYPE SOURCE SUPER-OPTIONS`
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup2" => Version::V2,
            "cgroup" if file_system.nth(1)?.split(',').any(|option| option == "memory") => Version::V1,
            _ => return None,
        };
        let mut mount = mount.split(' ').skip(3).map(unescape);
        Some(Hierarchy { version, root: mount.next()?, mount_point: mount.next()? })
    };
    mountinfo.lines().filter_map(hierarchy).collect()
}

/// mountinfo writes blanks and backslashes as octal numbers.
fn unescape(field: &str) -> PathBuf {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.into_iter().fold(field.to_owned(), |text, (from, to)| text.replace(from, to)).into()
}

/// The groups of a `/proc/PID/cgroup` file that may limit memory.
pub(super) fn memory_groups(membership: &str) -> impl Iterator<Item = (Version, &str)> {
    membership.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        match rest.split_once(':')? {
            ("", path) => Some((Version::V2, path)),
            (controllers, path) if controllers.split(',').any(|one| one == "memory") => {
                Some((Version::V1, path))
            }
            _ => None,
        }
    })
}

/// The nearest limit that is set on the group at a directory itself.
pub(super) fn limit(version: Version, directory: &Path) -> Option<Limit> {
    let (limits, used, reclaimable): (&[&'static str], _, _) = match version {
        Version::V1 => (&["memory.limit_in_bytes"], "memory.usage_in_bytes", "total_inactive_file"),
        Version::V2 => (&["memory.max", "memory.high"], "memory.current", "inactive_file"),
    };
    let number = |name: &str| read_text(&directory.join(name), MAX_FILE)?.trim().parse::<u64>().ok();
    // v1 says "no limit" by the largest page-aligned number of 63 bits, v2 by a word.
    let set = limits.iter().filter_map(|&name| Some((name, number(name).filter(|limit| *limit < 1 << 62)?)));
    let (name, limit_bytes) = set.min_by_key(|(_, limit)| *limit)?;
    let used = number(used)?;
    let stat = read_text(&directory.join("memory.stat"), MAX_FILE).unwrap_or_default();
    let reclaimable =
        stat.lines().find_map(|line| line.strip_prefix(reclaimable)?.trim().parse::<u64>().ok());
    Some(Limit::new(name, limit_bytes, used.saturating_sub(reclaimable.unwrap_or(0))))
}

/// The limit of the group that is the root of the process's own view, which is what a container shows at
/// `/sys/fs/cgroup`. The process decides what is mounted there: only a file system of the kernel's groups counts.
pub(super) fn as_the_process_sees_it(pid: u32, version: Version) -> Option<Limit> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), directory, Mode::empty()).ok()?;
    let path = match version {
        Version::V1 => "sys/fs/cgroup/memory",
        Version::V2 => "sys/fs/cgroup",
    };
    let mount = rustix::fs::openat2(&root, path, directory, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
    let kind = u64::try_from(rustix::fs::fstatfs(&mount).ok()?.f_type).ok()?;
    if !MAGIC.contains(&(version, kind)) {
        return None;
    }
    limit(version, Path::new(&format!("/proc/self/fd/{}", mount.as_raw_fd())))
}
