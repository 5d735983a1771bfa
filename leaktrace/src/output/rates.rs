//! Rates of a process between two ticks.

use super::record::Tick;

/// What happened a second between two ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) allocs: f64,
    pub(super) frees: f64,
    pub(super) growth_bytes: f64,
}

impl Rates {
    /// Nothing where no time passed, or where the counts began anew (exec).
    pub(super) fn between(before: &Tick, now: &Tick) -> Option<Self> {
        let seconds = now.t - before.t;
        if !(seconds > 0.0 && seconds.is_finite()) {
            return None;
        }
        let per_second = |before: u64, now: u64| Some(now.checked_sub(before)? as f64 / seconds);
        Some(Self {
            allocs: per_second(before.allocs, now.allocs)?,
            frees: per_second(before.frees, now.frees)?,
            growth_bytes: (now.live_bytes as f64 - before.live_bytes as f64) / seconds,
        })
    }

    /// The rates of two processes together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            allocs: self.allocs + other.allocs,
            frees: self.frees + other.frees,
            growth_bytes: self.growth_bytes + other.growth_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rates;
    use crate::output::fixture;

    #[test]
    fn rates_are_differences_over_time() {
        let (before, now) = (fixture::tick(10.0, 1000, 0), fixture::tick(12.0, 800, 0));
        let rates = Rates::between(&before, &now).unwrap();
        assert_eq!(rates, Rates { allocs: 24_000.0, frees: 23_100.0, growth_bytes: -100.0 });
        assert_eq!(Rates::between(&now, &before), None);
        assert_eq!(Rates::between(&now, &now), None);
    }
}
