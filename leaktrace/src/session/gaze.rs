//! When the probes stand and when they are away, as the pipeline knows it. Pure.

use super::spend::Spend;
use crate::heap::Tracker;

/// However slow a process was made while it was looked at, more than this is not believed.
const SLOWEST: f64 = 10.0;

/// Where the trace looks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gaze {
    /// Whether the frees of all blocks are seen where the probes stand.
    pub(super) sees_all_frees: bool,
    /// The last time that the probes went; `None` before they did.
    went: Option<f64>,
    /// When they came back, if they stand.
    came: Option<f64>,
    until: Option<f64>,
    /// Seconds within slices, and of these those that tracing took from the busiest thread.
    within_s: f64,
    taken_s: f64,
    /// Since the last tick: when that was, and seconds in which the probes were away.
    tick: f64,
    away_s: f64,
}

impl Gaze {
    pub(super) fn new(sees_all_frees: bool) -> Self {
        Self { sees_all_frees, ..Self::default() }
    }

    /// The probes go.
    pub(super) fn away(&mut self, t: f64, spend: &Spend) {
        if let Some(came) = self.came.take() {
            self.within_s += (t - came).max(0.0);
            self.taken_s += spend.busiest_ns() as f64 / 1e9;
        }
        self.went = Some(t);
    }

    /// They stand again.
    pub(super) fn again(&mut self, t: f64, until: Option<f64>) {
        if let Some(went) = self.went {
            self.away_s += self.away_since_tick(went, t);
        }
        (self.came, self.until) = (Some(t), until);
    }

    /// A process that is new is seen as the others are.
    pub(super) fn apply_to(&self, tracker: &mut Tracker) {
        if let Some(went) = self.went {
            tracker.look_away(went, self.sees_all_frees);
            if let Some(came) = self.came {
                tracker.look_again(came, self.until, &|_| true);
            }
        }
    }

    /// Whether the trace looks in slices.
    pub(super) const fn is_in_slices(&self) -> bool {
        self.went.is_some()
    }

    /// Share of the time since the last tick in which the probes stood.
    pub(super) fn watched_share(&self, t: f64) -> f64 {
        let going_on = match (self.went, self.came) {
            (Some(went), None) => self.away_since_tick(went, t),
            _ => 0.0,
        };
        let seconds = (t - self.tick).max(1e-3);
        let away = (self.away_s + going_on) / seconds;
        // A recording may hold any times.
        if away.is_nan() { 1.0 } else { (1.0 - away).clamp(0.0, 1.0) }
    }

    /// Seconds that the probes have been away since the last tick, where they went at `went`.
    fn away_since_tick(&self, went: f64, t: f64) -> f64 {
        (t - went.max(self.tick)).max(0.0)
    }

    pub(super) const fn begin_interval(&mut self, t: f64) {
        (self.tick, self.away_s) = (t, 0.0);
    }

    /// By how much a process may be slowed while it is looked at: what comes in time, and not by its own work, comes so much
    /// more seldom then. 1 where everything is seen.
    pub(super) fn slowed(&self) -> f64 {
        if self.within_s <= 0.0 {
            return 1.0;
        }
        let left = 1.0 - self.taken_s / self.within_s;
        if left * SLOWEST > 1.0 { 1.0 / left } else { SLOWEST }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_away_counts_and_so_does_what_is_taken_within() {
        let mut gaze = Gaze::new(true);
        let mut spend = Spend::default();
        spend.prices(&[(1, 1_000_000)], &[]);
        assert_eq!((gaze.watched_share(1.0), gaze.slowed(), gaze.is_in_slices()), (1.0, 1.0, false));
        gaze.begin_interval(1.0);
        gaze.away(1.5, &spend);
        assert!((gaze.watched_share(2.0) - 0.5).abs() < 1e-9);
        gaze.begin_interval(2.0);
        gaze.again(2.75, None);
        assert!((gaze.watched_share(3.0) - 0.25).abs() < 1e-9);
        (0..100).for_each(|_| spend.record(1, 7));
        gaze.begin_interval(3.0);
        gaze.away(2.95, &spend);
        // A tenth of a second of two.
        assert!((gaze.slowed() - 2.0).abs() < 1e-6, "{}", gaze.slowed());
        (0..100).for_each(|_| spend.record(1, 7));
        gaze.again(4.0, Some(4.01));
        gaze.away(4.01, &spend);
        assert!((gaze.slowed() - SLOWEST).abs() < 1e-9);
    }
}
