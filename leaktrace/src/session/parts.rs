//! What is in memory of a process, by what it is used for. Pure.

use super::traced::Traced;
use crate::output::walk_record::{HeapWalkRecord, RssParts};
use crate::target::pages::Pages;

/// How the heap is told from other memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeapPages {
    /// It was read: the arenas' pages, and so many bytes of blocks with a mapping of their own.
    Walked { mapped_resident_bytes: u64 },
    /// It cannot be read: memory without a file that may be written is taken for it.
    Unknown,
}

/// What is known of a process beside its pages.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// By the last walk, and whether there is a runtime with a heap of its own.
    walked: Option<(HeapPages, bool)>,
    /// All that is live is known: the trace saw the program's beginning, or blocks from before were found.
    pub(super) is_whole: bool,
}

impl Parts {
    /// Takes a walk over.
    pub(super) fn walked(&mut self, walk: &HeapWalkRecord) {
        let heap = match &walk.heap {
            Some(heap) => HeapPages::Walked { mapped_resident_bytes: heap.mapped_resident_bytes },
            None => HeapPages::Unknown,
        };
        self.walked = Some((heap, walk.rss.runtime_bytes.is_some()));
    }

    /// The parts as of now; `None` where the heap is not read, or the process is gone.
    pub(super) fn split(&self, traced: &Traced) -> Option<RssParts> {
        let (heap, has_runtime) = self.walked?;
        let pages = traced.usage.as_ref()?.pages?;
        let totals = traced.tracker.totals();
        let live = self.is_whole.then(|| totals.live_bytes.saturating_add(totals.internal_bytes));
        Some(split(&pages, heap, has_runtime, live))
    }
}

/// Adds the pages up. `live_bytes` is what is known to be handed out, if all of it is.
pub(super) fn split(pages: &Pages, heap: HeapPages, has_runtime: bool, live_bytes: Option<u64>) -> RssParts {
    let of_blocks = match heap {
        HeapPages::Walked { mapped_resident_bytes } => mapped_resident_bytes.min(pages.anonymous_bytes),
        HeapPages::Unknown => pages.written_bytes.min(pages.anonymous_bytes),
    };
    let heap_bytes = pages.allocator_bytes.saturating_add(of_blocks);
    let rest = pages.anonymous_bytes - of_blocks;
    // Of what is handed out some may never have been touched.
    let live_bytes = live_bytes.map(|live| live.min(heap_bytes));
    RssParts {
        rss_bytes: pages.rss_bytes,
        heap_bytes,
        stack_bytes: pages.stack_bytes,
        file_bytes: pages.file_bytes,
        runtime_bytes: has_runtime.then_some(rest),
        other_bytes: if has_runtime { 0 } else { rest },
        swap_bytes: pages.swap_bytes,
        live_bytes,
        slack_bytes: live_bytes.map(|live| heap_bytes - live),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up() {
        let pages = Pages {
            allocator_bytes: 120,
            stack_bytes: 3,
            file_bytes: 40,
            anonymous_bytes: 50,
            written_bytes: 45,
            swap_bytes: 5,
            rss_bytes: 213,
        };
        let walked = HeapPages::Walked { mapped_resident_bytes: 30 };
        let parts = split(&pages, walked, false, Some(90));
        assert_eq!((parts.heap_bytes, parts.other_bytes, parts.runtime_bytes), (150, 20, None));
        assert_eq!((parts.stack_bytes, parts.file_bytes, parts.swap_bytes), (3, 40, 5));
        assert_eq!((parts.live_bytes, parts.slack_bytes, parts.rss_bytes), (Some(90), Some(60), 213));
        let parts = split(&pages, walked, true, Some(1000));
        assert_eq!((parts.other_bytes, parts.runtime_bytes), (0, Some(20)));
        assert_eq!((parts.live_bytes, parts.slack_bytes), (Some(150), Some(0)));
        let parts = split(&pages, HeapPages::Unknown, false, None);
        assert_eq!((parts.heap_bytes, parts.other_bytes, parts.slack_bytes), (165, 5, None));
    }
}
