//! Children of this test program, which filter themselves; the one with a probe needs root.

use leaktrace_common::Loss;

use super::*;
use crate::probe::programs::Settings;

/// Asks for a child that breaks its filter.
const BREAKS_OUT: &str = "LEAKTRACE_TEST_BREAKS_OUT";

/// No test of its own: the other tests start it as their child.
#[test]
fn the_child() {
    if std::env::var_os(BREAKS_OUT).is_some() {
        child::run(|| {
            rustix::process::getppid();
        });
    }
    run_child_if_asked();
}

fn command(asks: &str) -> Command {
    let mut command = Command::new(OURSELVES);
    command.args(["--exact", "probe::trial::tests::the_child", "--nocapture"]).env(asks, "1");
    command
}

fn nothing(_: NonZeroU32) -> io::Result<Vec<Box<dyn Link>>> {
    Ok(Vec::new())
}

#[test]
fn without_a_probe_the_child_lives() {
    assert_eq!(run_child(command(ASKED), &mut nothing).unwrap(), Outcome::Lived);
    assert_eq!(judge(|| command(ASKED), nothing), TrialResult::Survived);
}

#[test]
fn any_other_system_call_is_death() {
    assert_eq!(run_child(command(BREAKS_OUT), &mut nothing).unwrap(), Outcome::Killed(libc::SIGSYS));
    // It dies without a probe as well, so the probe is not to blame.
    assert_eq!(judge(|| command(BREAKS_OUT), nothing), TrialResult::Failed);
}

#[test]
fn death_with_the_probe_alone_is_blamed_on_it() {
    let kill = |pid: NonZeroU32| {
        let pid = rustix::process::Pid::from_raw(pid.get().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        nothing(NonZeroU32::MIN)
    };
    assert_eq!(judge(|| command(ASKED), kill), TrialResult::Died);
}

#[test]
fn a_trial_that_cannot_be_made_has_failed() {
    assert_eq!(judge(|| Command::new("/nonexistent"), nothing), TrialResult::Failed);
    assert_eq!(judge(|| Command::new("true"), nothing), TrialResult::Failed);
    let refuses = |_| Err(io::ErrorKind::PermissionDenied.into());
    assert_eq!(judge(|| command(ASKED), refuses), TrialResult::Failed);
}

#[test]
fn no_child_is_left_behind() {
    let mut pid = 0;
    let refuses = |child: NonZeroU32| {
        pid = child.get();
        Err(io::ErrorKind::PermissionDenied.into())
    };
    assert_eq!(judge(|| command(ASKED), refuses), TrialResult::Failed);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_return_probe_is_tried_for_real() {
    let settings =
        Settings { ring_bytes: 1 << 16, max_stacks: 64, min_size: 0, log_level: 0, pid_namespace: None };
    let mut programs = match Programs::load(&settings) {
        Ok(programs) => programs,
        Err(failure) => return println!("SKIPPED: {failure}"),
    };
    let missed = |programs: &Programs| programs.losses()[Loss::MissedEntry as usize];
    let result = judge(|| command(ASKED), |pid| attach_both(&mut programs, pid));
    println!("a return probe under a strict filter: {result:?}");
    assert_ne!(result, TrialResult::Failed);
    assert_eq!(missed(&programs), 0, "a trial leaves no trace in the counters");
    if result == TrialResult::Survived {
        // Alone, the return probe misses the entry and counts that: so it does fire.
        let alone = |pid| attach(&mut programs, Program::AllocReturn, pid).map(|link| vec![link]);
        assert_eq!(judge(|| command(ASKED), alone), TrialResult::Survived);
        assert_eq!(missed(&programs), 1);
    }
}
