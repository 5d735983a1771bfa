//! The child of a trial: filters itself, calls the function that has the probe, and ends.

use std::{
    collections::BTreeMap,
    hint::black_box,
    io::{self, Read as _, Write as _},
};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

/// Set in the environment of a child.
pub(super) const ASKED: &str = "LEAKTRACE_RETURN_PROBE_TRIAL";
/// What a child writes when the probe may come.
pub(super) const READY: &str = "ready for the probe\n";

/// Becomes the child of a trial, and then does not return, if that is what this process was started for.
///
/// `main` calls this first: nothing that it sets up would outlive the filter.
pub fn run_child_if_asked() {
    if std::env::var_os(ASKED).is_some() {
        run(|| ());
    }
}

/// `after` runs under the filter.
pub(super) fn run(after: fn()) -> ! {
    let filter = wait_for_probe().and_then(|()| strict_filter());
    let filtered = filter.and_then(|filter| apply_filter(&filter).map_err(io::Error::other));
    // From here on memory is neither reserved nor given back: the allocator might ask the kernel.
    let call: extern "C" fn(usize) -> usize = black_box(probed);
    let status = if filtered.is_ok() { call(usize::MAX).min(1) } else { 1 };
    after();
    // SAFETY: _exit ends the process at once and touches none of its memory.
    unsafe { libc::_exit(status as i32) }
}

/// The function that has the probe.
#[inline(never)]
pub(super) extern "C" fn probed(size: usize) -> usize {
    // A function without effects would be called only as often as the compiler likes.
    black_box(size);
    0
}

fn wait_for_probe() -> io::Result<()> {
    let mut output = io::stdout();
    output.write_all(READY.as_bytes())?;
    output.flush()?;
    io::stdin().read_exact(&mut [0])
}

/// Kills the process for any system call but those by which it could write and end, and return from a signal.
fn strict_filter() -> io::Result<BpfProgram> {
    let allowed =
        [libc::SYS_write, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn, libc::SYS_futex];
    let rules: BTreeMap<_, _> = allowed.into_iter().map(|call| (call, Vec::new())).collect();
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, machine)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}
