//! Keeping a live run within its budget: the probes on allocations go and come back.

use std::{thread::JoinHandle, time::Duration};

use leaktrace_common::sampling::{Control, interval_of};
use tokio::time::Instant;

use super::{
    budget::{Budget, Means, Step},
    input::Fact,
    supervisor::Supervisor,
};
use crate::{
    cli::{CaptureOptions, Only},
    output::{record::Level, text},
    probe::{detach::detach_aside, programs::MAX_SAMPLED_LATER},
};

/// An event thread that is to know that probes go is asked again so soon.
const SOON: Duration = Duration::from_millis(2);
/// Probes that go are looked at again so soon: there is no hurry, as what was spent is paid for only later.
const GOING: Duration = Duration::from_millis(20);
/// When they go after all was seen, the event thread must know before: what it reads until then it takes for seen as a whole.
/// Where it is so far behind, they go all the same, and what it then finds missing counts as lost.
const LONGEST_TELLING: Duration = Duration::from_millis(500);
/// From when on blocks are kept in mind until all calls that do not know are over.
const SETTLING: Duration = Duration::from_millis(20);
/// So many blocks that live may be kept in mind: as much room is left to those that come.
const MOST_HELD: u64 = MAX_SAMPLED_LATER as u64 / 2;
/// Where nothing is said of it, samples begin with one in so many bytes.
const FIRST_INTERVAL: u64 = 64 << 10;

/// What a run may cost, and what is done about it.
pub(super) struct Limited {
    budget: Budget,
    /// The probes may go and come back; else it is only told that the budget is passed.
    may_slice: bool,
    /// The interval of samples of level 1, in bytes.
    base: u64,
    /// Small blocks are left out.
    leaves_small: bool,
    /// What is under way.
    turn: Option<Turn>,
    /// Calls that were not told, as last told.
    passed: Vec<(u8, u64)>,
}

/// From one way of looking to another.
enum Turn {
    /// Probes are to go as soon as the event thread knows, at the latest then.
    ToLeave(Instant),
    /// Probes are going.
    Going(JoinHandle<()>),
    /// Blocks are kept in mind; from then on it may be asked which were there before.
    ToAsk(Instant),
    /// That has been asked.
    Asked,
}

/// From which level on samples may be taken to keep within a budget; `None` where they may not, or there is none.
pub(super) fn samples_from(options: &CaptureOptions) -> Option<u8> {
    let reads_all = options.mmap || options.walks.heap_walk || options.only == Only::V8;
    match options.sample {
        _ if options.max_overhead.0.is_none() || options.mmap => None,
        0 => (!reads_all).then_some(0),
        _ => Some(1),
    }
}

impl Limited {
    /// As the command line asks; `None` without a limit.
    pub(super) fn of(options: &CaptureOptions) -> Option<Self> {
        let may_slice = !options.mmap;
        let means = Means { samples_from: samples_from(options), slices: may_slice };
        let base = if options.sample > 0 { options.sample } else { FIRST_INTERVAL };
        let budget = Budget::new(options.max_overhead.0?, means);
        let leaves_small = options.min_size > 0;
        Some(Self { budget, may_slice, base, leaves_small, turn: None, passed: Vec::new() })
    }

    /// Whether calls are left out at present: as no samples, or as too small.
    const fn passes(&self) -> bool {
        self.leaves_small || self.budget.takes_samples()
    }

    /// Whether every call that is seen is told: no samples are taken.
    pub(super) const fn tells_all(&self) -> bool {
        !self.budget.takes_samples()
    }

    fn interval(&self, level: u8) -> u64 {
        interval_of(self.base, level)
    }
}

impl Supervisor {
    /// When to look after the budget next.
    pub(super) fn budget_due(&self) -> Option<Instant> {
        let limited = self.limited.as_ref()?;
        match &limited.turn {
            Some(Turn::ToLeave(_)) => return Some(Instant::now() + SOON),
            Some(Turn::Going(_)) => return Some(Instant::now() + GOING),
            Some(Turn::ToAsk(at)) => return Some(*at),
            Some(Turn::Asked) => return None,
            None => {}
        }
        let wait = limited.budget.next(self.engine.spent()) - self.clock.t();
        Some(Instant::now() + Duration::try_from_secs_f64(wait.max(0.001)).unwrap_or(Duration::MAX / 4))
    }

