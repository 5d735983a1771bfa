//! What tracing may take from the target, and what is done to keep it. Pure: times are seconds since attach.
//!
//! Everything is traced as long as it costs no more than the budget. Once it does, samples are taken, in intervals that grow as
//! long as that helps. Where the hits alone cost more than the budget, whatever is told of them, the probes stand for slices of
//! time only, and each slice is paid for before the next: what was spent since then may not exceed the budget of the time since
//! then. So spend that is told late, or a burst, only makes the next slice later.

use leaktrace_common::sampling::MAX_LEVEL;

/// How long the probes stand at a time: so that a slice and the time that pays for it take about a second, in these bounds.
/// To place probes and to take them away costs the target something as well, which nobody counts: so not more often.
const CYCLE_S: f64 = 1.0;
/// See [`CYCLE_S`].
const SLICE_S: (f64, f64) = (0.01, 0.1);
/// Where it takes long to take the probes away (perf links), slices are longer, up to this: else there would be hardly any.
const LONGEST_SLICE_S: f64 = 0.5;
/// Spend is compared with the budget over this time, as long as the probes stay. What may be spent in it can be spent sooner, and
/// then it is over.
const WINDOW_S: f64 = 1.0;
/// It is looked at so often.
const LOOK_S: f64 = 0.05;
/// By then the records of a slice are read.
const SETTLED_S: f64 = 0.01;
/// What was not spent for longer than this is not made up for.
const CREDIT_S: f64 = 0.5;
/// Slices take this part of the budget. The rest is for what is not counted, and taken from the target too where it wants
/// all CPUs: placing the probes, what leaktrace itself uses, and what prices are wrong by.
const BY_SLICES: f64 = 0.8;
/// More is traced again once that would cost less than this part of the budget, for so long: a pause is no end of a load.
const CHEAP: f64 = 0.7;
const PATIENCE_S: f64 = 5.0;
/// Where it was too early, and that shows within this many times what was waited, twice as long is waited the next time, up to
/// the longest.
const TOO_EARLY: f64 = 12.0;
const LONGEST_PATIENCE_S: f64 = 320.0;
/// Samples are taken where the hits alone would leave this part of the budget to them.
const FOR_SAMPLES: f64 = 0.05;
/// Slices are put off by up to this share of a cycle: nothing that the target does at regular times may keep in step.
const JITTER: f64 = 0.3;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Wait,
    /// Samples of this level are to be taken; what it says next is for when [they are](Budget::samples).
    Sample(u8),
    /// The probes have to go.
    Away,
    /// They may come back for a slice.
    Again,
    /// Everything is traced again: the probes may come back and stay.
    Whole,
    /// They stay, but a slice ends and another begins: where slices were, the time since then is made of them.
    Stay,
}

/// What tracing took since attach, and would have taken, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) ns: u64,
    /// If no call had been told.
    pub(super) least_ns: u64,
    /// If all had been.
    pub(super) whole_ns: u64,
}

/// What a time cost, or would have cost, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    seconds: f64,
    least: f64,
    whole: f64,
}

/// Where the probes are, since when, and what had been spent when they were placed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// In place, for as long as it goes; everything is told.
    Whole { since: f64, before: Spent },
    /// In place; samples of this level are about to be taken.
    Turning { level: u8 },
    /// In place, and samples are taken.
    Samples { level: u8, since: f64, before: Spent },
    /// In place, for a slice.
    Slice { since: f64, before: Spent },
    /// Away, after a slice of this length.
    Away { since: f64, slice_s: f64, before: Spent },
}

/// A budget and what is left of it.
#[derive(Debug)]
pub(super) struct Budget {
    /// Share of one CPU.
    share: f64,
    state: State,
    /// The lowest level of samples, where they may be taken.
    lowest: Option<u8>,
    /// The probes may go and come back.
    may_slice: bool,
    /// It was looked at the last time.
    looked: f64,
    /// Since when slices are paid for, and what had been spent by then; `None` before the first.
    paid: Option<(f64, u64)>,
    /// The next slice is later by this.
    put_off: f64,
    /// Since when less would have been enough.
    cheap_since: Option<f64>,
    /// So long that must be, before more is traced.
    patience_s: f64,
    /// When more was traced the last time.
    eased: Option<f64>,
    /// How long the probes took to go.
    going_s: f64,
    /// What a second of the last slice cost, in seconds.
    cost: f64,
    random: u64,
}

/// What may be done to keep a budget.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// Samples may be taken, from this level on: 0 where everything is traced, 1 where samples were asked for.
    pub(super) samples_from: Option<u8>,
    /// The probes may go and come back.
    pub(super) slices: bool,
}

