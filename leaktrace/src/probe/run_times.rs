//! How long the programs run, as the kernel measures it while it is asked to.

use std::{
    fs,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use super::links::Program;

/// So many programs there are.
pub const PROGRAMS: usize = Program::ALL.len();

/// Runs of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// How long they took in all, nanoseconds.
    pub ns: u64,
    /// How many they were.
    pub count: u64,
}

impl Ran {
    /// Fewer say little.
    const ENOUGH: u64 = 500;

    /// Nanoseconds of one run; `None` of too few.
    pub fn mean_ns(self) -> Option<u32> {
        (self.count >= Self::ENOUGH).then(|| u32::try_from(self.ns / self.count).ok()).flatten()
    }

    fn since(self, before: Self) -> Self {
        Self { ns: self.ns.saturating_sub(before.ns), count: self.count.saturating_sub(before.count) }
    }
}

/// Runs by program, in the order of [`Program::ALL`].
pub type Runs = [Ran; PROGRAMS];

/// The kernel measures, of all programs of this machine, while this is held.
pub struct Measuring {
    _asked: OwnedFd,
    before: Runs,
}

impl Measuring {
    /// From now on, where the programs have run like this; `None` where we may not ask (it takes CAP_SYS_ADMIN).
    pub(super) fn begin(before: Runs) -> Option<Self> {
        let asked = aya::sys::enable_stats(aya::sys::Stats::RunTime);
        let asked = asked.inspect_err(|error| tracing::debug!("run times are not measured: {error}")).ok()?;
        Some(Self { _asked: asked, before })
    }

    /// What ran since then.
    pub(super) fn since(&self, now: Runs) -> Runs {
        let mut runs = now;
        for (run, before) in runs.iter_mut().zip(self.before) {
            *run = run.since(before);
        }
        runs
    }
}

/// The runs of a program so far, as the kernel tells them of its file.
pub(super) fn of_program(fd: BorrowedFd<'_>) -> Option<Ran> {
    parse(&fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).ok()?)
}

fn parse(fdinfo: &str) -> Option<Ran> {
    let field = |name: &str| {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line?.trim().parse().ok()
    };
    Some(Ran { ns: field("run_time_ns")?, count: field("run_cnt")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_and_told_apart() {
        let text = "pos:\t0\nprog_type:\t2\nprog_id:\t77\nrun_time_ns:\t1500000\nrun_cnt:\t1000\nverified_insns:\t9\n";
        let ran = parse(text).unwrap();
        assert_eq!((ran, ran.mean_ns()), (Ran { ns: 1_500_000, count: 1000 }, Some(1500)));
        assert_eq!(parse("pos:\t0\nrun_cnt:\t1000\n"), None);
        let since = ran.since(Ran { ns: 100_000, count: 600 });
        assert_eq!((since, since.mean_ns()), (Ran { ns: 1_400_000, count: 400 }, None));
    }
}
