//! Growth of what is looked at in slices.
//!
//! While the probes stand, the process is slowed, by as much as they take from its busiest thread. What it does for its own
//! clients is done the more seldom in a slice the slower it is; what comes by a clock is not. So growth that is estimated from
//! slices is the least that there may be, and up to so many times as much. Where in between shows the resident set.

use super::judging::COMPARABLE_GROWTH;
use crate::{heap::Tracker, verdict::Samples};

/// A heap takes some more than what it gives: so much of the growth of a resident set is no sign of blocks that were not seen.
const OVERHEAD: f64 = 1.1;

/// By what growth in slices is to be multiplied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// When looking in slices began, seconds since attach.
    since: f64,
    factor: f64,
    /// The most that it can be.
    slowed: f64,
}

impl Pace {
    /// `None` where everything is seen. `others_bytes` is what V8 holds more for its heaps: no blocks are missing there.
    pub(super) fn of(
        tracker: &Tracker,
        slowed: f64,
        live: &Samples,
        (resident, others_bytes): (&Samples, f64),
    ) -> Option<Self> {
        let since = tracker.slices_since()?;
        let grown = tracker.grown_in_slices()?;
        let end = *live.times().last()?;
        let live = live.growth_between(since, end).filter(|grown| *grown >= COMPARABLE_GROWTH);
        let by_resident = live.and_then(|live| {
            let rounding = (grown.given_bytes / grown.asked_bytes.max(1.0)).max(1.0);
            let resident = resident.growth_between(since, end)? - others_bytes;
            Some(resident / (live * grown.sure_share() * rounding))
        });
        let factor = (by_resident.unwrap_or(1.0) / OVERHEAD).clamp(1.0, slowed.max(1.0));
        Some(Self { since, factor, slowed: slowed.max(1.0) })
    }

    /// A series as it would be if the process had not been slowed.
    pub(super) fn corrected(self, series: &Samples) -> Samples {
        let points = || series.times().iter().copied().zip(series.bytes().iter().copied());
        let held = points().take_while(|&(t, _)| t <= self.since).last().map_or(0.0, |(_, bytes)| bytes);
        let correct = |(t, bytes): (f64, f64)| {
            let grown = bytes - held;
            (t, if t > self.since && grown > 0.0 { held + grown * self.factor } else { bytes })
        };
        Samples::new(points().map(correct))
    }

    /// By what growth that was corrected so is to be multiplied at least and at most.
    pub(super) fn bounds(self) -> (f64, f64) {
        (1.0 / self.factor, self.slowed / self.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_since_slices_began_is_corrected_and_the_level_before_is_not() {
        let pace = Pace { since: 2.0, factor: 2.0, slowed: 3.0 };
        let series = Samples::new([(0.0, 0.0), (1.0, 50.0), (2.0, 100.0), (3.0, 110.0), (4.0, 90.0)]);
        assert_eq!(pace.corrected(&series).bytes(), [0.0, 50.0, 100.0, 120.0, 90.0]);
        assert_eq!(pace.bounds(), (0.5, 1.5));
        let young = Samples::new([(3.0, 10.0), (4.0, 30.0)]);
        assert_eq!(pace.corrected(&young).bytes(), [20.0, 60.0], "a site that is younger began with nothing");
    }
}
