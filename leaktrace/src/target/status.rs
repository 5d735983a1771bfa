//! `/proc/PID/status` as key and value. A command name cannot forge a line: the kernel escapes its line feeds.

use std::io;

/// The lines of one status file.
pub(super) struct Status(String);

impl Status {
    /// Reads the status of a process or thread.
    pub(super) fn read(pid: u32) -> io::Result<Self> {
        let bytes = std::fs::read(format!("/proc/{pid}/status"))?;
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// What stands behind `key:`, without blanks around it.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
    }

    /// The first number behind `key:`.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.split_ascii_whitespace().next()?.parse().ok()
    }

    /// An amount that the kernel gives in kB (of 1024 bytes), in bytes.
    pub(super) fn bytes(&self, key: &str) -> Option<u64> {
        self.number(key)?.checked_mul(1024)
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn values_are_found_by_their_whole_key() {
        let status =
            Status::from_text("Name:\tVmRSS: 1 kB\nVmRSSX:\t5 kB\nVmRSS:\t    2048 kB\nNSpid:\t7\t1\n");
        assert_eq!(status.bytes("VmRSS"), Some(2 << 20));
        assert_eq!(status.get("NSpid"), Some("7\t1"));
        assert_eq!(status.number("Threads"), None);
    }
}
