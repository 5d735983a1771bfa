//! V8's collections: hits of single functions put together to cycles, and what they tell of each isolate's heap.
//!
//! Pure: time is what records say.

mod bare;
mod health;
mod isolate;
mod pairing;
mod reason;
#[cfg(test)]
mod tests;

pub use health::Health;
pub use isolate::Isolate;
pub use reason::reason_name;

use std::collections::BTreeMap;

use crate::{event::Event, target::v8::Hook};
use bare::BareSizes;
use pairing::Pairing;

/// More isolates of one process at a time are not told apart; a server has a few worker threads.
const MAX_ISOLATES: usize = 4096;

/// What was collected, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The young generation, by copying.
    Scavenge,
    /// The whole heap.
    MarkCompact,
    /// The young generation, in place.
    MinorMarkSweep,
    /// Not known: the function that tells was not found.
    Unknown,
}

/// One collection, from its first record to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Address of the heap.
    pub heap: u64,
    /// The thread that collected.
    pub tid: u32,
    /// What was collected.
    pub kind: Kind,
    /// Why, as V8's version numbers it.
    pub reason: Option<u32>,
    /// When the pause began and ended, on the clock of records.
    pub begin_ns: u64,
    /// See `begin_ns`.
    pub end_ns: u64,
    /// Bytes in use before.
    pub before: Option<u64>,
    /// Bytes in use after.
    pub after: Option<u64>,
    /// Bytes that V8 holds, after.
    pub committed: Option<u64>,
}

/// A collection, and the number of its isolate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collection {
    /// Number of the isolate within its process, from 1 on.
    pub isolate: u32,
    /// The collection itself.
    pub cycle: Cycle,
}

/// All isolates of one process.
#[derive(Debug, Default)]
pub struct Isolates {
    pairing: Pairing,
    /// Where only sizes are seen: the names of all other functions were stripped.
    bare: Option<BareSizes>,
    by_heap: BTreeMap<u64, Isolate>,
    /// Limits of heaps whose first collection has not ended.
    early_limits: BTreeMap<u64, (u64, String)>,
    /// So many were numbered.
    numbered: u32,
    /// Collections of isolates that found no room.
    unplaced: u64,
}

impl Isolates {
    /// Takes a record; gives the collection that it completes. `seconds` turns the clock of records into the trace's.
    pub fn apply(&mut self, event: &Event<'_>, seconds: &dyn Fn(u64) -> f64) -> Option<Collection> {
        match *event {
            Event::GcStep { ref header, object, detail, .. } => {
                let hook = Hook::of_function(header.function)?;
                let cycle = self.pairing.step(hook, header.tid, header.time_ns, object, detail)?;
                self.complete(cycle, seconds)
            }
            Event::GcMeasured { ref header, object, value, detail } => {
                let hook = Hook::of_function(header.function)?;
                if hook == Hook::SizeOfObjects
                    && let Some(bare) = &mut self.bare
                {
                    let cycle = bare.measured(header.tid, header.time_ns, object, value, detail);
                    return cycle.and_then(|cycle| self.complete(cycle, seconds));
                }
                let is_within = self.pairing.measured(hook, header.tid, object, value);
                if !is_within && let Some(isolate) = self.by_heap.get_mut(&object) {
                    isolate.measured(hook, value);
                }
                None
            }
            Event::Exit { ref header, .. } => {
                self.exit(header.tid);
                None
            }
            Event::Exec { .. } => {
                let unpaired = self.unpaired();
                // What of the next image can be seen is told before its first record.
                *self = Self { unplaced: unpaired, numbered: self.numbered, ..Self::default() };
                None
            }
            _ => None,
        }
    }

    fn complete(&mut self, cycle: Cycle, seconds: &dyn Fn(u64) -> f64) -> Option<Collection> {
        if !self.by_heap.contains_key(&cycle.heap) {
            if self.by_heap.len() >= MAX_ISOLATES {
                self.unplaced += 1;
                return None;
            }
            self.numbered = self.numbered.saturating_add(1);
            let mut isolate = Isolate::new(self.numbered, cycle.heap, seconds(cycle.begin_ns));
            if let Some((bytes, source)) = self.early_limits.remove(&cycle.heap) {
                isolate.set_limit(bytes, &source);
            }
            self.by_heap.insert(cycle.heap, isolate);
        }
        let isolate = self.by_heap.get_mut(&cycle.heap)?;
        isolate.collected(&cycle, seconds(cycle.end_ns));
        Some(Collection { isolate: isolate.number(), cycle })
    }

    /// A thread ended, and with it the isolate that it ran: its address may become another's.
    fn exit(&mut self, tid: u32) {
        self.pairing.forget(tid);
        if let Some(bare) = &mut self.bare {
            bare.forget(tid);
        }
        self.by_heap.retain(|_, isolate| isolate.tid() != tid);
    }

    /// Only sizes are seen of this process's V8.
    pub fn sees_sizes_only(&mut self, is_bare: bool) {
        self.bare = is_bare.then(BareSizes::default);
    }

    /// The limit of a heap is known, or known to be another one.
    pub fn limit(&mut self, heap: u64, bytes: u64, source: &str) {
        if let Some(isolate) = self.by_heap.get_mut(&heap) {
            isolate.set_limit(bytes, source);
        } else if self.early_limits.len() < MAX_ISOLATES {
            self.early_limits.insert(heap, (bytes, source.to_owned()));
        }
    }

    /// The isolates that collected and whose threads live, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Isolate> {
        let mut all: Vec<_> = self.by_heap.values().collect();
        all.sort_by_key(|isolate| isolate.number());
        all.into_iter()
    }

    /// Collections that could not be put together.
    pub fn unpaired(&self) -> u64 {
        self.pairing.unpaired().saturating_add(self.unplaced)
    }

    /// Bytes in use in all isolates, as last seen.
    pub fn used_bytes(&self) -> u64 {
        self.sum(Isolate::used_bytes)
    }

    /// Bytes by which all isolates have grown, each since it was first seen.
    pub fn grown_bytes(&self) -> u64 {
        self.sum(Isolate::grown_bytes)
    }

    /// Bytes by which what mark-compacts leave in all isolates has grown, each since its first one.
    pub fn kept_bytes(&self) -> u64 {
        self.sum(Isolate::kept_bytes)
    }

    /// Bytes that V8 holds for all isolates; `None` while it is not known of one.
    pub fn committed_bytes(&self) -> Option<u64> {
        let mut all = self.by_heap.values();
        all.try_fold(0_u64, |sum, isolate| Some(sum.saturating_add(isolate.committed_bytes()?)))
    }

    /// Bytes by which that has grown, for each isolate since it was first known.
    pub fn committed_growth(&self) -> u64 {
        self.sum(Isolate::committed_growth)
    }

    fn sum(&self, of: impl Fn(&Isolate) -> u64) -> u64 {
        self.by_heap.values().map(of).fold(0, u64::saturating_add)
    }

    /// Whether no isolate collected yet.
    pub fn is_empty(&self) -> bool {
        self.by_heap.is_empty()
    }
}
