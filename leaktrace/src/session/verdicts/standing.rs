//! What is known and told of one subject: when a judgement is worth a record.
//!
//! A subject is judged again and again, and each judgement may differ a little from the one before. What is told must
//! not flap with it: a change counts once it has held for some judgements in a row.

use crate::{
    output::verdict::{SubjectKind, VerdictRecord},
    verdict::Verdict,
};

/// The first thing said of a subject is out after so many judgements that agree: it must not wait for long.
const FIRST_HOLD: u32 = 2;
/// Any later change must hold for so many judgements in a row.
const HOLD: u32 = 3;
/// Confidence has moved if it differs by so much from what was told.
const CONFIDENCE_MOVE: f64 = 0.1;
/// The rate of a leak or suspect has moved if it differs by this share from what was told.
const RATE_MOVE: f64 = 0.25;
/// Figures alone are told at most this often, in seconds: an estimate that settles would be told at each step.
const FIGURES_PAUSE_S: f64 = 5.0;

/// What is known and told of one subject.
#[derive(Debug, Default)]
pub(super) struct Standing {
    newest: Option<VerdictRecord>,
    told: Option<VerdictRecord>,
    verdict: Streak<Verdict>,
    pattern: Streak<Option<crate::verdict::Pattern>>,
    /// Judgements in a row that were worth a first record, and whose figures had moved.
    worthy: u32,
    moved: u32,
    /// Time of the tick at which a record became due that is not out yet.
    due: Option<f64>,
    /// The last record went out before the names of its stack were known.
    is_unnamed: bool,
}

/// How often in a row something was the same.
#[derive(Debug)]
struct Streak<T> {
    last: Option<T>,
    length: u32,
}

impl<T> Default for Streak<T> {
    fn default() -> Self {
        Self { last: None, length: 0 }
    }
}

impl<T: Copy + PartialEq> Streak<T> {
    fn see(&mut self, value: T) {
        self.length = if self.last == Some(value) { self.length.saturating_add(1) } else { 1 };
        self.last = Some(value);
    }

    fn has_held(&self) -> bool {
        self.length >= HOLD
    }
}

/// Whether a verdict says that something may be wrong.
pub(super) const fn is_alarm(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Leak | Verdict::Suspect)
}

impl Standing {
    /// Takes the next judgement; its record is due from now on if it is worth telling.
    pub(super) fn judged(&mut self, record: VerdictRecord) {
        self.verdict.see(record.verdict);
        self.pattern.see(record.pattern);
        let t = record.t;
        let is_news = match &self.told {
            None => {
                self.worthy = if is_worth_a_first(&record) { self.worthy.saturating_add(1) } else { 0 };
                self.worthy >= FIRST_HOLD
            }
            Some(told) => self.has_changed(told, &record) || self.figures_moved(&record),
        };
        // A record that waits for its names goes out with the newest figures.
        if is_news || (self.due.is_some() && self.is_as_told(&record)) {
            self.told = Some(record.clone());
            self.moved = 0;
        }
        if is_news {
            self.due.get_or_insert(t);
        }
        self.newest = Some(record);
    }

    fn has_changed(&self, told: &VerdictRecord, record: &VerdictRecord) -> bool {
        if record.verdict != told.verdict {
            return self.verdict.has_held();
        }
        record.pattern != told.pattern && self.pattern.has_held()
    }

    fn figures_moved(&mut self, record: &VerdictRecord) -> bool {
        let moved = self.told.as_ref().is_some_and(|told| {
            is_same(told, record) && (confidence_moved(told, record) || rate_moved(told, record))
        });
        self.moved = if moved { self.moved.saturating_add(1) } else { 0 };
        let is_soon = self.told.as_ref().is_some_and(|told| record.t - told.t < FIGURES_PAUSE_S);
        self.moved >= HOLD && !is_soon
    }

    fn is_as_told(&self, record: &VerdictRecord) -> bool {
        self.told.as_ref().is_some_and(|told| is_same(told, record))
    }

    /// The verdict that stands: what was told, with the newest figures where they belong to it.
    pub(super) fn stands(&self) -> Option<&VerdictRecord> {
        let newest = self.newest.as_ref().filter(|newest| self.is_as_told(newest));
        newest.or(self.told.as_ref())
    }

    /// Whether nothing was told and there is nothing to tell: a site that is no suspect any more.
    pub(super) fn is_idle(&self) -> bool {
        self.told.is_none() && self.worthy == 0
    }

    /// Whether it could change at the next judgement: first records and changes must not wait for long.
    pub(super) fn is_unsettled(&self) -> bool {
        let newest = self.newest.as_ref();
        self.told.is_none() || self.moved > 0 || newest.is_some_and(|newest| !self.is_as_told(newest))
    }

    /// Whether what was told says that something may be wrong.
    pub(super) fn is_alarm(&self) -> bool {
        self.told.as_ref().is_some_and(|told| is_alarm(told.verdict))
    }

    /// Whether a record waits to go out.
    pub(super) const fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Whether a record has waited for `patience_s` seconds at time `t`.
    pub(super) fn has_waited(&self, t: f64, patience_s: f64) -> bool {
        self.due.is_some_and(|since| t - since >= patience_s)
    }

    /// Whether names that come now are news.
    pub(super) fn wants_names(&self) -> bool {
        self.due.is_some() || self.is_unnamed
    }

    /// The record that is due or, where names were missing, is to be told again.
    pub(super) fn tell(&mut self, is_named: bool) -> Option<VerdictRecord> {
        self.due = None;
        self.is_unnamed = !is_named;
        self.told.clone()
    }

    /// When it was judged last.
    pub(super) fn judged_at(&self) -> f64 {
        self.newest.as_ref().map_or(0.0, |newest| newest.t)
    }
}

/// A call site that is merely in order is not worth a word; a process is, once anything can be said.
fn is_worth_a_first(record: &VerdictRecord) -> bool {
    match record.subject.kind {
        SubjectKind::Site => is_alarm(record.verdict),
        _ => record.verdict != Verdict::InsufficientData,
    }
}

fn is_same(a: &VerdictRecord, b: &VerdictRecord) -> bool {
    (a.verdict, a.pattern) == (b.verdict, b.pattern)
}

fn confidence_moved(told: &VerdictRecord, now: &VerdictRecord) -> bool {
    // Figures are rounded to thousandths: half of one keeps 0.1 from being less than 0.1.
    (now.confidence - told.confidence).abs() > CONFIDENCE_MOVE - 5e-4
}

/// The rate of what does not grow is noise around nothing.
fn rate_moved(told: &VerdictRecord, now: &VerdictRecord) -> bool {
    if !is_alarm(now.verdict) {
        return false;
    }
    match (told.growth_bytes_per_s, now.growth_bytes_per_s) {
        (Some(told), Some(now)) => (now - told).abs() >= RATE_MOVE * told.abs().max(1.0),
        (told, now) => told.is_some() != now.is_some(),
    }
}
