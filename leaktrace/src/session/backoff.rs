//! Looking again at something, more and more rarely while that brings nothing.

use std::time::Duration;

use tokio::time::Instant;

/// When to look next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    due: Instant,
    wait: Duration,
    longest: Duration,
}

impl Backoff {
    /// The first look may be now, the second after `wait`, each one after that twice as late, up to `longest`.
    pub(super) fn new(wait: Duration, longest: Duration) -> Self {
        Self { due: Instant::now(), wait, longest }
    }

    /// Whether to look now. The next look is then some time away.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.due;
        if is_due {
            self.due = now + self.wait;
            self.wait = (self.wait * 2).min(self.longest);
        }
        is_due
    }

    /// The look brought something: after the next one the wait is short again.
    pub(super) const fn found(&mut self, wait: Duration) {
        self.wait = wait;
    }
}
