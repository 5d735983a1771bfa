//! Bad input and bad luck: one clear line, the documented exit code, no panic.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use leaktrace_tests::{Build, Language, Leaktrace, Victim, leaktrace_binary};

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    ("failures::no_such_process", no_such_process),
    ("failures::kernel_thread", kernel_thread),
    ("failures::thirty_two_bits", thirty_two_bits),
    ("failures::stripped_static_binary", stripped_static),
    ("failures::no_privileges", no_privileges),
    ("failures::target_dies_during_the_trace", target_dies),
    ("failures::target_dies_while_attaching", dies_while_attaching),
    ("failures::full_disk", full_disk),
    ("failures::closed_pipe", closed_pipe),
    ("failures::broken_recordings", broken_recordings),
];

const NO_SUCH_PROCESS: i32 = 3;
const NO_PERMISSION: i32 = 4;
const UNSUPPORTED: i32 = 5;
const OUTPUT_FAILED: i32 = 7;

fn no_such_process() -> Result<()> {
    // Above the kernel's limit for process ids.
    Leaktrace::run(&["--pid", "4194305"])?.expect_failure(NO_SUCH_PROCESS)?;
    let victim = Victim::start(Build::new("early_exit.c", Language::C).path()?, &["at_go"])?;
    let pid = victim.pid().to_string();
    victim.run().err(); // it ends without a line
    Leaktrace::run(&["--pid", &pid])?.expect_failure(NO_SUCH_PROCESS)
}

fn kernel_thread() -> Result<()> {
    Leaktrace::run(&["--pid", "2"])?.expect_failure(UNSUPPORTED)
}

fn thirty_two_bits() -> Result<()> {
    let victim = Victim::start(Build::new("m32.c", Language::C32).path()?, &[])?;
    Leaktrace::run(&["--pid", &victim.pid().to_string()])?.expect_failure(UNSUPPORTED)?;
    ensure!(victim.quit()?.success(), "the target was harmed");
    Ok(())
}

fn stripped_static() -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::Musl).stripped().path()?, &[])?;
    Leaktrace::run(&["--pid", &victim.pid().to_string()])?.expect_failure(UNSUPPORTED)?;
    ensure!(victim.quit()?.success(), "the target was harmed");
    Ok(())
}

fn no_privileges() -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    // A copy where the user nobody can reach it.
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    let copy = directory.path().join("leaktrace");
    fs::copy(leaktrace_binary()?, &copy)?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--"]);
    command.arg(&copy).args(["--pid", &victim.pid().to_string()]).current_dir("/");
    Leaktrace::spawn(&mut command)?.finish()?.expect_failure(NO_PERMISSION)
}

fn target_dies() -> Result<()> {
    for moment in ["at_go", "in_malloc", "by_signal", "by_abort"] {
        let mut victim = Victim::start(Build::new("early_exit.c", Language::C).path()?, &[moment])?;
        let leaktrace = Leaktrace::attach(victim.pid(), &[])?;
        victim.send("go")?;
        let status = victim.finish()?;
        let expected = matches!(moment, "at_go" | "in_malloc").then_some(7);
        ensure!(status.code() == expected, "{moment}: the target ended with {status}");
        let ended = leaktrace.finish()?;
        ended.expect_success().context(moment)?;
        ensure!(ended.summary()?["ended"] == "target_exited", "{moment}: {}", ended.summary()?);
    }
    Ok(())
}

fn dies_while_attaching() -> Result<()> {
    let program = Build::new("early_exit.c", Language::C).path()?;
    for _ in 0..10 {
        let mut victim = Victim::start(&program, &["at_go"])?;
        let leaktrace = Leaktrace::start(&["--pid", &victim.pid().to_string()])?;
        victim.send("go")?;
        victim.finish()?;
        // Whichever of the two was faster: it was traced to its end, or it was gone.
        let ended = leaktrace.finish()?;
        match ended.status.code() {
            Some(0) => drop(ended.summary()?),
            _ => ended.expect_failure(NO_SUCH_PROCESS)?,
        }
    }
    Ok(())
}

fn full_disk() -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let pid = victim.pid().to_string();
    let full = File::options().write(true).open("/dev/full")?;
    Leaktrace::run_into(&["--pid", &pid, "--format", "ndjson"], full)?.expect_failure(OUTPUT_FAILED)?;
    Leaktrace::run(&["--pid", &pid, "--duration", "1s", "--record", "/dev/full"])?
        .expect_failure(OUTPUT_FAILED)?;
    ensure!(victim.quit()?.success(), "the target was harmed");
    Ok(())
}

fn closed_pipe() -> Result<()> {
    let victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    let ended = Leaktrace::run_into(
        &["--pid", &victim.pid().to_string(), "--format", "ndjson"],
        File::from(std::os::fd::OwnedFd::from(writer)),
    )?;
    ended.expect_success()?;
    ensure!(ended.stderr.trim().is_empty(), "a closed pipe is no news: {}", ended.stderr);
    ensure!(victim.quit()?.success(), "the target was harmed");
    Ok(())
}

fn broken_recordings() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("recording");
    let name = path.to_str().context("a path that is no text")?;
    let mut victim = Victim::start(Build::new("ledger.c", Language::C).path()?, &[])?;
    let leaktrace = Leaktrace::attach(victim.pid(), &["--record", name])?;
    victim.go(5_000, 1, 2)?;
    leaktrace.stop()?.expect_success()?;
    Leaktrace::run(&["replay", name])?.expect_success()?;
    let whole = fs::read(&path)?;
    // Cut by a crash: readable up to there, with a last line.
    fs::write(&path, &whole[..whole.len() / 2])?;
    let cut = Leaktrace::run(&["replay", name])?;
    cut.expect_success()?;
    cut.summary()?;
    fs::write(&path, b"this is no recording")?;
    Leaktrace::run(&["replay", name])?.expect_failure(OUTPUT_FAILED)
}