impl Budget {
    /// A budget of this share of one CPU. Everything is traced since the attach, or samples are taken that were asked for.
    pub(super) const fn new(share: f64, means: Means) -> Self {
        let before = Spent { ns: 0, least_ns: 0, whole_ns: 0 };
        let state = match means.samples_from {
            Some(level) if level > 0 => State::Samples { level, since: 0.0, before },
            _ => State::Whole { since: 0.0, before },
        };
        Self {
            share,
            state,
            lowest: means.samples_from,
            may_slice: means.slices,
            looked: 0.0,
            paid: None,
            put_off: 0.0,
            cheap_since: None,
            patience_s: PATIENCE_S,
            eased: None,
            going_s: 0.0,
            cost: 0.0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// The share of one CPU that may be taken.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// Whether the probes stand for slices only.
    pub(super) const fn is_in_slices(&self) -> bool {
        matches!(self.state, State::Slice { .. } | State::Away { .. })
    }

    /// Whether samples are taken, or about to be.
    pub(super) const fn takes_samples(&self) -> bool {
        matches!(self.state, State::Samples { .. } | State::Turning { .. })
    }

    /// Whether samples are to be taken where none were.
    pub(super) const fn is_turning(&self) -> bool {
        matches!(self.state, State::Turning { .. })
    }

    /// How long the probes stand at a time.
    pub(super) fn slice_s(&self) -> f64 {
        let share = self.share * BY_SLICES;
        let paid_for_in = |seconds: f64| seconds * share / self.cost.max(share);
        let usual = paid_for_in(CYCLE_S).clamp(SLICE_S.0, SLICE_S.1);
        // What is paid for while the probes go can be spent at once.
        paid_for_in(self.going_s).clamp(usual, LONGEST_SLICE_S)
    }

    /// The probes stand, from `t` on: until when, if they are to go again.
    pub(super) fn stand(&mut self, t: f64) -> Option<f64> {
        let slice_s = self.slice_s();
        match &mut self.state {
            State::Slice { since, .. } => {
                *since = t;
                Some(t + slice_s)
            }
            _ => None,
        }
    }

    /// The probes have gone.
    pub(super) fn are_gone(&mut self, t: f64) {
        if let State::Away { since, .. } = self.state {
            self.going_s = t - since;
        }
    }

    /// Samples are taken from `t` on.
    pub(super) const fn samples(&mut self, t: f64, spent: Spent) {
        if let State::Turning { level } = self.state {
            self.state = State::Samples { level, since: t, before: spent };
        }
    }

    /// Samples cannot be taken: too much lives. What is to be done instead.
    pub(super) fn no_samples(&mut self, t: f64, spent: Spent) -> Step {
        self.lowest = None;
        self.first_away(t, t, spent, spent)
    }

    /// When it is worth to ask for the next [step](Self::step).
    pub(super) fn next(&self, spent: Spent) -> f64 {
        match self.state {
            State::Whole { .. } | State::Samples { .. } => self.looked + LOOK_S,
            // Whoever turns to samples tells.
            State::Turning { .. } => f64::INFINITY,
            State::Slice { since, .. } => since + self.slice_s(),
            State::Away { since, .. } => (since + SETTLED_S).max(self.is_paid_at(spent.ns) + self.put_off),
        }
    }

    /// What is to be done at `t`, after so much was spent since attach.
    pub(super) fn step(&mut self, t: f64, spent: Spent) -> Step {
        if t < self.next(spent) {
            return Step::Wait;
        }
        self.looked = t;
        match self.state {
            State::Turning { .. } => Step::Wait,
            State::Whole { since, before } => {
                let cost = Cost::between(before, spent);
                if cost.seconds > self.share * WINDOW_S.max(t - since) {
                    self.too_early(t);
                    return self.whole_is_too_much(t, since, before, spent);
                }
                if t - since < WINDOW_S {
                    return Step::Wait;
                }
                self.state = State::Whole { since: t, before: spent };
                if self.paid.is_some() { Step::Stay } else { Step::Wait }
            }
            State::Samples { level, since, before } => self.step_of_samples(t, level, since, before, spent),
            State::Slice { since, before } => self.away(t, since, before),
            State::Away { since, slice_s, before } => {
                self.cost = Cost::between(before, spent).seconds / slice_s.max(1e-3);
                self.put_off = (t - since + slice_s) * JITTER * self.uniform();
                let credit_s = self.going_s.max(CREDIT_S);
                if t - self.is_paid_at(spent.ns) > credit_s {
                    self.paid = Some((t - credit_s, spent.ns));
                }
                if self.is_cheap_for_long(t, self.cost <= CHEAP * self.share) {
                    self.state = State::Whole { since: t, before: spent };
                    return Step::Whole;
                }
                self.state = State::Slice { since: t, before: spent };
                Step::Again
            }
        }
    }

    /// Samples where the hits alone leave enough of the budget to them, else slices.
    fn whole_is_too_much(&mut self, t: f64, since: f64, before: Spent, spent: Spent) -> Step {
        let cost = Cost::between(before, spent);
        // All that cost has been, in a time that may have been short.
        let least = cost.least / (t - since).max(LOOK_S);
        if self.lowest.is_some() && self.paid.is_none() && least <= (1.0 - FOR_SAMPLES) * self.share {
            self.state = State::Turning { level: 1 };
            return Step::Sample(1);
        }
        self.first_away(t, since, before, spent)
    }

    fn step_of_samples(&mut self, t: f64, level: u8, since: f64, before: Spent, spent: Spent) -> Step {
        let cost = Cost::between(before, spent);
        let seconds = t - since;
        if cost.seconds > self.share * WINDOW_S.max(seconds) {
            self.too_early(t);
            let hits_are_little = cost.least <= (1.0 - FOR_SAMPLES) * self.share * seconds;
            if level < MAX_LEVEL && hits_are_little {
                self.state = State::Samples { level: level + 1, since: t, before: spent };
                return Step::Sample(level + 1);
            }
            return self.first_away(t, since, before, spent);
        }
        if seconds < WINDOW_S {
            return Step::Wait;
        }
        self.state = State::Samples { level, since: t, before: spent };
        let Some(lower) = level.checked_sub(1).filter(|lower| Some(*lower) >= self.lowest) else {
            return Step::Wait;
        };
        // Four times as many would be told.
        let more =
            if lower == 0 { cost.whole } else { 4.0f64.mul_add(cost.seconds - cost.least, cost.least) };
        if !self.is_cheap_for_long(t, more <= CHEAP * self.share * seconds) {
            return Step::Wait;
        }
        if lower == 0 {
            self.state = State::Whole { since: t, before: spent };
            return Step::Whole;
        }
        self.state = State::Samples { level: lower, since: t, before: spent };
        Step::Sample(lower)
    }

    /// Slices begin, where they may.
    fn first_away(&mut self, t: f64, since: f64, before: Spent, spent: Spent) -> Step {
        self.paid = Some((t, spent.ns));
        self.cost = Cost::between(before, spent).seconds / (t - since).max(LOOK_S);
        self.away(t, since, before)
    }

    /// The probes go; where they may not, that is for the caller to tell, and nothing else changes.
    fn away(&mut self, t: f64, since: f64, before: Spent) -> Step {
        if self.may_slice {
            self.state = State::Away { since: t, slice_s: t - since, before };
        }
        Step::Away
    }

    /// Whether it has been cheap for as long as is waited for; then the wait begins anew.
    fn is_cheap_for_long(&mut self, t: f64, is_cheap: bool) -> bool {
        if !is_cheap {
            self.cheap_since = None;
            return false;
        }
        let since = *self.cheap_since.get_or_insert(t);
        let is_long = t - since >= self.patience_s;
        if is_long {
            self.cheap_since = None;
            self.eased = Some(t);
        }
        is_long
    }

    /// Less must be traced again: was it soon after more was?
    fn too_early(&mut self, t: f64) {
        self.cheap_since = None;
        if let Some(eased) = self.eased.take() {
            let was_soon = t - eased < TOO_EARLY * self.patience_s;
            self.patience_s =
                if was_soon { (self.patience_s * 2.0).min(LONGEST_PATIENCE_S) } else { PATIENCE_S };
        }
    }

    /// When all that was spent is paid for.
    fn is_paid_at(&self, spent_ns: u64) -> f64 {
        self.paid.map_or(0.0, |(since, before)| {
            since + seconds(before, spent_ns) / (self.share * BY_SLICES).max(1e-6)
        })
    }

    /// Between 0 and 1 (xorshift: it need not be good, only out of step with the target).
    const fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

impl Cost {
    fn between(before: Spent, after: Spent) -> Self {
        Self {
            seconds: seconds(before.ns, after.ns),
            least: seconds(before.least_ns, after.least_ns),
            whole: seconds(before.whole_ns, after.whole_ns),
        }
    }
}

fn seconds(before_ns: u64, after_ns: u64) -> f64 {
    after_ns.saturating_sub(before_ns) as f64 / 1e9
}

#[cfg(test)]
mod tests;
