//! Limits of made-up control groups, and of this process.

use std::path::Path;

use rstest::rstest;

use super::group::{Hierarchy, Version, hierarchies, memory_groups};
use super::{Limit, Limits, soft_limit};

/// Groups in a directory, as the kernel would show them.
struct Groups(tempfile::TempDir);

impl Groups {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, group: &str, files: &[(&str, &str)]) {
        let directory = self.0.path().join(group);
        std::fs::create_dir_all(&directory).unwrap();
        for (file, text) in files {
            std::fs::write(directory.join(file), text).unwrap();
        }
    }

    fn limits(&self, version: Version, root: &str) -> Limits {
        let mount_point = self.0.path().to_owned();
        Limits {
            hierarchies: vec![Hierarchy { version, root: root.into(), mount_point }],
            ..Limits::default()
        }
    }
}

#[test]
fn the_nearest_limit_of_all_groups_above_counts() {
    let groups = Groups::new();
    groups.write("a/b", &[("memory.max", "max\n"), ("memory.high", "max\n"), ("memory.current", "500\n")]);
    groups.write(
        "a",
        &[
            ("memory.max", "10000\n"),
            ("memory.high", "9000\n"),
            ("memory.current", "8000\n"),
            ("memory.stat", "anon 1\ninactive_file 3000\nactive_file 7\n"),
        ],
    );
    groups.write("c", &[("memory.max", "100\n"), ("memory.high", "max\n"), ("memory.current", "700\n")]);
    let mut limits = groups.limits(Version::V2, "/");
    let high = Limit { name: "memory.high", limit_bytes: 9000, headroom_bytes: 4000 };
    assert_eq!(limits.on_path(Version::V2, "/a/b"), Some(vec![high]));
    // What is used beyond a limit leaves nothing, and what is not there limits nothing.
    let full = Limit { name: "memory.max", limit_bytes: 100, headroom_bytes: 0 };
    assert_eq!(limits.on_path(Version::V2, "/c"), Some(vec![full]));
    assert_eq!(limits.on_path(Version::V2, "/none"), Some(Vec::new()));
    assert_eq!(limits.on_path(Version::V1, "/a"), None);
}

#[test]
fn a_group_is_read_once_until_it_is_forgotten() {
    let groups = Groups::new();
    let set = |used| groups.write("a", &[("memory.max", "1000"), ("memory.current", used)]);
    set("100");
    let mut limits = groups.limits(Version::V2, "/");
    let mut headroom = |forget: bool| {
        if forget {
            limits.forget();
        }
        limits.on_path(Version::V2, "/a").and_then(|limits| Some(limits.first()?.headroom_bytes))
    };
    assert_eq!(headroom(false), Some(900));
    set("600");
    assert_eq!((headroom(false), headroom(true)), (Some(900), Some(400)));
}

#[test]
fn the_first_version_has_other_names() {
    let groups = Groups::new();
    let stat = "inactive_file 5\ntotal_inactive_file 1000\n";
    let used = ("memory.usage_in_bytes", "3000\n");
    groups.write("", &[("memory.limit_in_bytes", "9223372036854771712\n"), used]);
    groups.write("x", &[("memory.limit_in_bytes", "4096\n"), used, ("memory.stat", stat)]);
    let mut limits = groups.limits(Version::V1, "/docker/1");
    let limit = Limit { name: "memory.limit_in_bytes", limit_bytes: 4096, headroom_bytes: 2096 };
    assert_eq!(limits.on_path(Version::V1, "/docker/1/x"), Some(vec![limit]));
    assert_eq!(limits.on_path(Version::V1, "/docker/1"), Some(Vec::new()));
    // Not below what is mounted.
    assert_eq!(limits.on_path(Version::V1, "/docker/2"), None);
}

#[rstest]
#[case("/../a")]
#[case("/a/../../b")]
#[case("relative")]
#[case("")]
fn groups_outside_of_what_is_mounted_are_not_looked_for(#[case] path: &str) {
    let hierarchy =
        Hierarchy { version: Version::V2, root: "/".into(), mount_point: "/sys/fs/cgroup".into() };
    assert_eq!(hierarchy.directories(path), None);
}

#[test]
fn no_path_is_followed_for_ever() {
    let hierarchy =
        Hierarchy { version: Version::V2, root: "/".into(), mount_point: "/sys/fs/cgroup".into() };
    assert_eq!(hierarchy.directories(&"/a".repeat(10_000)).unwrap().len(), 64);
    let directories = hierarchy.directories("/a/b").unwrap();
    let expected = ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup/"];
    assert_eq!(
        directories.iter().map(std::path::PathBuf::as_path).collect::<Vec<_>>(),
        expected.map(Path::new)
    );
}

#[test]
fn mounts_and_memberships_are_read_as_the_kernel_writes_them() {
    let mounts = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  35 31 0:32 /docker/1 /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                  36 31 0:33 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                  41 31 0:38 / /a\\040b rw,relatime - cgroup2 cgroup2 rw\n\
                  nonsense - cgroup2\n";
    let found = hierarchies(mounts);
    let expected = [
        Hierarchy {
            version: Version::V1,
            root: "/docker/1".into(),
            mount_point: "/sys/fs/cgroup/memory".into(),
        },
        Hierarchy { version: Version::V2, root: "/".into(), mount_point: "/a b".into() },
    ];
    assert_eq!(found, expected);
    let membership = "8:pids:/\n4:cpu,memory:/x:y\n1:name=systemd:/\n0::/a\nnonsense\n";
    let groups: Vec<_> = memory_groups(membership).collect();
    assert_eq!(groups, [(Version::V1, "/x:y"), (Version::V2, "/a")]);
}

#[test]
fn soft_limits_are_found_by_name() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                  Max data size             unlimited            unlimited            bytes     \n\
                  Max address space         1048576              2097152              bytes     \n";
    assert_eq!(soft_limit(limits, "Max address space"), Some(1 << 20));
    assert_eq!(soft_limit(limits, "Max data size"), None);
    assert_eq!(soft_limit("", "Max data size"), None);
}

#[test]
fn a_process_that_was_given_little_address_space_has_a_near_limit() {
    let mut child = std::process::Command::new("sh");
    let mut child = child.args(["-c", "ulimit -v 1048576; echo; read _"]);
    child = child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    // It has said its line: the limit is set.
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let nearest = super::resource_limits(child.id());
    drop(child.stdin.take());
    child.wait().unwrap();
    let [limit] = nearest.as_slice() else { panic!("{nearest:?}") };
    assert_eq!((limit.name, limit.limit_bytes), ("RLIMIT_AS", 1 << 30));
    assert!(limit.headroom_bytes > 0 && limit.headroom_bytes < 1 << 30, "{limit:?}");
}

#[test]
fn a_process_that_is_gone_has_no_limit() {
    assert_eq!(Limits::new().nearest(u32::MAX), None);
}
