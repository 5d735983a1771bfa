//! Runs what needs root: directly where we are root, else by sudo.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use crate::command::Cmd;

/// How root is reached on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// We are root.
    Direct,
    /// sudo runs commands without asking for a password.
    Sudo,
    /// sudo is there, but asks for a password.
    SudoWithPassword,
    /// There is no way.
    Unreachable,
}

impl Root {
    /// Finds out how root is reached.
    pub(crate) fn find() -> Self {
        // The kernel gives /proc/self to the effective user.
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            Self::Direct
        } else if Cmd::new("sudo").args(["-n", "true"]).succeeds() {
            Self::Sudo
        } else if crate::command::find_program("sudo").is_some() {
            Self::SudoWithPassword
        } else {
            Self::Unreachable
        }
    }

    /// Whether commands can run as root without anyone at the keyboard.
    pub(crate) fn unattended(self) -> bool {
        matches!(self, Self::Direct | Self::Sudo)
    }

    /// A command that runs `program` as root with our environment.
    pub(crate) fn command(self, program: impl AsRef<std::ffi::OsStr>) -> Cmd {
        match self {
            Self::Direct => Cmd::new(program),
            Self::Sudo => Cmd::new("sudo").args(["-n", "-E"]).arg(program),
            Self::SudoWithPassword | Self::Unreachable => Cmd::new("sudo").arg("-E").arg(program),
        }
    }
}
