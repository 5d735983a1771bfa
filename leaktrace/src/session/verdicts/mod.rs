//! Verdicts of a trace: who is judged at a tick, and what of it is told. Pure, as the whole pipeline.
//!
//! Judging costs far more than counting, so each pass over the processes judges only so many subjects: every process
//! in turn, the call sites with a verdict in turn, and those that grow most urgently among the others.

mod heir;
mod judging;
mod pace;
mod standing;
mod told;

#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap};

use super::names::Names;
use super::traced::Traced;
use crate::{
    output::{
        leak::worst_first,
        record::VerdictCounts,
        verdict::{SubjectKind, VerdictRecord},
    },
    verdict::{Pattern, Verdict},
};

pub(super) use judging::Moment;

use judging::Judging;
use standing::{Standing, is_alarm, is_worth_a_first};

/// Subjects judged in a pass: at the default interval less than a twentieth of a core, by `cargo xtask bench --filter
/// verdicts`.
const SUBJECTS_A_PASS: usize = 48;
/// However many processes there are, one that is looked at has so many of its sites judged.
const FEWEST_SITES: usize = 4;
/// Passes are at least so far apart, in seconds: shorter intervals make ticks, not evidence. A little less than the
/// default interval, whose ticks come a little early or late.
const PASS_EVERY_S: f64 = 0.9;
/// A record of a call site waits so long for the names of its stack, in seconds.
const NAMES_PATIENCE_S: f64 = 2.0;
/// Subjects with a verdict that are remembered, some kilobytes each.
const MAX_SUBJECTS: usize = 8192;
/// A jump is large from so many bytes on, or from one in so many of the resident set.
const LARGE_BYTES: u64 = 1 << 20;
const LARGE_SHARE: u64 = 50;
/// Growth that has brought less is not told of yet: a server under load has hundreds of call sites whose few hundred
/// bytes go up and down by some bytes a second. A leak of 10 B/s is told after half an hour.
const SMALLEST_BYTES: u64 = 16 << 10;
/// Live samples of a site of JavaScript below which nothing is said of it.
const FEWEST_SAMPLES: u64 = 8;
/// Sites whose names are asked for at once.
const NAMES_AT_ONCE: usize = 64;

/// A subject within the trace. Sites 0 and 4294967295 are each process's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    process: u16,
    kind: SubjectKind,
    /// Id of a site or an isolate, else 0.
    id: u32,
}

/// What stands of all subjects of a trace.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    standings: BTreeMap<Key, Standing>,
    /// The next pass begins with this process.
    next: u16,
    last_pass: Option<f64>,
    /// There was a subject that found no room.
    is_full: bool,
}

impl Verdicts {
    /// Judges who is due at this tick, and gives what is to be told.
    pub(super) fn tick(
        &mut self,
        moment: Moment,
        processes: &mut BTreeMap<u16, Traced>,
        names: &Names,
    ) -> Vec<VerdictRecord> {
        // Time that goes back is no time: a recording may hold any.
        let is_due = self.last_pass.is_none_or(|last| !((0.0..PASS_EVERY_S).contains(&(moment.t - last))));
        if is_due {
            self.last_pass = Some(moment.t);
            self.pass(moment, processes);
        }
        self.take(processes, names, |_, standing, is_named| {
            is_named || standing.has_waited(moment.t, NAMES_PATIENCE_S)
        })
    }

    fn pass(&mut self, moment: Moment, processes: &mut BTreeMap<u16, Traced>) {
        let mut order: Vec<u16> =
            processes.iter().filter(|(_, traced)| !traced.gone).map(|(&index, _)| index).collect();
        let behind = order.partition_point(|&index| index < self.next);
        order.rotate_left(behind);
        let share = (SUBJECTS_A_PASS / order.len().max(1)).max(FEWEST_SITES);
        let mut left = SUBJECTS_A_PASS;
        for index in order {
            self.next = index;
            let Some(traced) = processes.get_mut(&index).filter(|_| left > 0) else { return };
            let judged = self.judge(index, traced, moment, share);
            left = left.saturating_sub(judged);
        }
        // All had their turn.
        self.next = 0;
    }

