//! What the figures of a heap mean, and what helps.

use std::fmt::Write as _;

use crate::output::text::{bytes, share};
use crate::output::walk_record::HeapFigures;

/// Less is not worth a word.
const WORTH: u64 = 8 << 20;
/// The part of the heap's memory that must be free for it to be called fragmented.
const MUCH: f64 = 0.25;

/// A sentence or two, where there is something to say.
pub(super) fn advice(heap: &HeapFigures) -> Option<String> {
    let found = &heap.fragmentation;
    let free = 1.0 - found.utilisation?;
    if found.compaction_bytes < WORTH || free < MUCH {
        return None;
    }
    let (part, waste) = (share(free), bytes(found.compaction_bytes));
    let mut said =
        format!("{part} of the heap's memory is free ({waste}): fragmentation rather than a leak.");
    if found.trimmable_bytes >= found.compaction_bytes / 4 {
        let back = bytes(found.trimmable_bytes);
        // Writing into a string cannot fail.
        let _ = write!(
            said,
            " malloc_trim(0) would give {back} back to the system; MALLOC_TRIM_THRESHOLD_ lowers what is kept."
        );
    }
    let others: u64 = heap.arenas.iter().skip(1).map(|arena| arena.free_bytes).sum();
    if heap.arenas.len() > 4 && others > heap.free_bytes / 2 {
        let arenas = heap.arenas.len();
        let _ = write!(
            said,
            " Most of it is spread over {arenas} arenas: MALLOC_ARENA_MAX=2 keeps threads in fewer."
        );
    }
    if found.trimmable_bytes < found.compaction_bytes / 2 {
        said += " What is in use is scattered over many pages: blocks that live long stand between such that do not. Give \
                 them pools of their own, or try an allocator that keeps sizes apart (jemalloc, mimalloc).";
    }
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::walk_record::HeapFragmentation;

    fn record(utilisation: f64, compaction_bytes: u64, trimmable_bytes: u64) -> HeapFigures {
        let fragmentation = HeapFragmentation {
            utilisation: Some(utilisation),
            compaction_bytes,
            trimmable_bytes,
            ..HeapFragmentation::default()
        };
        HeapFigures { fragmentation, ..HeapFigures::default() }
    }

    #[test]
    fn nothing_is_said_of_a_heap_in_use() {
        assert_eq!(advice(&record(0.9, 100 << 20, 0)), None);
        assert_eq!(advice(&record(0.1, 1 << 20, 0)), None);
        assert_eq!(advice(&HeapFigures::default()), None);
    }

    #[test]
    fn what_helps_depends_on_how_it_is_free() {
        let trim = advice(&record(0.2, 100 << 20, 90 << 20)).unwrap();
        assert!(trim.contains("malloc_trim") && !trim.contains("pools"), "{trim}");
        let pools = advice(&record(0.2, 100 << 20, 1 << 20)).unwrap();
        assert!(pools.contains("pools") && !pools.contains("malloc_trim"), "{pools}");
    }
}
