//! How much a collector has to do: rates over the recent past.

use std::collections::VecDeque;

use super::Cycle;

/// Rates are over so many seconds.
const WINDOW_S: f64 = 30.0;
/// Collections that are remembered at most; V8 rarely makes a hundred a second.
const MOST: usize = 8192;

/// Rates over the recent past.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Health {
    /// Collections a second.
    pub collections_per_s: f64,
    /// Share of the time that the isolate's program stood still.
    pub time_share: f64,
    /// Bytes allocated a second, by how much the heap grew from each collection to the next; `None` without two.
    pub allocated_per_s: Option<f64>,
    /// Share of the bytes in use that survived the collections; `None` without one.
    pub survival: Option<f64>,
}

/// One collection, as far as rates need it.
#[derive(Clone, Copy, Debug)]
struct Past {
    t: f64,
    pause_s: f64,
    before: Option<u64>,
    after: Option<u64>,
    /// Since the collection before.
    allocated: Option<u64>,
}

/// The collections of the recent past.
#[derive(Debug)]
pub(super) struct Recent {
    since: f64,
    last_after: Option<u64>,
    past: VecDeque<Past>,
}

impl Recent {
    /// Nothing was collected yet at time `t`.
    pub(super) const fn since(t: f64) -> Self {
        Self { since: t, last_after: None, past: VecDeque::new() }
    }

    pub(super) fn push(&mut self, t: f64, cycle: &Cycle) {
        let allocated = cycle.before.zip(self.last_after).map(|(before, after)| before.saturating_sub(after));
        self.last_after = cycle.after;
        let pause_s = cycle.end_ns.saturating_sub(cycle.begin_ns) as f64 / 1e9;
        self.past.push_back(Past { t, pause_s, before: cycle.before, after: cycle.after, allocated });
        while self.past.len() > MOST || self.past.front().is_some_and(|past| t - past.t > WINDOW_S) {
            if let Some(gone) = self.past.pop_front() {
                self.since = self.since.max(gone.t);
            }
        }
    }

    /// The rates at time `t`.
    pub(super) fn health(&self, t: f64) -> Health {
        let from = self.since.max(t - WINDOW_S);
        let seconds = (t - from).max(1e-3);
        let (mut health, mut allocated, mut sizes) = (Health::default(), None, (0_u64, 0_u64));
        let (mut count, mut pause_s) = (0_u32, 0.0);
        for past in self.past.iter().filter(|past| past.t >= from) {
            count += 1;
            pause_s += past.pause_s;
            if let Some(bytes) = past.allocated {
                allocated = Some(bytes.saturating_add(allocated.unwrap_or(0)));
            }
            if let (Some(before), Some(after)) = (past.before, past.after) {
                sizes = (sizes.0.saturating_add(before), sizes.1.saturating_add(after));
            }
        }
        health.collections_per_s = f64::from(count) / seconds;
        health.time_share = (pause_s / seconds).min(1.0);
        health.allocated_per_s = allocated.map(|bytes| bytes as f64 / seconds);
        health.survival = (sizes.0 > 0).then(|| (sizes.1 as f64 / sizes.0 as f64).min(1.0));
        health
    }
}
