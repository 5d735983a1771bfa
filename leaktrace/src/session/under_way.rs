//! Calls that are seen by half because they were under way when the probes came or went: no losses.

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
    /// Calls that were under way when probes went, whose returns nobody saw.
    left: u64,
    /// Their counter when the probes began to go, while they are away.
    leaving: Option<u64>,
}

impl UnderWay {
    /// After the first attach, which began with all counters at 0.
    pub(super) fn new() -> Self {
        Self { forgiven: 0, seen: 0, until: Instant::now() + PATIENCE, left: 0, leaving: None }
    }

    /// Probes are about to be placed.
    pub(super) fn attaching(&mut self, counts: &[u64; Loss::COUNT]) {
        self.look(counts);
        (self.seen, self.until) = (missed(counts), Instant::now() + PATIENCE);
    }

    /// Probes are about to go, to be placed again: some calls were seen to begin, and will not be seen to end.
    pub(super) fn leaving(&mut self, counts: &[u64; Loss::COUNT]) {
        self.look(counts);
        // Entries may go before returns: whose entry is missed meanwhile is seen by half as well.
        self.seen = missed(counts);
        self.leaving = Some(abandoned(counts));
    }

    /// The probes that went are all gone, and are about to be placed again.
    pub(super) fn returning(&mut self, counts: &[u64; Loss::COUNT]) {
        self.look(counts);
        self.left = self.left(counts);
        self.leaving = None;
        self.attaching(counts);
    }

    fn left(&self, counts: &[u64; Loss::COUNT]) -> u64 {
        self.left + self.leaving.map_or(0, |before| abandoned(counts).saturating_sub(before))
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
        let left = self.left(&counts);
        if let Some(abandoned) = counts.get_mut(Loss::AbandonedCall as usize) {
            *abandoned = abandoned.saturating_sub(left);
        }
        if let Some(missed) = counts.get_mut(Loss::MissedEntry as usize) {
            *missed = missed.saturating_sub(self.forgiven);
        }
        counts
    }

    fn look_at(&mut self, now: Instant, missed: u64) {
        if self.leaving.is_some() || now < self.until {
            self.forgiven += missed.saturating_sub(self.seen);
            self.seen = missed;
        }
    }
}

fn abandoned(counts: &[u64; Loss::COUNT]) -> u64 {
    counts.get(Loss::AbandonedCall as usize).copied().unwrap_or_default()
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
    fn calls_that_are_under_way_when_probes_go_are_no_losses_and_others_are() {
        let with = |abandoned| {
            let mut counts = [0; Loss::COUNT];
            counts[Loss::AbandonedCall as usize] = abandoned;
            counts
        };
        let mut under_way = UnderWay::new();
        under_way.leaving(&with(2));
        assert_eq!(under_way.losses(with(5)), with(2));
        under_way.returning(&with(6));
        assert_eq!(under_way.losses(with(9)), with(5), "while the probes stand");
        under_way.leaving(&with(9));
        under_way.returning(&with(10));
        assert_eq!(under_way.losses(with(10)), with(5));
    }

    #[test]
    fn entries_that_are_missed_while_probes_go_are_forgiven_however_late_that_is() {
        let mut under_way = UnderWay::new();
        under_way.until = Instant::now();
        assert_eq!(under_way.losses(counts(3)), counts(3), "while the probes stand");
        under_way.leaving(&counts(4));
        assert_eq!(under_way.losses(counts(9))[Loss::MissedEntry as usize], 4);
        under_way.returning(&counts(10));
        under_way.until = Instant::now();
        assert_eq!(under_way.losses(counts(12))[Loss::MissedEntry as usize], 6);
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
