//! `leaktrace -- COMMAND`: a process that waits until its probes are in place, and then becomes the command.
//!
//! The waiting process is leaktrace itself. Its libc is the one that most commands will use, so the probes placed
//! there hold from the command's first allocation on: the kernel keeps a perf event's probes over exec.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::error::{ExitCode, Failure};

/// Set for the waiting process: the descriptor on which it waits.
const WAIT_ON: &str = "LEAKTRACE_WAIT_ON";

/// A command that is started, but not yet let go.
pub(super) struct Launched {
    /// The command's file.
    program: PathBuf,
    child: Child,
    gate: Option<OwnedFd>,
}

impl Launched {
    /// Starts the waiting process. Its standard output is our standard error where ours carries data.
    pub(super) fn start(command: &[OsString]) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            let name = command.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            Failure::new(ExitCode::Usage, format!("could not start {name}: {error}"))
        };
        let program = find_program(command.first().map(OsString::as_os_str).unwrap_or_default())
            .ok_or_else(|| failed(&"there is no such program; give its path"))?;
        let (wait, gate) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| failed(&error))?;
        rustix::io::fcntl_setfd(&wait, rustix::io::FdFlags::empty()).map_err(|error| failed(&error))?;
        let ours = env::current_exe().map_err(|error| failed(&error))?;
        let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&wait).to_string();
        let child = Command::new(ours)
            .args(command)
            .env(WAIT_ON, number)
            .stdout(Stdio::from(stderr))
            .spawn()
            .map_err(|error| failed(&error))?;
        Ok(Self { program, child, gate: Some(gate) })
    }

    /// Its process id, which the command will keep.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Name and path of the command, as they will be once it runs.
    pub(super) fn names(&self) -> (String, Option<String>) {
        // The kernel keeps 15 bytes.
        let name = self.program.file_name().unwrap_or_default().to_string_lossy();
        let name = name.get(..name.floor_char_boundary(15)).unwrap_or_default().to_owned();
        (name, Some(self.program.to_string_lossy().into_owned()))
    }

    /// Lets it become the command.
    pub(super) fn go(&mut self) {
        if let Some(gate) = self.gate.take() {
            // Where it died meanwhile, the trace will see that.
            let _ = std::fs::File::from(gate).write_all(b"g");
        }
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// The file that exec would take for this name.
fn find_program(name: &OsStr) -> Option<PathBuf> {
    let is_program =
        |path: &PathBuf| rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file();
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(is_program);
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

impl Drop for Launched {
    fn drop(&mut self) {
        // A command that was never let go must not wait for ever: closing the gate ends it.
        if self.gate.take().is_some() {
            let _ = self.child.wait();
        }
    }
}

/// In the waiting process: waits, and becomes the command. Anywhere else: returns.
pub(crate) fn become_command_if_asked() {
    let Some(number) = env::var_os(WAIT_ON) else { return };
    let gate = format!("/proc/self/fd/{}", number.to_string_lossy());
    let mut byte = [0];
    let went = std::fs::File::open(gate).and_then(|mut gate| gate.read_exact(&mut byte));
    let mut arguments = env::args_os().skip(1);
    if let (Ok(()), Some(name)) = (went, arguments.next()) {
        let mut command = Command::new(&name);
        command.args(arguments).env_remove(WAIT_ON);
        let error = command.exec();
        eprintln!("leaktrace: could not start {}: {error}", name.to_string_lossy());
    }
    std::process::exit(127);
}
