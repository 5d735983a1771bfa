//! The process we trace: that it is there, that it is one we can trace, and what is known of it.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use procfs::process::Stat;

use super::status::Status;
use crate::error::{ExitCode, Failure};

/// `PF_KTHREAD` of `include/linux/sched.h`.
const KERNEL_THREAD: u32 = 0x0020_0000;
/// The most bytes of a command line that are kept.
const MAX_CMDLINE: u64 = 64 << 10;

/// A process that can be traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Thread-group id, in our pid namespace.
    pub pid: u32,
    /// Command name as the kernel keeps it (at most 15 bytes), lossily decoded.
    pub comm: String,
    /// The program file as the target sees it, without the mark of a deleted file.
    pub exe: Option<PathBuf>,
    /// The program file has no name any more.
    pub exe_deleted: bool,
    /// When it started, in clock ticks since boot: with the pid, it names the process for ever.
    pub start_ticks: u64,
    /// Its arguments, at most 64 KiB of them, lossily decoded.
    pub cmdline: Vec<String>,
}

/// What decides how a process may be traced, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts")]
pub struct Facts {
    /// Seccomp mode: 0 none, 1 strict, 2 filter.
    pub seccomp: u8,
    /// It runs with a user shadow stack.
    pub shadow_stack: bool,
    /// Number of threads.
    pub threads: u32,
    /// It lives in another mount namespace than we.
    pub other_mount_namespace: bool,
    /// It lives in another pid namespace than we.
    pub other_pid_namespace: bool,
    /// It lives in another user namespace than we.
    pub other_user_namespace: bool,
    /// Its pid in its innermost pid namespace.
    pub namespace_pid: u32,
}

impl Process {
    /// Looks at process `pid`, and refuses what cannot be traced with a sentence that says why.
    pub fn open(pid: u32) -> Result<Self, Failure> {
        if !cfg!(target_arch = "x86_64") {
            return Err(unsupported("leaktrace supports x86-64 machines only"));
        }
        if pid == std::process::id() {
            return Err(Failure::new(
                ExitCode::Usage,
                format!("process {pid} is leaktrace itself: name another one"),
            ));
        }
        let status = Status::read(pid).map_err(|error| unreadable(pid, &error))?;
        if let Some(owner) = status.number("Tgid").filter(|owner| *owner != u64::from(pid)) {
            let message = format!("{pid} is a thread of process {owner}: use --pid {owner}");
            return Err(Failure::new(ExitCode::NoSuchProcess, message));
        }
        let stat = stat(pid).map_err(|error| unreadable(pid, &error))?;
        if stat.flags & KERNEL_THREAD != 0 {
            return Err(unsupported(format!("process {pid} is a kernel thread and has no heap of its own")));
        }
        if is_dead(stat.state) {
            let message = format!(
                "process {pid} has ended and only waits for its parent (zombie): nothing is left to trace"
            );
            return Err(Failure::new(ExitCode::NoSuchProcess, message));
        }
        let link = std::fs::read_link(format!("/proc/{pid}/exe")).map_err(|error| unreadable(pid, &error))?;
        check_machine(pid)?;
        // map_files, mem and the uprobe itself ask for this permission; better to hear it now.
        std::fs::File::open(format!("/proc/{pid}/maps")).map_err(|error| unreadable(pid, &error))?;
        let (exe, exe_deleted) = split_deleted(&link);
        Ok(Self {
            pid,
            comm: comm(pid).map_err(|error| unreadable(pid, &error))?,
            exe: Some(exe),
            exe_deleted,
            start_ticks: stat.starttime,
            cmdline: cmdline(pid).unwrap_or_default(),
        })
    }

    /// Whether this very process still runs: another one that was given its pid does not count, a zombie neither.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_ok_and(|stat| stat.starttime == self.start_ticks && !is_dead(stat.state))
    }

    /// What decides how it may be traced.
    pub fn facts(&self) -> io::Result<Facts> {
        let status = Status::read(self.pid)?;
        let features = status.get("x86_Thread_features").unwrap_or_default();
        let namespace_pid =
            status.get("NSpid").and_then(|pids| pids.split_ascii_whitespace().last()?.parse().ok());
        Ok(Facts {
            seccomp: status.number("Seccomp").unwrap_or(0) as u8,
            shadow_stack: features.split_ascii_whitespace().any(|feature| feature == "shstk"),
            threads: status.number("Threads").unwrap_or(1) as u32,
            other_mount_namespace: self.namespace_differs("mnt"),
            other_pid_namespace: self.namespace_differs("pid"),
            other_user_namespace: self.namespace_differs("user"),
            namespace_pid: namespace_pid.unwrap_or(self.pid),
        })
    }

    /// Its mappings now, by ascending address.
    pub fn maps(&self) -> io::Result<Vec<super::maps::Mapping>> {
        super::maps::read(self.pid)
    }

    fn namespace_differs(&self, kind: &str) -> bool {
        let id = |pid: &str| {
            std::fs::metadata(format!("/proc/{pid}/ns/{kind}")).ok().map(|meta| (meta.dev(), meta.ino()))
        };
        match (id("self"), id(&self.pid.to_string())) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        }
    }
}

/// `/proc/PID/stat`; the command name in it may hold blanks and parentheses.
pub(super) fn stat(pid: u32) -> io::Result<Stat> {
    use procfs::FromRead as _;
    let file = std::fs::File::open(format!("/proc/{pid}/stat"))?;
    Stat::from_read(file).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// The command name of a process, without its line feed.
pub(super) fn comm(pid: u32) -> io::Result<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm"))?;
    Ok(String::from_utf8_lossy(name.strip_suffix(b"\n").unwrap_or(&name)).into_owned())
}

