//! Prices that are right on the target: its stacks are deeper than those of the child in which prices were measured, and its
//! caches are needed for other things. By how much the programs run longer there, the kernel measures now and then.

use std::time::Duration;

use tokio::time::Instant;

use super::{attach::costs, supervisor::Supervisor};
use crate::{
    cli::CaptureOptions,
    probe::{plan::PlannedProbe, prices::Prices, run_times::Measuring},
    target::{preemption, sched::CpuTime},
};

/// It is measured for so long, or longer where little runs. All programs of the machine run some hundredths of a microsecond
/// longer meanwhile.
const SPELL: Duration = Duration::from_secs(1);
/// See [`SPELL`].
const LONGEST_SPELL: Duration = Duration::from_secs(5);
/// Meanwhile it is looked at so often.
const LOOK: Duration = Duration::from_millis(200);
/// Of more processes it is not asked how long they waited for a CPU.
const MOST_PROCESSES: usize = 8;
/// From one to the next.
const PAUSE: Duration = Duration::from_secs(20);

/// What is needed to tell prices anew.
pub(super) struct Repricing {
    /// Prices were measured, and all calls are told: those that are not run shorter.
    may_be: bool,
    /// A run may hold time in which its thread waited.
    may_wait: bool,
    measuring: Option<Spell>,
    next: Instant,
    /// Of each kind one.
    probes: Vec<PlannedProbe>,
}

/// While it is measured.
struct Spell {
    measuring: Measuring,
    since: Instant,
    /// What the threads of the processes had run and waited by then.
    before: CpuTime,
    /// When it is looked at next.
    look: Instant,
}

impl Repricing {
    pub(super) fn new(options: &CaptureOptions, prices: &Prices) -> Self {
        let may_be = prices.calibrated && options.sample == 0 && options.min_size == 0;
        let may_wait = may_be && preemption::is_possible();
        Self { may_be, may_wait, measuring: None, next: Instant::now(), probes: Vec::new() }
    }

    /// Probes were placed.
    pub(super) fn placed(&mut self, probes: &[PlannedProbe]) {
        for probe in probes {
            let is_like = |known: &PlannedProbe| {
                (known.cookie.function, known.program, known.cost)
                    == (probe.cookie.function, probe.program, probe.cost)
                    && known.module == probe.module
            };
            if !self.probes.iter().any(is_like) {
                self.probes.push(probe.clone());
            }
        }
    }
}

impl Supervisor {
    /// Looks how long the programs run, and tells what that makes of the prices.
    pub(super) fn reprice(&mut self) {
        let repricing = &mut self.repricing;
        if !repricing.may_be || self.limited.as_ref().is_some_and(|limited| !limited.tells_all()) {
            repricing.measuring = None;
            return;
        }
        let now = Instant::now();
        let programs = &self.attacher.programs;
        let cpu_time = || {
            let some = self.processes.values().take(MOST_PROCESSES);
            some.map(|traced| CpuTime::of_process(traced.process.pid)).fold(CpuTime::default(), CpuTime::plus)
        };
        let Some(spell) = &mut repricing.measuring else {
            if now >= repricing.next {
                let spell = |measuring| Spell { measuring, since: now, before: cpu_time(), look: now + LOOK };
                repricing.measuring = programs.measure().map(spell);
                repricing.may_be = repricing.measuring.is_some();
            }
            return;
        };
        if now < spell.look {
            return;
        }
        spell.look = now + LOOK;
        let runs = programs.ran(&spell.measuring);
        let run_share = if repricing.may_wait { cpu_time().run_share(spell.before) } else { 1.0 };
        let has_enough = runs.iter().any(|run| run.mean_ns().is_some());
        if now >= spell.since + if has_enough { SPELL } else { LONGEST_SPELL } {
            (repricing.measuring, repricing.next) = (None, now + PAUSE);
        }
        if self.attacher.prices.ran(&runs, run_share) {
            self.engine.tell(costs(&repricing.probes, &self.attacher.prices));
        }
    }
}