    /// Judges a process and at most `most` of its sites; gives how many subjects these were.
    fn judge(&mut self, process: u16, traced: &mut Traced, moment: Moment, most: usize) -> usize {
        let sites = self.sites_due(process, traced, moment.t, most);
        let judging = Judging::new(traced, moment, self.leak_of(process));
        let mut whole = vec![judging.process(), judging.rss()];
        whole.extend(judging.v8_heaps().into_iter().map(Some));
        let records: Vec<_> = sites.iter().filter_map(|&id| judging.site(id)).collect();
        let judged = whole.iter().flatten().count() + records.len();
        let resident_bytes = traced.usage.as_ref().map_or(0, |usage| usage.rss_bytes);
        for record in whole.into_iter().flatten().chain(records) {
            self.judged(process, record, resident_bytes);
        }
        for id in sites {
            traced.tracker.judged(id, moment.t);
        }
        judged
    }

    /// Sites that have a verdict or are about to, those that may change and were judged longest ago first; then the
    /// most urgent others. Neither keeps out the other.
    fn sites_due(&self, process: u16, traced: &mut Traced, t: f64, most: usize) -> Vec<u32> {
        let first = Key { process, kind: SubjectKind::Site, id: 0 };
        let last = Key { id: u32::MAX, ..first };
        let mut known: Vec<_> = self.standings.range(first..=last).collect();
        known.sort_by(|(_, a), (_, b)| {
            let by_time = a.judged_at().total_cmp(&b.judged_at());
            Reverse(a.is_unsettled()).cmp(&Reverse(b.is_unsettled())).then(by_time)
        });
        let known: Vec<u32> = known.into_iter().map(|(key, _)| key.id).collect();
        let urgent: Vec<u32> = traced.tracker.candidates(t, most);
        let others = urgent.into_iter().filter(|id| !known.contains(id));
        let mut due: Vec<u32> = known.iter().take(most / 2).copied().collect();
        due.extend(others.take(most - due.len()));
        let spare = most.saturating_sub(due.len());
        due.extend(known.iter().skip(most / 2).take(spare));
        due
    }

    fn judged(&mut self, process: u16, record: VerdictRecord, resident_bytes: u64) {
        let kind = record.subject.kind;
        let id = match kind {
            SubjectKind::Site | SubjectKind::V8Heap => {
                record.subject.id.and_then(|id| u32::try_from(id).ok()).unwrap_or_default()
            }
            _ => 0,
        };
        let key = Key { process, kind, id };
        if let Some(standing) = self.standings.get_mut(&key) {
            standing.judged(record);
            if kind == SubjectKind::Site && standing.is_idle() {
                self.standings.remove(&key);
            }
            return;
        }
        if kind == SubjectKind::Site && !(is_worth_a_first(&record) && is_large(&record, resident_bytes)) {
            return;
        }
        if self.standings.len() >= MAX_SUBJECTS && !self.make_room() {
            self.is_full = true;
            return;
        }
        self.standings.entry(key).or_default().judged(record);
    }

    /// Forgets the call site that is in order and was judged longest ago, if there is one.
    fn make_room(&mut self) -> bool {
        let settled = self.standings.iter().filter(|(key, standing)| {
            key.kind == SubjectKind::Site && !standing.is_alarm() && !standing.is_unsettled()
        });
        let oldest = settled.min_by(|(_, a), (_, b)| a.judged_at().total_cmp(&b.judged_at()));
        let oldest = oldest.map(|(&key, _)| key);
        oldest.is_some_and(|key| self.standings.remove(&key).is_some())
    }

    /// Whether there was a subject that found no room.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Records that are due, where `is_ready` says so of a key and standing whose stack is named, or not.
    fn take(
        &mut self,
        processes: &BTreeMap<u16, Traced>,
        names: &Names,
        is_ready: impl Fn(&Key, &Standing, bool) -> bool,
    ) -> Vec<VerdictRecord> {
        let mut out = Vec::new();
        for (key, standing) in self.standings.iter_mut().filter(|(_, standing)| standing.is_due()) {
            let traced = processes.get(&key.process);
            let is_named = key.kind != SubjectKind::Site || told::is_named(key.id, traced, names);
            if is_ready(key, standing, is_named) {
                let record = standing.tell(is_named);
                out.extend(record.map(|record| told::with_stack(record, traced, names)));
            }
        }
        out
    }

