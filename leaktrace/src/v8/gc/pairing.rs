//! From hits of single functions to cycles, by thread.
//!
//! A collection is: `CollectGarbage` (heap, reason), the pause begins, the safepoint begins and V8 takes the size before,
//! the collector runs, the safepoint ends and V8 takes the size after, the pause ends. V8 takes sizes at other moments,
//! too; only the first one behind each end of the safepoint counts. A thread runs one isolate at a time.
//!
//! Records may be missing, because tracing began in the middle or the ring was full. Whatever does not give a whole
//! cycle is counted, unless it is the tail of one that began before its thread was ever seen.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Cycle, Kind};
use crate::target::v8::Hook;

/// Threads that are followed at a time.
const MAX_THREADS: usize = 4096;

/// Where within its safepoint a collection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// It has not begun, or the size before was taken.
    #[default]
    Elsewhere,
    /// The next size is that before.
    Begun,
    /// The next size is that after.
    Ended,
}

/// A collection under way.
#[derive(Clone, Copy, Debug, Default)]
struct Open {
    heap: Option<u64>,
    reason: Option<u32>,
    begin_ns: Option<u64>,
    kind: Option<Kind>,
    phase: Phase,
    before: Option<u64>,
    after: Option<u64>,
    committed: Option<u64>,
    /// Pauses within this pause.
    inner: u32,
}

/// Collections under way, by thread.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    open: FxHashMap<u32, Open>,
    /// Threads that were seen to begin something.
    seen: FxHashSet<u32>,
    unpaired: u64,
}

impl Pairing {
    /// Takes a step of a thread's collection; gives the cycle that it ends.
    pub(super) fn step(
        &mut self,
        hook: Hook,
        tid: u32,
        time_ns: u64,
        object: u64,
        detail: u64,
    ) -> Option<Cycle> {
        match hook {
            Hook::Collect => {
                let open = Open { heap: Some(object), reason: Some(detail as u32), ..Open::default() };
                self.begin(tid, open);
            }
            Hook::PauseBegin => {
                if let Some(open) = self.open.get_mut(&tid) {
                    match open.begin_ns {
                        None => open.begin_ns = Some(time_ns),
                        Some(_) => open.inner += 1,
                    }
                } else {
                    self.begin(tid, Open { begin_ns: Some(time_ns), ..Open::default() });
                }
            }
            Hook::SafepointBegin => self.phase(tid, Phase::Begun),
            Hook::SafepointEnd => self.phase(tid, Phase::Ended),
            Hook::Scavenge => self.kind(tid, object, Kind::Scavenge),
            Hook::MarkCompact => self.kind(tid, object, Kind::MarkCompact),
            Hook::MinorMarkSweep => self.kind(tid, object, Kind::MinorMarkSweep),
            Hook::PauseEnd => return self.end(tid, time_ns),
            Hook::SizeOfObjects | Hook::CommittedMemory => {}
        }
        None
    }

    fn begin(&mut self, tid: u32, open: Open) {
        if self.open.len() >= MAX_THREADS && !self.open.contains_key(&tid) {
            self.unpaired += 1;
            return;
        }
        if self.seen.len() >= MAX_THREADS {
            self.seen.clear();
        }
        self.seen.insert(tid);
        // A call that decided not to collect has no pause, and leaves nothing behind.
        if let Some(left) = self.open.insert(tid, open)
            && left.begin_ns.is_some()
        {
            self.unpaired += 1;
        }
    }

    fn phase(&mut self, tid: u32, phase: Phase) {
        if let Some(open) = self.open.get_mut(&tid) {
            open.phase = phase;
        }
    }

    fn kind(&mut self, tid: u32, heap: u64, kind: Kind) {
        if let Some(open) = self.open.get_mut(&tid) {
            open.kind = Some(kind);
            open.heap.get_or_insert(heap);
        }
    }

    /// Takes a size; says whether it belongs to a collection of the thread.
    pub(super) fn measured(&mut self, hook: Hook, tid: u32, heap: u64, bytes: u64) -> bool {
        let Some(open) = self.open.get_mut(&tid).filter(|open| open.begin_ns.is_some()) else { return false };
        if *open.heap.get_or_insert(heap) != heap {
            return false;
        }
        match (hook, open.phase) {
            (Hook::CommittedMemory, _) => open.committed = Some(bytes),
            (Hook::SizeOfObjects, Phase::Begun) => open.before = Some(bytes),
            (Hook::SizeOfObjects, Phase::Ended) => open.after = Some(bytes),
            _ => return true,
        }
        if hook == Hook::SizeOfObjects {
            open.phase = Phase::Elsewhere;
        }
        true
    }

    fn end(&mut self, tid: u32, time_ns: u64) -> Option<Cycle> {
        let Some(open) = self.open.get_mut(&tid) else {
            self.unpaired += u64::from(self.seen.contains(&tid));
            return None;
        };
        if open.inner > 0 {
            open.inner -= 1;
            return None;
        }
        let open = self.open.remove(&tid)?;
        let cycle = || {
            let (heap, begin_ns) = (open.heap?, open.begin_ns?);
            (open.before.is_some() || open.after.is_some()).then_some(Cycle {
                heap,
                tid,
                kind: open.kind.unwrap_or(Kind::Unknown),
                reason: open.reason,
                begin_ns,
                end_ns: time_ns.max(begin_ns),
                before: open.before,
                after: open.after,
                committed: open.committed,
            })
        };
        let cycle = cycle();
        self.unpaired += u64::from(cycle.is_none());
        cycle
    }

    /// The thread is gone; a collection of its own cannot be under way.
    pub(super) fn forget(&mut self, tid: u32) {
        self.open.remove(&tid);
        self.seen.remove(&tid);
    }

    /// Collections of which too little was seen.
    pub(super) const fn unpaired(&self) -> u64 {
        self.unpaired
    }
}