    /// Does what the budget asks for.
    pub(super) fn keep_budget(&mut self) {
        if self.is_turning() {
            return;
        }
        if self.limited.as_ref().is_some_and(Limited::passes) {
            self.tell_passed();
        }
        let (t, spent) = (self.clock.t(), self.engine.spent());
        let Some(limited) = &mut self.limited else { return };
        let was_in_slices = limited.budget.is_in_slices();
        match limited.budget.step(t, spent) {
            Step::Wait => {}
            Step::Away if !limited.may_slice => self.tell_only(),
            Step::Away => self.probes_leave(t, was_in_slices),
            Step::Again => self.probes_return(false),
            Step::Whole if was_in_slices => self.probes_return(true),
            Step::Whole => self.all_again(t),
            Step::Stay => {
                self.engine.tell(Fact::LookAway { t });
                self.engine.tell(Fact::LookAgain { t, until: None });
            }
            Step::Sample(level) => self.sample(t, level),
        }
    }

    /// Goes on with what is under way; `false` where there is nothing.
    fn is_turning(&mut self) -> bool {
        let t = self.clock.t();
        let Some(limited) = &mut self.limited else { return false };
        match limited.turn.take() {
            None => return false,
            Some(Turn::ToLeave(latest)) => {
                if self.engine.knows_away() || Instant::now() >= latest {
                    self.probes_go();
                } else {
                    limited.turn = Some(Turn::ToLeave(latest));
                }
            }
            Some(Turn::Going(thread)) if !thread.is_finished() => limited.turn = Some(Turn::Going(thread)),
            Some(Turn::Going(_)) => {
                limited.budget.are_gone(t);
                return false;
            }
            Some(Turn::ToAsk(_)) => {
                self.engine.tell(Fact::Samples { t, base: limited.base, level: 1 });
                self.engine.ask_held(MOST_HELD);
                limited.turn = Some(Turn::Asked);
            }
            Some(Turn::Asked) => limited.turn = Some(Turn::Asked),
        }
        true
    }

    /// What calls cost that are not told is known by counting them only.
    fn tell_passed(&mut self) {
        let calls = self.passed();
        if let Some(limited) = &mut self.limited
            && limited.passed != calls
        {
            limited.passed.clone_from(&calls);
            self.engine.tell(Fact::Passed { calls });
        }
    }

    /// Samples of a level are to be taken from now on. Where all was told until now, the blocks that live are kept in mind
    /// first: their frees are to be told as well.
    fn sample(&mut self, t: f64, level: u8) {
        let Some(limited) = &mut self.limited else { return };
        let programs = &mut self.attacher.programs;
        if limited.budget.is_turning() {
            programs.forget_all_samples();
            match programs.control(Control::REMEMBERED) {
                Ok(()) => limited.turn = Some(Turn::ToAsk(Instant::now() + SETTLING)),
                Err(error) => self.no_samples(&error.to_string()),
            }
            return;
        }
        let interval = limited.interval(level);
        self.engine.tell(Fact::Samples { t, base: limited.base, level });
        if let Err(error) = programs.control(Control::samples(interval, level)) {
            tracing::debug!("samples cannot be taken otherwise: {error}");
        }
    }

