//! Returns that are seen without their entries because the calls began before the probes were placed: no losses.

use std::time::{Duration, Instant};

use leaktrace_common::Loss;

/// How long after an attach a call may still be under way that began before it. An allocation takes microseconds, but
/// on a busy machine its thread may wait for a CPU meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which of the counted losses are returns of calls that began before an attach.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// Entries that were not missed after all.
    forgiven: u64,
    /// The counter at the last look, while there is patience.
    seen: u64,
    /// Calls may be under way until then.
    until: Instant,
}

impl UnderWay {
    /// After the first attach, which began with all counters at 0.
    pub(super) fn new() -> Self {
        Self { forgiven: 0, seen: 0, until: Instant::now() + PATIENCE }
    }

    /// Probes are about to be placed.
    pub(super) fn attaching(&mut self, counts: &[u64; Loss::COUNT]) {
        self.look(counts);
        (self.seen, self.until) = (missed(counts), Instant::now() + PATIENCE);
    }

    /// They are in place.
    pub(super) fn attached(&mut self) {
        self.until = Instant::now() + PATIENCE;
    }

    /// Whether there may be more, so that a [look](Self::look) is worth reading the counters.
    pub(super) fn may_come(&self) -> bool {
        Instant::now() < self.until
    }

    /// To be called often while they [may come](Self::may_come): what was counted by then is forgiven.
    pub(super) fn look(&mut self, counts: &[u64; Loss::COUNT]) {
        self.look_at(Instant::now(), missed(counts));
    }

    /// The counters without what is forgiven.
    pub(super) fn losses(&mut self, mut counts: [u64; Loss::COUNT]) -> [u64; Loss::COUNT] {
        self.look(&counts);
        if let Some(missed) = counts.get_mut(Loss::MissedEntry as usize) {
            *missed = missed.saturating_sub(self.forgiven);
        }
        counts
    }

    fn look_at(&mut self, now: Instant, missed: u64) {
        if now < self.until {
            self.forgiven += missed.saturating_sub(self.seen);
            self.seen = missed;
        }
    }
}

fn missed(counts: &[u64; Loss::COUNT]) -> u64 {
    counts.get(Loss::MissedEntry as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(missed: u64) -> [u64; Loss::COUNT] {
        let mut counts = [7; Loss::COUNT];
        counts[Loss::MissedEntry as usize] = missed;
        counts
    }

    #[test]
    fn calls_from_before_an_attach_are_forgiven_and_later_ones_are_not() {
        let mut under_way = UnderWay::new();
        let end = under_way.until;
        assert_eq!(under_way.losses(counts(3)), counts(0), "other losses stay");
        under_way.look_at(end, 5);
        assert_eq!(under_way.forgiven, 3, "after the patience");
        under_way.until = Instant::now();
        assert_eq!(under_way.losses(counts(5)), counts(2));
        under_way.attaching(&counts(5));
        assert_eq!(under_way.losses(counts(9)), counts(2), "another attach forgives what comes with it only");
    }
}
