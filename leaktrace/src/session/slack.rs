//! Whether the resident set grows because memory within the heap is free and cannot be given back: by walks through it.

use crate::{
    output::{text::bytes, walk_record::HeapWalkRecord},
    verdict::{Evidence, Judgement, Verdict},
};

/// Walks that are kept; of more, every second one.
const KEPT: usize = 64;
/// Growth below this says nothing: pages come and go.
const LEAST_GROWTH: u64 = 4 << 20;
/// The part of the growth from which on free memory is its cause.
const MOST: f64 = 0.5;

/// Without figures: a cause that changes is told.
const CAUSE: &str = "fragmentation: memory grows that is free within the heap, not what is handed out";

/// One walk.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    t: f64,
    rss: u64,
    /// Bytes of the heap's pages in memory that are not handed out.
    free: u64,
    /// What `malloc_trim` gives back of it; `None` of an allocator whose heap cannot be read.
    trimmable: Option<u64>,
}

/// The free memory of a heap over time.
#[derive(Debug, Default)]
pub(super) struct Slack {
    points: Vec<Point>,
    advice: Option<String>,
}

impl Slack {
    /// Takes a walk over. `live_bytes` is what was allocated since attach and is live: of a heap that cannot be read, the
    /// memory beyond it. That counts older blocks as free, but they only become fewer: it grows by no more than what is
    /// really free.
    pub(super) fn push(&mut self, walk: &HeapWalkRecord, live_bytes: u64) {
        let (free, trimmable) = match &walk.heap {
            Some(heap) => (heap.fragmentation.compaction_bytes, Some(heap.fragmentation.trimmable_bytes)),
            None => (walk.rss.heap_bytes.saturating_sub(live_bytes), None),
        };
        self.points.push(Point { t: walk.t, rss: walk.rss.rss_bytes, free, trimmable });
        if self.points.len() > KEPT {
            let mut at = 0;
            self.points.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.advice = walk.advice.clone().or_else(|| keeps(&walk.allocator).map(str::to_owned));
    }

    /// Says how much of what the resident set grew is free memory within the heap, and that it is fragmentation where that
    /// is most of it.
    pub(super) fn explain(&self, judgement: &mut Judgement) {
        if !matches!(judgement.verdict, Verdict::Leak | Verdict::Suspect) {
            return;
        }
        let Some((first, last)) = self.ends(judgement.since_s.unwrap_or(0.0)) else { return };
        let (grown, free) = (last.rss.saturating_sub(first.rss), last.free.saturating_sub(first.free));
        if grown < LEAST_GROWTH {
            return;
        }
        let share = free as f64 / grown as f64;
        let says = format!(
            "free memory within the heap grew by {}, {:.0} % of what the resident set did",
            bytes(free),
            (share * 100.0).min(100.0)
        );
        judgement.evidence.insert(0, Evidence { name: "heap_free".to_owned(), value: share, says });
        if share < MOST {
            return;
        }
        if let Some(trimmable) = last.trimmable {
            let (free, value) = (bytes(last.free), trimmable as f64);
            let says = format!(
                "{free} of the heap's memory are free, {} of them in pieces that malloc_trim gives back",
                bytes(trimmable)
            );
            judgement.evidence.insert(1, Evidence { name: "heap_trimmable".to_owned(), value, says });
        }
        judgement.cause = Some(CAUSE.to_owned());
        if let Some(advice) = &self.advice {
            judgement.advice = Some(advice.clone());
        }
    }

    /// The last walk before a time, or the first of all, and the last. Of a trace only the later half counts: what it
    /// began with, a cache that was filled, says nothing about how memory grows now.
    fn ends(&self, since: f64) -> Option<(Point, Point)> {
        let last = *self.points.last()?;
        let since = since.max(last.t / 2.0);
        let before = self.points.partition_point(|point| point.t <= since).saturating_sub(1);
        let first = *self.points.get(before)?;
        (first.t < last.t).then_some((first, last))
    }
}

/// How an allocator whose heap cannot be read is told to keep less.
fn keeps(allocator: &str) -> Option<&'static str> {
    match allocator {
        "jemalloc" => Some(
            "jemalloc keeps freed pages for ten seconds and more, and gives them back only while the program allocates: \
             MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0 gives them back sooner, \
             narenas:N keeps threads in fewer arenas",
        ),
        "tcmalloc" => Some(
            "tcmalloc gives freed pages back slowly: TCMALLOC_RELEASE_RATE=10 makes it faster, \
             TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES bounds what threads keep",
        ),
        "mimalloc" => Some("MIMALLOC_PURGE_DELAY=0 makes mimalloc give freed pages back at once"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::walk_record::{HeapFigures, HeapFragmentation, RssParts};
    use crate::verdict::{Circumstances, Samples, judge};

    fn walk(t: f64, rss_bytes: u64, compaction_bytes: u64) -> HeapWalkRecord {
        let fragmentation = HeapFragmentation { compaction_bytes, ..HeapFragmentation::default() };
        HeapWalkRecord {
            t,
            rss: RssParts { rss_bytes, ..RssParts::default() },
            heap: Some(HeapFigures { fragmentation, ..HeapFigures::default() }),
            advice: Some("pools".to_owned()),
            ..HeapWalkRecord::default()
        }
    }

    fn growing() -> Judgement {
        let points = (0..200).map(|t| (f64::from(t), f64::from(t) * 1e6));
        let judgement = judge(&Samples::new(points), &Circumstances::default());
        assert!(matches!(judgement.verdict, Verdict::Leak | Verdict::Suspect), "{judgement:?}");
        judgement
    }

    fn explained(walks: &[(f64, u64, u64)]) -> Judgement {
        let mut slack = Slack::default();
        for &(t, rss, free) in walks {
            slack.push(&walk(t, rss << 20, free << 20), 0);
        }
        let mut judgement = growing();
        slack.explain(&mut judgement);
        judgement
    }

    fn share(judgement: &Judgement) -> Option<f64> {
        judgement.evidence.iter().find(|evidence| evidence.name == "heap_free").map(|evidence| evidence.value)
    }

    #[test]
    fn growth_of_free_memory_is_fragmentation() {
        // Blocks at first, then free memory.
        let judgement = explained(&[(0.0, 100, 10), (90.0, 400, 20), (190.0, 500, 115)]);
        assert!(share(&judgement).is_some_and(|share| share > 0.9), "{judgement:?}");
        assert!(judgement.cause.is_some_and(|cause| cause.starts_with("fragmentation")));
        assert_eq!(judgement.advice.as_deref(), Some("pools"));
    }

    #[test]
    fn growth_of_blocks_is_not() {
        let judgement = explained(&[(0.0, 100, 10), (190.0, 290, 12)]);
        assert!(share(&judgement).is_some_and(|share| share < 0.05), "{judgement:?}");
        assert!(judgement.cause.is_none_or(|cause| !cause.starts_with("fragmentation:")));
    }

    #[test]
    fn one_walk_or_no_growth_says_nothing() {
        assert_eq!(share(&explained(&[])), None);
        assert_eq!(share(&explained(&[(5.0, 100, 10)])), None);
        assert_eq!(share(&explained(&[(0.0, 100, 10), (190.0, 101, 11)])), None);
    }

    #[test]
    fn of_a_heap_that_cannot_be_read_it_is_what_is_not_live() {
        let mut slack = Slack::default();
        for (t, heap_bytes, live) in [(0.0, 100, 10), (190.0, 300, 20)] {
            let rss =
                RssParts { rss_bytes: heap_bytes << 20, heap_bytes: heap_bytes << 20, ..RssParts::default() };
            let allocator = "jemalloc".to_owned();
            slack.push(&HeapWalkRecord { t, allocator, rss, ..HeapWalkRecord::default() }, live << 20);
        }
        let mut judgement = growing();
        slack.explain(&mut judgement);
        assert_eq!(share(&judgement), Some(0.95));
        assert!(judgement.advice.is_some_and(|advice| advice.contains("dirty_decay_ms")));
        assert!(judgement.evidence.iter().all(|evidence| evidence.name != "heap_trimmable"));
    }

    #[test]
    fn of_many_walks_the_first_stays() {
        let mut slack = Slack::default();
        for t in 0..1000_u32 {
            slack.push(&walk(f64::from(t), u64::from(t), 0), 0);
        }
        assert!(slack.points.len() <= KEPT && slack.points.first().is_some_and(|point| point.t == 0.0));
    }
}