    /// The blocks that live are known: from now on samples are taken.
    pub(super) fn samples_begin(&mut self, held: Option<&[(u16, u64)]>) {
        let Some(limited) = self.limited.as_mut().filter(|limited| matches!(limited.turn, Some(Turn::Asked)))
        else {
            return;
        };
        limited.turn = None;
        let Some(held) = held else { return self.no_samples("too many blocks live") };
        let interval = limited.interval(1);
        let programs = &mut self.attacher.programs;
        let begun = programs.remember(held).and_then(|()| programs.control(Control::samples(interval, 1)));
        if let Err(error) = begun {
            return self.no_samples(&error.to_string());
        }
        limited.budget.samples(self.clock.t(), self.engine.spent());
        let share = text::share(limited.budget.share());
        let message = format!(
            "tracing everything takes more than {share} of a CPU (--max-overhead): from now on it takes samples, one in {}; \
             bytes and counts are estimates",
            text::bytes(interval)
        );
        self.notice(self.first_pid(), Level::Warning, "budget_samples", message);
    }

    fn no_samples(&mut self, why: &str) {
        tracing::debug!("no samples can be taken: {why}");
        self.tell_everything();
        let (t, spent) = (self.clock.t(), self.engine.spent());
        if let Some(limited) = &mut self.limited {
            limited.budget.no_samples(t, spent);
        }
        self.probes_leave(t, false);
    }

    /// Of what the probes see, everything is told.
    fn tell_everything(&mut self) {
        if let Err(error) = self.attacher.programs.control(Control::EVERYTHING) {
            tracing::debug!("samples go on: {error}");
        }
    }

    /// No samples any more: everything is told.
    fn all_again(&mut self, t: f64) {
        let base = self.limited.as_ref().map_or(FIRST_INTERVAL, |limited| limited.base);
        self.engine.tell(Fact::Samples { t, base, level: 0 });
        self.tell_everything();
        self.tell_whole();
    }

    fn tell_whole(&self) {
        let message =
            "tracing everything is within the budget again (--max-overhead): nothing is left out from now on";
        self.notice(self.first_pid(), Level::Info, "budget_whole", message.to_owned());
    }

    fn probes_leave(&mut self, t: f64, was_in_slices: bool) {
        self.engine.tell(Fact::LookAway { t });
        let Some(limited) = self.limited.as_mut().filter(|_| !was_in_slices) else { return self.probes_go() };
        limited.turn = Some(Turn::ToLeave(Instant::now() + LONGEST_TELLING));
        let (share, slice) = (text::share(limited.budget.share()), limited.budget.slice_s() * 1e3);
        let message = format!(
            "tracing takes more than {share} of a CPU, whatever is left out (--max-overhead): from now on it looks in slices of \
             {slice:.0} ms; frees between them are not seen, and bytes and counts are estimates"
        );
        self.notice(self.first_pid(), Level::Warning, "budget_slices", message);
    }

    fn probes_go(&mut self) {
        self.under_way.leaving(&self.attacher.programs.losses());
        let links = self.processes.values_mut().flat_map(|traced| traced.attached.look_away()).collect();
        if let Some(limited) = &mut self.limited {
            limited.turn = detach_aside(links).map(Turn::Going);
        }
    }

    fn probes_return(&mut self, for_good: bool) {
        // Within a slice everything is told: it says more than samples do.
        if self.attacher.programs.passes_calls() {
            self.tell_everything();
        }
        self.attacher.programs.forget_calls();
        self.under_way.returning(&self.attacher.programs.losses());
        for traced in self.processes.values_mut() {
            traced.attached.look_again(&mut self.attacher.programs);
        }
        self.under_way.attached();
        let t = self.clock.t();
        let until = self.limited.as_mut().and_then(|limited| limited.budget.stand(t));
        self.engine.tell(Fact::LookAgain { t, until });
        if for_good {
            self.tell_whole();
        }
    }

    /// Once, where nothing can be done about it.
    fn tell_only(&mut self) {
        let Some(limited) = self.limited.take() else { return };
        let share = text::share(limited.budget.share());
        let message = format!(
            "tracing takes more than {share} of a CPU (--max-overhead): with --mmap nothing is left out; \
             --max-overhead none says that this is wanted"
        );
        self.notice(self.first_pid(), Level::Warning, "budget_passed", message);
    }

    fn first_pid(&self) -> u32 {
        self.processes.values().next().map_or(0, |traced| traced.process.pid)
    }
}
