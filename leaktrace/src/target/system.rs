//! What this machine allows: the facts that `doctor` shows and that failures name.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use caps::{CapSet, Capability};

use super::hazard::KernelVersion;

/// `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`: the inode number of the initial pid namespace.
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// The capabilities that tracing asks for, as we hold them (effective set).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a set of capabilities")]
pub struct Capabilities {
    /// CAP_BPF: load programs and maps.
    pub bpf: bool,
    /// CAP_PERFMON: attach probes.
    pub perfmon: bool,
    /// CAP_SYS_ADMIN: stands in for both, and opens `map_files`.
    pub sys_admin: bool,
    /// CAP_SYS_PTRACE: look into other users' processes.
    pub sys_ptrace: bool,
}

impl Capabilities {
    /// Those of this thread.
    pub fn read() -> Self {
        let held = caps::read(None, CapSet::Effective).unwrap_or_default();
        Self {
            bpf: held.contains(&Capability::CAP_BPF),
            perfmon: held.contains(&Capability::CAP_PERFMON),
            sys_admin: held.contains(&Capability::CAP_SYS_ADMIN),
            sys_ptrace: held.contains(&Capability::CAP_SYS_PTRACE),
        }
    }

    /// Names of the capabilities that are missing for tracing any process.
    pub fn missing(self) -> Vec<&'static str> {
        let wanted = [
            (self.bpf || self.sys_admin, "CAP_BPF"),
            (self.perfmon || self.sys_admin, "CAP_PERFMON"),
            (self.sys_ptrace, "CAP_SYS_PTRACE"),
        ];
        wanted.into_iter().filter(|(held, _)| !held).map(|(_, name)| name).collect()
    }
}

/// A pid namespace, as BPF programs ask for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidNamespace {
    /// Device number of the namespace file, as `stat` gives it.
    pub dev: u64,
    /// Inode number of the namespace file.
    pub ino: u64,
}

impl PidNamespace {
    /// The one we live in.
    pub fn ours() -> Option<Self> {
        let meta = std::fs::metadata("/proc/self/ns/pid").ok()?;
        Some(Self { dev: meta.dev(), ino: meta.ino() })
    }

    /// Whether it is the namespace of the whole machine, where pids are what the kernel itself calls them.
    pub fn is_initial(self) -> bool {
        self.ino == INITIAL_PID_NAMESPACE
    }
}

/// Facts about this machine and our rights on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct System {
    /// Kernel release, as `uname -r` prints it.
    pub release: String,
    /// Its version, where the release begins with one.
    pub version: Option<KernelVersion>,
    /// The kernel describes its own types, which portable BPF programs need.
    pub btf: bool,
    /// Our capabilities.
    pub capabilities: Capabilities,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// The lockdown mode in force (`none`, `integrity`, `confidentiality`), where the kernel has lockdown.
    pub lockdown: Option<String>,
    /// Our pid namespace.
    pub pid_namespace: Option<PidNamespace>,
}

impl System {
    /// Looks around.
    pub fn read() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok();
        let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").ok();
        Self {
            version: release.parse().ok(),
            release,
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            capabilities: Capabilities::read(),
            perf_event_paranoid: paranoid.and_then(|text| text.trim().parse().ok()),
            lockdown: lockdown.as_deref().and_then(lockdown_mode).map(str::to_owned),
            pid_namespace: PidNamespace::ours(),
        }
    }
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn lockdown_mode(text: &str) -> Option<&str> {
    Some(text.split_once('[')?.1.split_once(']')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_in_brackets_is_in_force() {
        assert_eq!(lockdown_mode("none [integrity] confidentiality\n"), Some("integrity"));
        assert_eq!(lockdown_mode(""), None);
        assert_eq!(lockdown_mode("[broken"), None);
    }

    #[test]
    fn sys_admin_stands_in_for_the_newer_capabilities() {
        let none = Capabilities::default();
        assert_eq!(none.missing(), ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"]);
        assert_eq!(Capabilities { sys_admin: true, ..none }.missing(), ["CAP_SYS_PTRACE"]);
        assert!(Capabilities { bpf: true, perfmon: true, sys_ptrace: true, ..none }.missing().is_empty());
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_namespace() {
        let system = System::read();
        assert!(system.version.is_some(), "{}", system.release);
        assert!(system.pid_namespace.is_some());
    }
}
