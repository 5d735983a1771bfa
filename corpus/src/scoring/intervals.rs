//! What the growth interval is worth.

use super::{Answer, ratio};
use crate::labelled::Labelled;

/// Growth over the window is clear from this many standard deviations of the noise on.
const CLEAR: f64 = 3.0;

/// How often intervals hold the true rate, and how wide they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Intervals {
    /// Series with a true rate.
    pub with_rate: usize,
    /// Those whose interval holds it.
    pub covered: usize,
    /// Series whose growth (or decline) over the window is at least three standard deviations of the noise.
    pub clear: usize,
    /// Those among them whose interval holds the true rate.
    pub clear_covered: usize,
    /// Median width of the interval ÷ the true rate's size, where growth is clear; `None` without any.
    pub median_width: Option<f64>,
}

impl Intervals {
    /// Of these answers. An answer without an interval does not cover; its width is infinite.
    pub fn of(pairs: &[(&Labelled, Answer)]) -> Self {
        let mut intervals = Self::default();
        let mut widths = Vec::new();
        for (series, answer) in pairs {
            let Some((rate, growth)) = series.rate.zip(series.growth_over_window()) else { continue };
            let is_covered = answer.growth.is_some_and(|[low, _, high]| low <= rate && rate <= high);
            intervals.with_rate += 1;
            intervals.covered += usize::from(is_covered);
            if growth != 0.0 && growth.abs() >= CLEAR * series.noise_sd {
                intervals.clear += 1;
                intervals.clear_covered += usize::from(is_covered);
                widths.push(answer.growth.map_or(f64::INFINITY, |[low, _, high]| (high - low) / rate.abs()));
            }
        }
        widths.sort_unstable_by(f64::total_cmp);
        intervals.median_width = widths.get(widths.len() / 2).copied();
        intervals
    }

    /// Share of intervals that hold the true rate.
    pub fn coverage(&self) -> f64 {
        ratio(self.covered, self.with_rate)
    }

    /// The same where growth is clear.
    pub fn clear_coverage(&self) -> f64 {
        ratio(self.clear_covered, self.clear)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::series, *};
    use crate::labelled::Class;

    #[test]
    fn coverage_and_width_are_those_by_hand() {
        let answer = |growth| Answer { truth: None, class: None, confidence: 0.0, growth };
        // Ten seconds with noise of 1: a growth of 0.3 bytes a second is just clear.
        let (clear, faint) = (series(Class::Linear, Some(0.3)), series(Class::Linear, Some(0.2)));
        let none = series(Class::Warmup, None);
        let pairs = [
            (&clear, answer(Some([0.2, 0.3, 0.5]))),
            (&clear, answer(None)),
            (&faint, answer(Some([0.3, 0.4, 0.5]))),
            (&none, answer(Some([0.0, 0.0, 0.0]))),
        ];
        let intervals = Intervals::of(&pairs);
        assert_eq!((intervals.with_rate, intervals.covered), (3, 1));
        assert_eq!((intervals.clear, intervals.clear_covered), (2, 1));
        assert_eq!(intervals.median_width, Some(f64::INFINITY));
        assert!((Intervals::of(&pairs[..1]).median_width.unwrap() - 1.0).abs() < 1e-12);
    }
}
