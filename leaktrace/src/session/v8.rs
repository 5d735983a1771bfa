//! V8 in a trace: its heaps as the pipeline keeps them, and what the supervisor reads for them.

mod live;
mod rss;

pub(super) use live::Heaps;

use super::names::Names;
use super::traced::Traced;
use crate::{
    event::Event,
    output::v8_record::{Gc, GcKind, IsolateTick, V8Heap},
    v8::gc::{Collection, Isolate, Isolates, Kind, reason_name},
    verdict::{Evidence, Judgement, SMALL_GROWTH, Verdict},
};
use rss::Parts;

/// Isolates that a tick shows.
const SHOWN: usize = 64;

/// V8 in one process.
#[derive(Debug, Default)]
pub(super) struct V8State {
    /// No allocation is traced.
    is_only: bool,
    /// The process contains V8.
    is_found: bool,
    version: Option<String>,
    isolates: Isolates,
    parts: Parts,
}

impl V8State {
    pub(super) fn new(is_only: bool) -> Self {
        Self { is_only, ..Self::default() }
    }

    pub(super) fn found(&mut self, version: Option<&str>, sizes_only: bool) {
        self.is_found = true;
        self.isolates.sees_sizes_only(sizes_only);
        self.version = version.map(str::to_owned);
    }

    pub(super) fn limit(&mut self, heap: u64, bytes: u64, source: &str) {
        self.isolates.limit(heap, bytes, source);
    }

    /// Whether no allocation is traced.
    pub(super) const fn is_only(&self) -> bool {
        self.is_only
    }

    /// Bytes by which all heaps have grown since they were first seen.
    pub(super) fn grown_bytes(&self) -> u64 {
        self.isolates.grown_bytes()
    }

    /// Bytes by which what V8 holds for all heaps has grown.
    pub(super) fn committed_growth(&self) -> u64 {
        self.isolates.committed_growth()
    }

    /// Bytes by which what mark-compacts leave in all heaps has grown.
    pub(super) fn kept_bytes(&self) -> u64 {
        self.isolates.kept_bytes()
    }

    pub(super) fn unpaired(&self) -> u64 {
        self.isolates.unpaired()
    }

    pub(super) fn isolates(&self) -> impl Iterator<Item = &Isolate> {
        self.isolates.iter()
    }

    /// Takes an event; gives the record of the collection that it completes.
    pub(super) fn apply(&mut self, event: &Event<'_>, pid: u32, start_ns: u64) -> Option<Gc> {
        if matches!(event, Event::Exec { .. }) {
            (self.is_found, self.parts) = (false, Parts::default());
        }
        let seconds = |ns: u64| ns.saturating_sub(start_ns) as f64 / 1e9;
        let Collection { isolate, cycle } = self.isolates.apply(event, &seconds)?;
        Some(Gc {
            t: rounded(seconds(cycle.end_ns), 1e6),
            pid,
            isolate,
            kind: match cycle.kind {
                Kind::Scavenge => GcKind::Scavenge,
                Kind::MarkCompact => GcKind::MarkCompact,
                Kind::MinorMarkSweep => GcKind::MinorMarkSweep,
                Kind::Unknown => GcKind::Unknown,
            },
            reason: cycle.reason.map(|number| reason_name(number, self.version.as_deref())),
            pause_ms: rounded(cycle.end_ns.saturating_sub(cycle.begin_ns) as f64 / 1e6, 1e3),
            before_bytes: cycle.before,
            after_bytes: cycle.after,
            committed_bytes: cycle.committed,
        })
    }

