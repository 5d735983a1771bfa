//! What is known and told of one subject: when a judgement is worth a record.
//!
//! A subject is judged again and again, and each judgement may differ a little from the one before. What is told must
//! not flap with it: a change counts once it has held for some judgements in a row.

use crate::{
    output::verdict::{SubjectKind, VerdictRecord},
    verdict::{Pattern, Verdict},
};

/// The first thing said of a subject is out after so many judgements that agree: it must not wait for long.
const FIRST_HOLD: u32 = 2;
/// Any later change must hold for so many judgements in a row.
const HOLD: u32 = 3;
/// Good news may wait a little longer: between two steps of a staircase nothing grows.
const HOLD_BOUNDED: u32 = 6;
/// A leak that is merely a suspect at some phase of its cycle is a leak: anything weaker must hold for longer than most
/// cycles that a reader would see flap.
const HOLD_WEAKER: u32 = 15;
/// Suspects that are less sure are not told of a call site that has no verdict yet.
const LEAST_CONFIDENCE: f64 = 0.3;
/// Confidence has moved if it differs by so much from what was told.
const CONFIDENCE_MOVE: f64 = 0.1;
/// The rate of a leak or suspect has moved if it differs by this share from what was told.
const RATE_MOVE: f64 = 0.25;
/// Figures alone are told at most this often, in seconds: an estimate that settles would be told at each step.
const FIGURES_PAUSE_S: f64 = 5.0;

/// What is known and told of one subject.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The verdict and pattern that were told, with the newest figures that belong to them.
    stands: Option<VerdictRecord>,
    /// The figures that went out last.
    told: Told,
    verdict: Streak<Verdict>,
    pattern: Streak<Option<Pattern>>,
    /// Judgements in a row that were worth a first record, and whose figures had moved.
    worthy: u32,
    moved: u32,
    judged_at: f64,
    /// Time of the tick at which a record became due that is not out yet.
    due: Option<f64>,
    /// The last record went out before the names of its stack were known.
    is_unnamed: bool,
}

/// What was told beside verdict and pattern.
#[derive(Clone, Debug, Default)]
struct Told {
    t: f64,
    confidence: f64,
    rate: Option<f64>,
    /// Of a resident set: which part of it grows. Causes of other subjects follow from their pattern.
    cause: Option<String>,
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

    const fn has_held(&self, judgements: u32) -> bool {
        self.length >= judgements
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
        self.judged_at = record.t;
        let is_news = match &self.stands {
            None => {
                self.worthy = if is_worth_a_first(&record) { self.worthy.saturating_add(1) } else { 0 };
                self.worthy >= FIRST_HOLD
            }
            Some(stands) if is_same(stands, &record) => self.figures_moved(&record),
            Some(stands) => self.has_changed(stands, &record),
        };
        if is_news {
            self.due.get_or_insert(record.t);
            self.moved = 0;
        }
        if is_news || self.stands.as_ref().is_some_and(|stands| is_same(stands, &record)) {
            self.stands = Some(record);
        }
    }

    fn has_changed(&self, stands: &VerdictRecord, record: &VerdictRecord) -> bool {
        match record.verdict {
            same if same == stands.verdict => self.pattern.has_held(HOLD),
            worse if worse < stands.verdict => self.verdict.has_held(HOLD),
            Verdict::Bounded => self.verdict.has_held(HOLD_BOUNDED),
            _ => self.verdict.has_held(HOLD_WEAKER),
        }
    }

    fn figures_moved(&mut self, record: &VerdictRecord) -> bool {
        // What waits to go out does so with these figures.
        let told = &self.told;
        let has_moved = told.confidence_moved(record) || told.rate_moved(record) || told.cause_moved(record);
        let moved = self.due.is_none() && has_moved;
        self.moved = if moved { self.moved.saturating_add(1) } else { 0 };
        self.moved >= HOLD && record.t - self.told.t >= FIGURES_PAUSE_S
    }

    /// The verdict that stands, with the newest figures that belong to it.
    pub(super) const fn stands(&self) -> Option<&VerdictRecord> {
        self.stands.as_ref()
    }

    /// Whether nothing was told and there is nothing to tell: a site that is no suspect any more.
    pub(super) const fn is_idle(&self) -> bool {
        self.stands.is_none() && self.worthy == 0
    }

    /// Whether the next judgement may be news: first records and changes must not wait for long.
    pub(super) fn is_unsettled(&self) -> bool {
        let last = (self.verdict.last, self.pattern.last);
        let told = self.stands.as_ref().map(|stands| (Some(stands.verdict), Some(stands.pattern)));
        self.moved > 0 || told != Some(last)
    }

    /// Whether what stands says that something may be wrong.
    pub(super) fn is_alarm(&self) -> bool {
        self.stands.as_ref().is_some_and(|stands| is_alarm(stands.verdict))
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
    pub(super) const fn wants_names(&self) -> bool {
        self.due.is_some() || self.is_unnamed
    }

    /// The record that is due or, where names were missing, is to be told again.
    pub(super) fn tell(&mut self, is_named: bool) -> Option<VerdictRecord> {
        let record = self.stands.clone()?;
        self.due = None;
        self.is_unnamed = !is_named;
        self.told = Told::of(&record);
        Some(record)
    }

    /// When it was judged last.
    pub(super) const fn judged_at(&self) -> f64 {
        self.judged_at
    }
}

/// A call site that is merely in order, or a suspect that is most likely wrong, is not worth a word; a process is, once
/// anything can be said.
pub(super) fn is_worth_a_first(record: &VerdictRecord) -> bool {
    match record.subject.kind {
        SubjectKind::Site => match record.verdict {
            Verdict::Leak => true,
            Verdict::Suspect => record.confidence >= LEAST_CONFIDENCE,
            _ => false,
        },
        _ => record.verdict != Verdict::InsufficientData,
    }
}

fn is_same(a: &VerdictRecord, b: &VerdictRecord) -> bool {
    (a.verdict, a.pattern) == (b.verdict, b.pattern)
}

impl Told {
    fn of(record: &VerdictRecord) -> Self {
        let cause = record.cause.clone().filter(|_| record.subject.kind == SubjectKind::Rss);
        Self { t: record.t, confidence: record.confidence, rate: record.growth_bytes_per_s, cause }
    }

    fn cause_moved(&self, now: &VerdictRecord) -> bool {
        now.subject.kind == SubjectKind::Rss && now.cause != self.cause
    }

    fn confidence_moved(&self, now: &VerdictRecord) -> bool {
        // Figures are rounded to thousandths: half of one keeps 0.1 from being less than 0.1.
        (now.confidence - self.confidence).abs() > CONFIDENCE_MOVE - 5e-4
    }

    /// The rate of what does not grow is noise around nothing.
    fn rate_moved(&self, now: &VerdictRecord) -> bool {
        if !is_alarm(now.verdict) {
            return false;
        }
        match (self.rate, now.growth_bytes_per_s) {
            (Some(told), Some(now)) => (now - told).abs() >= RATE_MOVE * told.abs().max(1.0),
            (told, now) => told.is_some() != now.is_some(),
        }
    }
}
