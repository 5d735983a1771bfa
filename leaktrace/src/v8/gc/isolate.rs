//! What is known of one isolate: one JavaScript heap, of the main thread or a worker.

use super::{Cycle, Health, Kind, health::Recent};
use crate::{heap::Series, target::v8::Hook};

/// The limit of a heap, and where it is known from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    source: String,
}

/// One isolate.
#[derive(Debug)]
pub struct Isolate {
    number: u32,
    heap: u64,
    tid: u32,
    used: u64,
    /// Bytes in use when that was first seen.
    first_used: Option<u64>,
    committed: Option<u64>,
    /// The same when it was first seen.
    first_committed: Option<u64>,
    limit: Option<Limit>,
    collections: u64,
    mark_compacts: u64,
    pause_ns: u64,
    recent: Recent,
    /// Bytes in use after each mark-compact: what is left then is reachable.
    after_mark_compact: Series,
}

impl Isolate {
    pub(super) fn new(number: u32, heap: u64, t: f64) -> Self {
        Self {
            number,
            heap,
            tid: 0,
            used: 0,
            first_used: None,
            committed: None,
            first_committed: None,
            limit: None,
            collections: 0,
            mark_compacts: 0,
            pause_ns: 0,
            recent: Recent::since(t),
            after_mark_compact: Series::default(),
        }
    }

    /// Takes a collection that ended at time `t`.
    pub(super) fn collected(&mut self, cycle: &Cycle, t: f64) {
        self.tid = cycle.tid;
        self.recent.push(t, cycle);
        self.collections += 1;
        self.pause_ns = self.pause_ns.saturating_add(cycle.end_ns.saturating_sub(cycle.begin_ns));
        self.use_is(cycle.after.or(cycle.before).unwrap_or(self.used));
        self.holds(cycle.committed);
        if cycle.kind == Kind::MarkCompact {
            self.mark_compacts += 1;
            if let Some(after) = cycle.after {
                self.after_mark_compact.push(t, after);
            }
        }
    }

    /// V8 took a size outside of a collection, for the program.
    pub(super) fn measured(&mut self, hook: Hook, bytes: u64) {
        match hook {
            Hook::SizeOfObjects => self.use_is(bytes),
            Hook::CommittedMemory => self.holds(Some(bytes)),
            _ => {}
        }
    }

    fn holds(&mut self, committed: Option<u64>) {
        self.first_committed = self.first_committed.or(committed);
        self.committed = committed.or(self.committed);
    }

    fn use_is(&mut self, bytes: u64) {
        self.first_used.get_or_insert(bytes);
        self.used = bytes;
    }

    pub(super) fn set_limit(&mut self, bytes: u64, source: &str) {
        self.limit = Some(Limit { bytes, source: source.to_owned() });
    }

    /// Its number within the process, from 1 on, in the order of first collections.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Address of its heap.
    pub const fn heap(&self) -> u64 {
        self.heap
    }

    /// The thread that last collected it.
    pub const fn tid(&self) -> u32 {
        self.tid
    }

    /// Bytes in use when V8 last took the size.
    pub const fn used_bytes(&self) -> u64 {
        self.used
    }

    /// Bytes by which its use has grown since it was first seen.
    pub fn grown_bytes(&self) -> u64 {
        self.used.saturating_sub(self.first_used.unwrap_or(self.used))
    }

    /// Bytes by which what mark-compacts leave has grown: what is used beyond that may be garbage.
    pub fn kept_bytes(&self) -> u64 {
        let (first, last) = (self.after_mark_compact.first(), self.after_mark_compact.last());
        first.zip(last).map_or(0, |(first, last)| last.value.saturating_sub(first.value))
    }

    /// Bytes that V8 holds for it, when V8 last took that size.
    pub const fn committed_bytes(&self) -> Option<u64> {
        self.committed
    }

    /// Bytes by which that has grown since it was first seen.
    pub fn committed_growth(&self) -> u64 {
        let (first, last) = (self.first_committed, self.committed);
        first.zip(last).map_or(0, |(first, last)| last.saturating_sub(first))
    }

    /// The most bytes it may have, and where that is known from.
    pub fn limit(&self) -> Option<(u64, &str)> {
        self.limit.as_ref().map(|limit| (limit.bytes, limit.source.as_str()))
    }

    /// Collections since attach, and how many of them were mark-compacts.
    pub const fn collections(&self) -> (u64, u64) {
        (self.collections, self.mark_compacts)
    }

    /// Seconds in pauses since attach.
    pub fn pause_s(&self) -> f64 {
        self.pause_ns as f64 / 1e9
    }

    /// Rates over the recent past, at time `t`.
    pub fn health(&self, t: f64) -> Health {
        self.recent.health(t)
    }

    /// Bytes in use after mark-compacts over time.
    pub const fn baseline(&self) -> &Series {
        &self.after_mark_compact
    }
}
