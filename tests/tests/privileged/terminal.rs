//! The live view on a terminal that goes away.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{
    Build, Language, Victim, altered_code, children, is_alive, leaktrace_binary, wait_until,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("terminal::closed_window_ends_the_trace", || closed("exec")),
    // As under a program that keeps signals to itself: only reading and drawing tell.
    ("terminal::closed_window_without_a_signal", || closed("exec setsid --wait")),
];

/// leaktrace in a window of its own, which `script` keeps open.
struct Window {
    script: Child,
    leaktrace: u32,
}

impl Window {
    fn open(how: &str, pid: u32) -> Result<Self> {
        let leaktrace = leaktrace_binary()?;
        let command = format!("{how} '{}' --pid {pid} --max-overhead none", leaktrace.display());
        let mut script = Command::new("script")
            .args(["--quiet", "--flush", "--command", &command, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("script does not start")?;
        let newest =
            || std::iter::successors(Some(script.id()), |pid| children(*pid).into_iter().next()).last();
        let is_leaktrace =
            |pid: u32| std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == leaktrace);
        let found = wait_until("leaktrace in a window", || Ok(newest().is_some_and(is_leaktrace)));
        match found.and_then(|()| newest().context("no leaktrace")) {
            Ok(leaktrace) => Ok(Self { script, leaktrace }),
            Err(error) => {
                script.kill()?;
                script.wait()?;
                Err(error)
            }
        }
    }

    /// The window is closed: whoever held the terminal is gone at once.
    fn close(&mut self) -> Result<()> {
        self.script.kill()?;
        self.script.wait()?;
        Ok(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // What has ended is no news.
        let _ = self.close();
        if let Some(pid) = i32::try_from(self.leaktrace).ok().and_then(Pid::from_raw)
            && is_alive(self.leaktrace)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn closed(how: &str) -> Result<()> {
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let mut window = Window::open(how, victim.pid())?;
    wait_until("probes", || Ok(!altered_code(victim.pid())?.is_empty()))?;
    window.close()?;
    wait_until("the code as it was", || Ok(altered_code(victim.pid())?.is_empty()))?;
    let leaktrace = window.leaktrace;
    wait_until("the end of leaktrace", || Ok(!is_alive(leaktrace)))?;
    victim.go(1_000, 1, 2)?;
    ensure!(victim.quit()?.success(), "the victim found its blocks damaged");
    Ok(())
}
