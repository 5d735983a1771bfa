//! Children of this test program, which filter themselves; the one with a probe needs root.

use super::*;
use crate::{
    event::Event,
    probe::programs::{Links, Settings},
};

/// Asks for a child that breaks its filter.
const BREAKS_OUT: &str = "LEAKTRACE_TEST_BREAKS_OUT";

/// Asks for a child whose function returns a block.
const ALLOCATES: &str = "LEAKTRACE_TEST_ALLOCATES";
/// The block, and its size.
const BLOCK: usize = 0x1000;

/// No test of its own: the other tests start it as their child.
#[test]
fn the_child() {
    if std::env::var_os(BREAKS_OUT).is_some() {
        child::run(0, || {
            let _ = rustix::process::getppid();
        });
    }
    if std::env::var_os(ALLOCATES).is_some() {
        child::run(BLOCK, || ());
    }
    run_child_if_asked();
}

fn command(asks: &str) -> Command {
    let mut command = Command::new(OURSELVES);
    command.args(["--exact", "probe::trial::tests::the_child", "--nocapture"]).env(asks, "1");
    command
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of an attach")]
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
    let settings = Settings { max_stacks: 64, ..Settings::bare(1 << 16, Links::Best) };
    let mut programs = match Programs::load(&settings) {
        Ok(programs) => programs,
        Err(failure) => return println!("SKIPPED: {failure}"),
    };
    let (mut rings, _) = programs.take_rings().unwrap();
    let ring = &mut rings.rings[0];
    let result = judge(|| command(ASKED), |pid| attach_both(&mut programs, pid));
    println!("a return probe under a strict filter: {result:?}");
    assert_ne!(result, TrialResult::Failed);
    assert_eq!(programs.losses().iter().sum::<u64>(), 0, "a trial leaves no trace in the counters");
    assert!(ring.next().is_none(), "a trial leaves no record");
    // A function that returns a block leaves the record that only its return can write.
    let result = judge(|| command(ALLOCATES), |pid| attach_both(&mut programs, pid));
    let mut blocks = Vec::new();
    while let Some(record) = ring.next() {
        if let Event::Allocation { address, size, .. } = Event::decode(&record).unwrap() {
            blocks.push((address, size));
        }
    }
    let expected =
        if result == TrialResult::Survived { vec![(BLOCK as u64, BLOCK as u64)] } else { Vec::new() };
    assert_eq!(blocks, expected);
}
