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
    trimmable: u64,
}

/// The free memory of a heap over time.
#[derive(Debug, Default)]
pub(super) struct Slack {
    points: Vec<Point>,
    advice: Option<String>,
}

impl Slack {
    /// Takes a walk over.
    pub(super) fn push(&mut self, walk: &HeapWalkRecord) {
        let Some(heap) = &walk.heap else { return };
        let found = &heap.fragmentation;
        self.points.push(Point {
            t: walk.t,
            rss: walk.rss.rss_bytes,
            free: found.compaction_bytes,
            trimmable: found.trimmable_bytes,
        });
        if self.points.len() > KEPT {
            let mut at = 0;
            self.points.retain(|_| {
                at += 1;
                at % 2 == 1
            });
        }
        self.advice.clone_from(&walk.advice);
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
        let says = format!(
            "{} of the heap's memory are free, {} of them in pieces that malloc_trim gives back",
            bytes(last.free),
            bytes(last.trimmable)
        );
        judgement
            .evidence
            .insert(1, Evidence { name: "heap_trimmable".to_owned(), value: last.trimmable as f64, says });
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
            slack.push(&walk(t, rss << 20, free << 20));
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
    fn of_many_walks_the_first_stays() {
        let mut slack = Slack::default();
        for t in 0..1000_u32 {
            slack.push(&walk(f64::from(t), u64::from(t), 0));
        }
        assert!(slack.points.len() <= KEPT && slack.points.first().is_some_and(|point| point.t == 0.0));
    }
}