    /// The names of a site became known: what waited for them, or went out without them.
    pub(super) fn named(
        &mut self,
        site: u32,
        processes: &BTreeMap<u16, Traced>,
        names: &Names,
    ) -> Option<VerdictRecord> {
        let mut standings = self.standings.iter_mut();
        let (key, standing) = standings.find(|(key, standing)| {
            key.kind == SubjectKind::Site && key.id == site && standing.wants_names()
        })?;
        let record = standing.tell(true)?;
        Some(told::with_stack(record, processes.get(&key.process), names))
    }

    /// Sites with a verdict, or about to get one, whose names are missing, with the index of their process.
    pub(super) fn unnamed(&self, processes: &BTreeMap<u16, Traced>, names: &Names) -> Vec<(u16, u32)> {
        let sites = self.standings.keys().filter(|key| key.kind == SubjectKind::Site);
        let unnamed = sites.filter(|key| !told::is_named(key.id, processes.get(&key.process), names));
        unnamed.map(|key| (key.process, key.id)).take(NAMES_AT_ONCE).collect()
    }

    /// The verdicts of all subjects as they stand, by process index and kind; stacks are not in them.
    fn stands(&self) -> impl Iterator<Item = (&Key, &VerdictRecord)> {
        self.standings.iter().filter_map(|(key, standing)| Some((key, standing.stands()?)))
    }

    /// The leaks and suspects that stand, the weightiest first, with their stacks.
    pub(super) fn alarms(&self, processes: &BTreeMap<u16, Traced>, names: &Names) -> Vec<VerdictRecord> {
        let alarms = self.stands().filter(|(_, record)| is_alarm(record.verdict));
        let with_stack = |(key, record): (&Key, &VerdictRecord)| {
            told::with_stack(record.clone(), processes.get(&key.process), names)
        };
        let mut alarms: Vec<_> = alarms.map(with_stack).collect();
        alarms.sort_by(worst_first);
        alarms
    }

    /// How many subjects have which verdict.
    pub(super) fn counts(&self) -> VerdictCounts {
        let mut counts = VerdictCounts::default();
        for (_, record) in self.stands() {
            match record.verdict {
                Verdict::Leak => counts.leak += 1,
                Verdict::Suspect => counts.suspect += 1,
                Verdict::Bounded => counts.bounded += 1,
                Verdict::InsufficientData => {}
            }
        }
        counts
    }

    /// How sure it is that a process is a leak, where that is told.
    fn leak_of(&self, process: u16) -> Option<f64> {
        let stands = self.standings.get(&Key { process, kind: SubjectKind::Process, id: 0 })?.stands()?;
        (stands.verdict == Verdict::Leak).then_some(stands.confidence)
    }

    /// The verdict that stands on a call site.
    pub(super) fn on_site(&self, process: u16, id: u32) -> Option<&VerdictRecord> {
        self.standings.get(&Key { process, kind: SubjectKind::Site, id })?.stands()
    }

    /// The process replaced its image: what stood was about the old one.
    pub(super) fn exec(&mut self, process: u16) {
        self.standings.retain(|key, _| key.process != process);
    }

    /// The process is gone: nothing of it changes any more. Alarms stand; the rest is told and forgotten.
    pub(super) fn gone(
        &mut self,
        process: u16,
        processes: &BTreeMap<u16, Traced>,
        names: &Names,
    ) -> Vec<VerdictRecord> {
        let out = self.take(processes, names, |key, _, _| key.process == process);
        self.standings.retain(|key, standing| key.process != process || standing.is_alarm());
        out
    }

    /// The trace ends: what still waits for names goes out without.
    pub(super) fn end(&mut self, processes: &BTreeMap<u16, Traced>, names: &Names) -> Vec<VerdictRecord> {
        self.take(processes, names, |_, _, _| true)
    }
}

/// A jump of a call site that stays is news if it is large, as itself or for the process: every program keeps small
/// blocks from somewhere. Growth is news however slow, once it has brought something.
fn is_large(record: &VerdictRecord, resident_bytes: u64) -> bool {
    // A few samples that come one after the other are a line to the eye, and chance.
    if record.estimated && record.live_count.unwrap_or(0) < FEWEST_SAMPLES {
        return false;
    }
    let smallest = match record.pattern {
        Some(Pattern::Spike) => LARGE_BYTES.min(resident_bytes / LARGE_SHARE),
        _ => SMALLEST_BYTES,
    };
    record.live_bytes >= smallest
}
