//! Leak or not.

use super::ratio;
use crate::labelled::Truth;

/// How leaks were found. A `suspect` counts as no leak on both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Leaks that were called leaks.
    pub found: usize,
    /// Leaks that were not.
    pub missed: usize,
    /// Others that were called leaks.
    pub false_alarms: usize,
    /// Those among them that are bounded.
    pub bounded_alarms: usize,
    /// Series that are bounded.
    pub bounded: usize,
}

impl Leaks {
    /// Of pairs of the truth and whether it was called a leak.
    pub fn of(pairs: impl Iterator<Item = (Truth, bool)>) -> Self {
        let mut leaks = Self::default();
        for (truth, is_called_leak) in pairs {
            leaks.bounded += usize::from(truth == Truth::Bounded);
            match (truth, is_called_leak) {
                (Truth::Leak, true) => leaks.found += 1,
                (Truth::Leak, false) => leaks.missed += 1,
                (_, false) => {}
                (_, true) => {
                    leaks.false_alarms += 1;
                    leaks.bounded_alarms += usize::from(truth == Truth::Bounded);
                }
            }
        }
        leaks
    }

    /// Share of alarms that are leaks.
    pub fn precision(&self) -> f64 {
        ratio(self.found, self.found + self.false_alarms)
    }

    /// Share of leaks that were found.
    pub fn recall(&self) -> f64 {
        ratio(self.found, self.found + self.missed)
    }

    /// Harmonic mean of both.
    pub fn f1(&self) -> f64 {
        ratio(2 * self.found, 2 * self.found + self.missed + self.false_alarms)
    }

    /// Share of bounded series that were called leaks.
    pub fn false_positive_rate(&self) -> f64 {
        ratio(self.bounded_alarms, self.bounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_by_hand() {
        let leaks = Leaks::of(
            [
                (Truth::Leak, true),
                (Truth::Leak, true),
                (Truth::Leak, false),
                (Truth::Bounded, true),
                (Truth::Bounded, false),
                (Truth::Suspect, true),
            ]
            .into_iter(),
        );
        assert_eq!((leaks.precision(), leaks.false_positive_rate()), (0.5, 0.5));
        assert!((leaks.recall() - 2.0 / 3.0).abs() < 1e-12 && (leaks.f1() - 4.0 / 7.0).abs() < 1e-12);
        assert!(Leaks::default().f1().abs() < 1e-12);
    }
}
