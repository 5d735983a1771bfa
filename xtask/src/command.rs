//! Runs other programs, and says which one failed and how.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A program about to be run.
#[derive(Debug)]
pub(crate) struct Cmd(Command);

impl Cmd {
    /// A command without arguments.
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self(Command::new(program))
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.0.args(arguments);
        self
    }

    /// Adds one argument.
    pub(crate) fn arg(self, argument: impl AsRef<OsStr>) -> Self {
        self.args([argument])
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Takes a variable out of its environment.
    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.0.env_remove(name);
        self
    }

    /// Sets its working directory.
    pub(crate) fn dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.0.current_dir(directory);
        self
    }

    /// The command for callers that need more than this wrapper offers.
    pub(crate) fn into_std(self) -> Command {
        self.0
    }

    /// The command as one would type it.
    pub(crate) fn describe(&self) -> String {
        let mut text = self.0.get_program().to_string_lossy().into_owned();
        for argument in self.0.get_args() {
            let argument = argument.to_string_lossy();
            let quoted = argument.contains([' ', '\n', '\x1f']);
            let _ = if quoted { write!(text, " '{argument}'") } else { write!(text, " {argument}") };
        }
        text
    }

    /// Runs it with our own output streams; any exit status but 0 is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let text = self.describe();
        let status =
            self.0.stdin(Stdio::null()).status().with_context(|| format!("cannot start `{text}`"))?;
        if !status.success() {
            bail!("`{text}` failed with {status}");
        }
        Ok(())
    }

    /// Runs it and returns what it printed; any exit status but 0 is an error that carries its messages.
    pub(crate) fn read(mut self) -> Result<String> {
        let text = self.describe();
        let output =
            self.0.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{text}`"))?;
        if !output.status.success() {
            let messages = String::from_utf8_lossy(&output.stderr);
            bail!("`{text}` failed with {}: {}", output.status, messages.trim());
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{text}` printed something else than text"))
    }

    /// Runs it with our own stream for messages, and returns what it printed to the other one.
    pub(crate) fn read_stdout(mut self) -> Result<String> {
        let text = self.describe();
        self.0.stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = self.0.output().with_context(|| format!("cannot start `{text}`"))?;
        if !output.status.success() {
            bail!("`{text}` failed with {}", output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("`{text}` printed something else than text"))
    }

    /// Runs it silently; true if it could be started and ended well.
    pub(crate) fn succeeds(mut self) -> bool {
        let status = self.0.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Runs it, passes its output on line by line, and gives each line to `see`. Returns whether it ended well.
    pub(crate) fn watch(mut self, mut see: impl FnMut(&str)) -> Result<bool> {
        let text = self.describe();
        let mut child = self
            .0
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{text}`"))?;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.with_context(|| format!("cannot read what `{text}` prints"))?;
                let line = String::from_utf8_lossy(&line);
                println!("{line}");
                see(&line);
            }
        }
        Ok(child.wait().with_context(|| format!("cannot wait for `{text}`"))?.success())
    }
}

/// Where a program is found on PATH, if it is.
pub(crate) fn find_program(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_status() {
        let error = Cmd::new("sh").args(["-c", "echo oops >&2; exit 3"]).read().unwrap_err().to_string();
        assert!(error.contains("sh -c") && error.contains('3') && error.contains("oops"), "{error}");
        let error = Cmd::new("sh").args(["-c", "exit 4"]).run().unwrap_err().to_string();
        assert!(error.contains("exit status: 4"), "{error}");
        let error = Cmd::new("/nonexistent/program").run().unwrap_err().to_string();
        assert!(error.contains("cannot start `/nonexistent/program`"), "{error}");
    }

    #[test]
    fn watching_sees_every_line_and_the_status() {
        let mut lines = Vec::new();
        let ended_well =
            Cmd::new("sh").args(["-c", "echo a; echo b; exit 1"]).watch(|line| lines.push(line.to_owned()));
        assert!(!ended_well.unwrap());
        assert_eq!(lines, ["a", "b"]);
    }
}