/// Ended, and not yet waited for.
pub(super) fn is_dead(state: char) -> bool {
    matches!(state, 'Z' | 'X' | 'x')
}

/// A path as `readlink` of `/proc/PID/exe` gives it, and whether the file was deleted.
pub(super) fn split_deleted(link: &Path) -> (PathBuf, bool) {
    let bytes = link.as_os_str().as_bytes();
    match bytes.strip_suffix(b" (deleted)") {
        Some(path) => (PathBuf::from(std::ffi::OsStr::from_bytes(path)), true),
        None => (link.to_path_buf(), false),
    }
}

fn cmdline(pid: u32) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    std::fs::File::open(format!("/proc/{pid}/cmdline"))?.take(MAX_CMDLINE).read_to_end(&mut bytes)?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Ok(bytes
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect())
}

/// Refuses programs that are not x86-64 code, by the first bytes of their file.
fn check_machine(pid: u32) -> Result<(), Failure> {
    let mut header = [0; 20];
    let read =
        std::fs::File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) => machine_verdict(pid, &header),
        Err(error) => Err(unreadable(pid, &error)),
    }
}

fn machine_verdict(pid: u32, header: &[u8; 20]) -> Result<(), Failure> {
    const X86_64: [u8; 2] = [62, 0];
    match header {
        [0x7f, b'E', b'L', b'F', 1, ..] => Err(unsupported(format!(
            "process {pid} runs a 32-bit program: only 64-bit programs can be traced"
        ))),
        [0x7f, b'E', b'L', b'F', 2, .., low, high] if [*low, *high] == X86_64 => Ok(()),
        _ => Err(unsupported(format!(
            "process {pid} does not run an x86-64 program: only those can be traced"
        ))),
    }
}

fn unsupported(message: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Unsupported, message)
}

fn unreadable(pid: u32, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::PermissionDenied => Failure::new(
            ExitCode::NoPermission,
            format!("no permission to look into process {pid}: run leaktrace as root"),
        ),
        // ESRCH: the process ended while we read.
        _ if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(3) => Failure::new(
            ExitCode::NoSuchProcess,
            format!("there is no process {pid}: look it up with pgrep or ps"),
        ),
        _ => unsupported(format!(
            "process {pid} could not be read from /proc ({error}): check that /proc is mounted"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A child that ends with its test.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            Self(Command::new("sleep").arg("600").spawn().unwrap())
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn code(pid: u32) -> ExitCode {
        Process::open(pid).unwrap_err().code
    }

    #[test]
    fn a_running_program_is_opened_and_seen_to_end() {
        let mut child = Sleeper::new();
        let pid = child.0.id();
        // Until it has called exec, the child is still a copy of this test.
        let process = loop {
            let process = Process::open(pid).unwrap();
            // The kernel sets the name a little before the arguments.
            if process.comm == "sleep" && process.cmdline.len() == 2 {
                break process;
            }
            std::thread::yield_now();
        };
        assert_eq!(process.cmdline, ["sleep", "600"]);
        assert!(process.exe.as_ref().unwrap().is_absolute() && !process.exe_deleted);
        assert!(process.is_alive());
        let facts = process.facts().unwrap();
        assert_eq!((facts.threads, facts.namespace_pid, facts.other_mount_namespace), (1, pid, false));
        let reborn = Process { start_ticks: process.start_ticks + 1, ..process.clone() };
        assert!(!reborn.is_alive());
        child.0.kill().unwrap();
        while process.is_alive() {
            std::thread::yield_now();
        }
        assert_eq!(code(pid), ExitCode::NoSuchProcess);
        assert!(Process::open(pid).unwrap_err().message.contains("zombie"));
    }

    #[test]
    fn what_cannot_be_traced_is_refused_with_its_own_code() {
        assert_eq!(code(std::process::id()), ExitCode::Usage);
        assert_eq!(code(u32::MAX), ExitCode::NoSuchProcess);
        // kthreadd, where this test runs outside of containers.
        if comm(2).is_ok_and(|name| name == "kthreadd") {
            assert_eq!(code(2), ExitCode::Unsupported);
        }
    }

    #[test]
    fn a_thread_id_leads_to_its_process() {
        let (send, receive) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            send.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = ended.recv();
        });
        let tid = receive.recv().unwrap() as u32;
        let failure = Process::open(tid).unwrap_err();
        drop(end);
        thread.join().unwrap();
        assert_eq!(failure.code, ExitCode::NoSuchProcess);
        assert!(failure.message.contains(&format!("--pid {}", std::process::id())), "{failure}");
    }

    #[test]
    fn machines_are_told_apart_by_their_header() {
        let mut header = [0; 20];
        header[..5].copy_from_slice(b"\x7fELF\x02");
        header[18] = 62;
        assert!(machine_verdict(1, &header).is_ok());
        header[18] = 183;
        assert_eq!(machine_verdict(1, &header).unwrap_err().code, ExitCode::Unsupported);
        header[4] = 1;
        assert!(machine_verdict(1, &header).unwrap_err().message.contains("32-bit"));
        assert!(machine_verdict(1, &[0; 20]).is_err());
    }

    #[test]
    fn permission_and_absence_have_their_own_codes() {
        let of = |number| unreadable(1, &io::Error::from_raw_os_error(number)).code;
        assert_eq!((of(13), of(1), of(2), of(3)), {
            use ExitCode::{NoPermission, NoSuchProcess};
            (NoPermission, NoPermission, NoSuchProcess, NoSuchProcess)
        });
    }

    #[test]
    fn a_deleted_program_file_is_marked() {
        assert_eq!(split_deleted(Path::new("/opt/app (deleted)")), (PathBuf::from("/opt/app"), true));
        assert_eq!(split_deleted(Path::new("/opt/app")), (PathBuf::from("/opt/app"), false));
    }
}
