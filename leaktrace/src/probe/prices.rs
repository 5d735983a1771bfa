//! What a hit of a probe costs the thread that it stops, in nanoseconds.

use super::{
    links::Program,
    placement::CostClass,
    run_times::{PROGRAMS, Runs},
};

/// What hits cost: [measured](super::calibration) when the trace began, else estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prices {
    /// Measured on this machine.
    pub calibrated: bool,
    /// A hit with a record, on the five-byte nop.
    pub nop5_ns: u32,
    /// The same on an instruction that the kernel emulates.
    pub emulated_ns: u32,
    /// The same on one that it single-steps.
    pub single_step_ns: u32,
    /// What an allocation adds by the way back through a return probe, its stack, and a larger record.
    pub return_ns: i32,
    /// What its stack and its record add to a hit on a `ret`.
    pub ret_ns: i32,
    /// Of calls without a record; `None` where they were not measured, as there are none.
    pub passed: Option<Passed>,
    /// What a run of each program took when prices were measured; 0 where that is not known.
    pub run_ns: [u32; PROGRAMS],
    /// By how much a run takes longer on the target: its stacks are deeper, its caches are needed for other things.
    pub longer_ns: [i32; PROGRAMS],
}

/// What calls that are not told add to a hit with a record at their entry. Mostly less than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// A free.
    pub free_ns: i32,
    /// An allocation of a function that calls no other: a session skips its return.
    pub leaf_ns: i32,
    /// An allocation of another function, which is followed to its return.
    pub inner_ns: i32,
}

impl Prices {
    /// Measured on Linux 6.18 in a virtual machine.
    pub const ESTIMATES: Self = Self {
        calibrated: false,
        nop5_ns: 380,
        emulated_ns: 800,
        single_step_ns: 4_300,
        return_ns: 1_200,
        ret_ns: 700,
        passed: None,
        run_ns: [0; PROGRAMS],
        longer_ns: [0; PROGRAMS],
    };

    /// A hit with a record.
    pub const fn hit_ns(&self, class: CostClass) -> u32 {
        match class {
            CostClass::Nop5 => self.nop5_ns,
            CostClass::Emulated => self.emulated_ns,
            CostClass::SingleStep => self.single_step_ns,
        }
    }

    /// By how much a run of a program takes longer on the target.
    pub fn longer_ns(&self, program: Program) -> i32 {
        self.longer_ns.get(program as usize).copied().unwrap_or(0)
    }

    /// Takes over how long the programs ran on the target, where so much of that time (0..1) was on a CPU and not in waiting for
    /// one: a thread may have to wait in the middle of a run, on kernels that can be preempted. On others it does not, and too
    /// much is taken off; but no run is shorter than those of which prices were made. `true` where that makes a difference.
    pub fn ran(&mut self, runs: &Runs, run_share: f64) -> bool {
        let mut differs = false;
        for ((longer, run), measured) in self.longer_ns.iter_mut().zip(runs).zip(self.run_ns) {
            let Some(mean) = run.mean_ns().filter(|_| measured > 0) else { continue };
            let mean = (f64::from(mean) * run_share) as i64;
            let now = i32::try_from((mean - i64::from(measured)).max(0)).unwrap_or(i32::MAX);
            // A twentieth is noise.
            if now.abs_diff(*longer) > measured / 20 {
                *longer = now;
                differs = true;
            }
        }
        differs
    }

    /// Of calls without a record, estimated where that was not measured.
    pub fn passed(&self) -> Passed {
        self.passed.unwrap_or(Passed { free_ns: 0, leaf_ns: 0, inner_ns: 400 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::run_times::Ran;

    #[test]
    fn prices_follow_what_programs_take_on_the_target() {
        let mut prices = Prices::ESTIMATES;
        let ran = |program: Program, ns: u64, count: u64| {
            let mut runs = Runs::default();
            runs[program as usize] = Ran { ns: ns * count, count };
            runs
        };
        assert!(!prices.ran(&ran(Program::FreeEnter, 900, 10_000), 1.0), "not known what it took before");
        prices.run_ns[Program::FreeEnter as usize] = 200;
        assert!(!prices.ran(&ran(Program::FreeEnter, 900, 10), 1.0), "too few");
        assert!(prices.ran(&ran(Program::FreeEnter, 1800, 10_000), 0.5));
        assert_eq!((prices.longer_ns(Program::FreeEnter), prices.longer_ns(Program::NewEnter)), (700, 0));
        assert!(!prices.ran(&ran(Program::FreeEnter, 905, 10_000), 1.0), "noise");
        assert!(prices.ran(&ran(Program::FreeEnter, 150, 10_000), 1.0));
        assert_eq!(prices.longer_ns(Program::FreeEnter), 0, "as long as when prices were measured, at least");
    }
}
