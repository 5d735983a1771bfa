//! What a hit of a probe costs the thread that it stops, in nanoseconds.

use super::{
    links::Program,
    placement::CostClass,
    run_times::{PROGRAMS, Runs},
};

/// A program that takes still longer does not run slowly: it is interrupted.
const MOST_SLOWER: f64 = 1.0;

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
    /// By how much the trap of a hit takes longer on the target.
    pub trap_longer_ns: u32,
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
        trap_longer_ns: 0,
    };

    /// A hit with a record.
    pub const fn hit_ns(&self, class: CostClass) -> u32 {
        match class {
            CostClass::Nop5 => self.nop5_ns,
            CostClass::Emulated => self.emulated_ns,
            CostClass::SingleStep => self.single_step_ns,
        }
    }

    /// By how much a hit takes longer on the target: the trap, and the run of the program.
    pub fn longer_ns(&self, program: Program) -> i64 {
        i64::from(of(&self.longer_ns, program)) + i64::from(self.trap_longer_ns)
    }

    /// Takes over how long the programs ran on the target, where so much of that time (0..1) was on a CPU and not in waiting for
    /// one. No run is shorter than those of which prices were made. `true` where that makes a difference.
    ///
    /// Of traps the kernel does not say how long they take. But the program of a free follows no stack: where that takes longer,
    /// it is because caches and branch predictors are needed for other things, and the trap before it takes longer as well, by
    /// the same factor.
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
        let run_ns = of(&self.run_ns, Program::FreeEnter);
        if run_ns > 0 {
            let longer_ns = of(&self.longer_ns, Program::FreeEnter);
            let slower = (f64::from(longer_ns) / f64::from(run_ns)).min(MOST_SLOWER);
            self.trap_longer_ns = (f64::from(self.emulated_ns.saturating_sub(run_ns)) * slower) as u32;
        }
        differs
    }

    /// Of calls without a record, estimated where that was not measured.
    pub fn passed(&self) -> Passed {
        self.passed.unwrap_or(Passed { free_ns: 0, leaf_ns: 0, inner_ns: 400 })
    }
}

/// What is known of a program; 0 where nothing is.
fn of<T: Copy + Default>(all: &[T; PROGRAMS], program: Program) -> T {
    all.get(program as usize).copied().unwrap_or_default()
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
        assert!(prices.ran(&ran(Program::FreeEnter, 600, 10_000), 0.5));
        let longer = |prices: &Prices| [Program::FreeEnter, Program::NewEnter].map(|of| prices.longer_ns(of));
        assert_eq!(longer(&prices), [400, 300], "half as long again, and so is each trap of 600");
        assert!(!prices.ran(&ran(Program::FreeEnter, 305, 10_000), 1.0), "noise");
        assert!(prices.ran(&ran(Program::FreeEnter, 5000, 10_000), 1.0));
        assert_eq!(longer(&prices), [4800 + 600, 600], "a trap at most twice as long");
        assert!(prices.ran(&ran(Program::FreeEnter, 300, 10_000), 1.0));
        prices.run_ns[Program::AllocSession as usize] = 500;
        assert!(prices.ran(&ran(Program::AllocSession, 700, 10_000), 1.0));
        assert_eq!(
            prices.longer_ns(Program::AllocSession),
            200 + 300,
            "a deeper stack says nothing of traps"
        );
        assert!(prices.ran(&ran(Program::FreeEnter, 150, 10_000), 1.0));
        assert_eq!(longer(&prices), [0, 0], "as long as when prices were measured, at least");
    }
}
