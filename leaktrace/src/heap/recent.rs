//! The recent past of a value, and its rate of growth.

/// The last [`Recent::LENGTH`] values of a series, oldest overwritten first.
#[derive(Clone, Copy, Debug)]
pub struct Recent {
    points: [(f64, f64); Self::LENGTH],
    len: u8,
    next: u8,
}

impl Default for Recent {
    fn default() -> Self {
        Self { points: [(0.0, 0.0); Self::LENGTH], len: 0, next: 0 }
    }
}

impl Recent {
    /// How many values are kept.
    pub const LENGTH: usize = 32;

    /// Adds the value at time `t` (seconds); times that do not go on are ignored.
    pub fn push(&mut self, t: f64, value: u64) {
        let goes_on = self.iter().last().is_none_or(|(last, _)| t > last);
        if let Some(slot) = self.points.get_mut(usize::from(self.next))
            && goes_on
        {
            *slot = (t, value as f64);
            self.next = (self.next + 1) % Self::LENGTH as u8;
            self.len = (self.len + 1).min(Self::LENGTH as u8);
        }
    }

    /// Times (seconds) and values, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        let (len, next) = (usize::from(self.len), usize::from(self.next));
        let oldest = (next + Self::LENGTH - len) % Self::LENGTH;
        self.points.iter().cycle().skip(oldest).take(len).copied()
    }

    /// Growth a second: the median of the slopes between all pairs of points (Theil–Sen), so that a single spike
    /// does not count. `None` with fewer than three points.
    pub fn rate(&self) -> Option<f64> {
        if self.len < 3 {
            return None;
        }
        let points: Vec<_> = self.iter().collect();
        let pairs = points.iter().enumerate().flat_map(|(index, from)| {
            points.iter().skip(index + 1).map(move |to| (to.1 - from.1) / (to.0 - from.0))
        });
        let mut slopes: Vec<f64> = pairs.collect();
        let middle = slopes.len() / 2;
        let even = slopes.len().is_multiple_of(2);
        let (below, &mut median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
        let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some(if even { f64::midpoint(lower, median) } else { median })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_has_its_slope_and_a_spike_does_not_change_it() {
        let mut recent = Recent::default();
        for second in 0..50_u32 {
            assert_eq!(recent.rate().is_some(), second >= 3);
            let spike = if second == 40 { 1_000_000 } else { 0 };
            recent.push(f64::from(second), u64::from(second) * 100 + spike);
        }
        assert_eq!(recent.rate(), Some(100.0));
        assert_eq!(recent.iter().count(), Recent::LENGTH);
        assert_eq!(recent.iter().next(), Some((18.0, 1800.0)));
    }

    #[test]
    fn time_that_stands_still_is_ignored() {
        let mut recent = Recent::default();
        for t in [0.0, 1.0, 1.0, f64::NAN, 0.5, 2.0] {
            recent.push(t, (t * 10.0) as u64);
        }
        assert_eq!(recent.iter().map(|(t, _)| t).collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
        assert_eq!(recent.rate(), Some(10.0));
    }

    proptest! {
        #[test]
        fn the_rate_lies_between_the_smallest_and_largest_step(values in prop::collection::vec(0_u64..1 << 50, 3..40)) {
            let mut recent = Recent::default();
            for (second, &value) in values.iter().enumerate() {
                recent.push(second as f64, value);
            }
            let kept: Vec<_> = recent.iter().collect();
            let steps: Vec<_> = kept.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
            let rate = recent.rate().unwrap();
            prop_assert!(steps.iter().any(|&step| step <= rate + 1.0) && steps.iter().any(|&step| step >= rate - 1.0));
        }
    }
}
