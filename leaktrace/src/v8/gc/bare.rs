//! Collections of a V8 whose names were stripped: from sizes alone.
//!
//! V8 takes the size of a heap at the begin and at the end of each collection, and at some other moments; which one it is
//! tells the place in the code that asked. Two places are begin and end if they follow each other, and in between the
//! heap shrinks and hardly ever grows: nothing but a collection does that. (It may grow a little when a scavenge copies
//! objects into pages of their own.)

use rustc_hash::FxHashMap;

use super::{Cycle, Kind};

/// So often must the heap have shrunk between two places before they are believed.
const BELIEVED: u32 = 3;
/// And so many times as often as it grew.
const MORE_OFTEN: u32 = 8;
/// Threads and pairs of places that are remembered.
const MOST: usize = 4096;

/// A size that was taken.
#[derive(Clone, Copy, Debug)]
struct Size {
    heap: u64,
    place: u64,
    bytes: u64,
    time_ns: u64,
}

/// What happened between two places.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    shrank: u32,
    grew: u32,
}

/// Sizes taken, by thread, and what was learned of places.
#[derive(Debug, Default)]
pub(super) struct BareSizes {
    last: FxHashMap<u32, Size>,
    pairs: FxHashMap<(u64, u64), Pair>,
}

impl BareSizes {
    /// Takes a size; gives the collection that it ends.
    pub(super) fn measured(
        &mut self,
        tid: u32,
        time_ns: u64,
        heap: u64,
        bytes: u64,
        place: u64,
    ) -> Option<Cycle> {
        if self.last.len() >= MOST {
            self.last.clear();
        }
        let size = Size { heap, place, bytes, time_ns };
        let before =
            self.last.insert(tid, size).filter(|before| before.heap == heap && before.place != place)?;
        let key = (before.place, place);
        if self.pairs.len() >= MOST && !self.pairs.contains_key(&key) {
            return None;
        }
        let pair = self.pairs.entry(key).or_default();
        pair.grew = pair.grew.saturating_add(u32::from(bytes > before.bytes));
        pair.shrank = pair.shrank.saturating_add(u32::from(bytes < before.bytes));
        let is_collection = pair.shrank >= BELIEVED && pair.shrank / MORE_OFTEN >= pair.grew;
        is_collection.then_some(Cycle {
            heap,
            tid,
            kind: Kind::Unknown,
            reason: None,
            begin_ns: before.time_ns,
            end_ns: time_ns.max(before.time_ns),
            before: Some(before.bytes),
            after: Some(bytes),
            committed: None,
        })
    }

    /// The thread is gone.
    pub(super) fn forget(&mut self, tid: u32) {
        self.last.remove(&tid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: u64 = 0x10;
    const END: u64 = 0x20;
    const ASKED: u64 = 0x30;

    #[test]
    fn begin_and_end_are_learned_and_what_the_program_asks_is_no_collection() {
        let mut sizes = BareSizes::default();
        let mut found = Vec::new();
        let mut time = 0;
        let mut take = |bytes, place| {
            time += 10;
            found.extend(sizes.measured(1, time, 0x1000, bytes, place));
        };
        for round in 0..10 {
            take(100 + round, BEGIN);
            take(50 + round, END);
            // The program asks after having allocated, and again at once.
            take(60 + round, ASKED);
            take(60 + round, ASKED);
        }
        let seen: Vec<_> = found.iter().map(|cycle| (cycle.before, cycle.after)).collect();
        assert_eq!(seen.len(), 8, "{seen:?}");
        assert_eq!(seen.last(), Some(&(Some(109), Some(59))));
    }
    #[test]
    fn a_heap_that_grew_once_during_a_collection_is_still_believed() {
        let mut sizes = BareSizes::default();
        let mut seen = 0;
        for round in 0..40_u64 {
            let after = if round == 1 { 101 } else { 50 };
            for (bytes, place) in [(100, BEGIN), (after, END), (100, ASKED)] {
                seen += u32::from(sizes.measured(1, round * 10 + place, 0x1000, bytes, place).is_some());
            }
        }
        assert!(seen > 25, "{seen}");
    }
}