    /// The heaps at time `t`; `None` where there are none.
    pub(super) fn tick(&self, traced: &Traced, t: f64) -> Option<V8Heap> {
        if !self.is_found && self.isolates.is_empty() {
            return None;
        }
        let baselines = self.isolates.iter().filter_map(|isolate| isolate.baseline().last());
        let used = baselines.map(|point| point.value).reduce(u64::saturating_add);
        let mut isolates: Vec<_> = self.isolates.iter().map(|isolate| isolate_tick(isolate, t)).collect();
        if isolates.len() > SHOWN {
            isolates.sort_by_key(|isolate| std::cmp::Reverse(isolate.used_bytes));
            isolates.truncate(SHOWN);
        }
        let rss = traced.usage.as_ref().and_then(|_| self.parts.now().cloned());
        Some(V8Heap { used_bytes: used, isolates, rss })
    }

    /// Says which part of the resident set grows.
    pub(super) fn explain_rss(&self, judgement: &mut Judgement) {
        if !matches!(judgement.verdict, Verdict::Leak | Verdict::Suspect) {
            return;
        }
        if let Some(growth) = self.parts.what_grew() {
            judgement.evidence.insert(0, growth.evidence());
            judgement.cause = Some(growth.cause().to_owned());
            judgement.advice = Some(growth.advice().to_owned());
        }
    }
}

impl Traced {
    /// Takes over, at a tick, where the resident set goes.
    pub(super) fn observe_v8(&mut self, t: f64, names: &Names) {
        if !self.v8.is_found {
            return;
        }
        let Some(usage) = &self.usage else { return };
        let external = rss::external_bytes(&self.tracker, names);
        let live = self.tracker.totals().live_bytes;
        let parts = rss::split(usage, &self.v8.isolates, live, external);
        self.v8.parts.push(t, parts);
    }
}

fn isolate_tick(isolate: &Isolate, t: f64) -> IsolateTick {
    let health = isolate.health(t);
    let (collections, mark_compacts) = isolate.collections();
    IsolateTick {
        isolate: isolate.number(),
        heap: format!("{:#x}", isolate.heap()),
        used_bytes: isolate.used_bytes(),
        baseline_bytes: isolate.baseline().last().map(|point| point.value),
        committed_bytes: isolate.committed_bytes(),
        limit_bytes: isolate.limit().map(|(bytes, _)| bytes),
        limit_source: isolate.limit().map(|(_, source)| source.to_owned()),
        collections,
        mark_compacts,
        pause_s: rounded(isolate.pause_s(), 1e6),
        collections_per_s: rounded(health.collections_per_s, 1e3),
        pause_share: rounded(health.time_share, 1e5),
        allocated_bytes_per_s: health.allocated_per_s.map(|rate| rounded(rate, 1.0)),
        survival: health.survival.map(|share| rounded(share, 1e4)),
    }
}

/// What only a JavaScript heap has to say beside its series.
pub(super) fn explain_heap(judgement: &mut Judgement, isolate: &Isolate) {
    let (collections, mark_compacts) = isolate.collections();
    let says = format!("bytes left after {mark_compacts} mark-compacts, of {collections} collections");
    judgement.evidence.push(Evidence { name: "mark_compacts".to_owned(), value: mark_compacts as f64, says });
    if let Some((limit, _)) = isolate.limit() {
        let share = isolate.used_bytes() as f64 / limit.max(1) as f64;
        let says = format!("{:.0} % of the heap limit are in use", share * 100.0);
        judgement.evidence.push(Evidence { name: "heap_limit_share".to_owned(), value: share, says });
    }
    let is_plain = !judgement.evidence.iter().any(|evidence| evidence.name == SMALL_GROWTH);
    let grows = matches!(judgement.verdict, Verdict::Leak | Verdict::Suspect);
    if is_plain && grows && judgement.cause.is_some() {
        judgement.cause =
            Some("JavaScript objects stay reachable: each full collection leaves more of them".to_owned());
        judgement.advice = Some(
            "compare two heap snapshots taken some minutes apart: what grew, and what holds it, is the leak"
                .to_owned(),
        );
    }
}

/// Finite numbers stay finite.
fn rounded(value: f64, per_unit: f64) -> f64 {
    let rounded = (value * per_unit).round() / per_unit;
    if rounded.is_finite() { rounded } else { value }
}
