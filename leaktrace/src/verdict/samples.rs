//! The series that is judged.

/// Values over time: times strictly ascend, values are finite and not negative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    times: Vec<f64>,
    bytes: Vec<f64>,
}

impl Samples {
    /// Takes points of (seconds, bytes) in order of time. A point whose time does not go on, or that has a number
    /// which is not finite or a negative value, is left out: who must not lose one looks before.
    pub fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut samples = Self::default();
        for (t, bytes) in points {
            let goes_on = samples.times.last().is_none_or(|&last| t > last);
            if goes_on && t.is_finite() && bytes.is_finite() && bytes >= 0.0 {
                samples.times.push(t);
                samples.bytes.push(bytes);
            }
        }
        samples
    }

    /// Times in seconds, ascending.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// Values in bytes, one for each time.
    pub fn bytes(&self) -> &[f64] {
        &self.bytes
    }

    /// How many points there are.
    pub const fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Seconds from the first point to the last; 0 with fewer than two.
    pub fn span_s(&self) -> f64 {
        match (self.times.first(), self.times.last()) {
            (Some(first), Some(last)) => last - first,
            _ => 0.0,
        }
    }

    /// Bytes gained from one time to another: from the mean of the first fifth of that time to that of the last, since a
    /// single point may stand anywhere in a cycle. `None` where there is no point in either.
    pub fn growth_between(&self, from: f64, to: f64) -> Option<f64> {
        let fifth = (to - from) / 5.0;
        let mean = |from: f64, to: f64| {
            let points = self.times.iter().zip(&self.bytes);
            let inside: Vec<f64> =
                points.filter(|(t, _)| (from..=to).contains(*t)).map(|(_, bytes)| *bytes).collect();
            (!inside.is_empty()).then(|| inside.iter().sum::<f64>() / inside.len() as f64)
        };
        Some(mean(to - fifth, to)? - mean(from, from + fifth)?)
    }

    /// The same over all of its time.
    pub fn growth(&self) -> Option<f64> {
        self.growth_between(*self.times.first()?, *self.times.last()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_series_is_left_out() {
        let points = [(0.0, 1.0), (0.0, 2.0), (f64::NAN, 3.0), (1.0, f64::INFINITY), (1.0, -1.0), (2.0, 4.0)];
        let samples = Samples::new(points);
        assert_eq!((samples.times(), samples.bytes()), ([0.0, 2.0].as_slice(), [1.0, 4.0].as_slice()));
        assert_eq!((samples.len(), samples.span_s()), (2, 2.0));
        assert_eq!((Samples::default().len(), Samples::default().span_s()), (0, 0.0));
    }

    #[test]
    fn growth_is_from_the_first_fifth_to_the_last() {
        let samples = Samples::new((0..=10).map(|i| (f64::from(i), f64::from(i * 10))));
        assert_eq!(samples.growth(), Some(80.0));
        assert_eq!(samples.growth_between(0.0, 5.0), Some(40.0));
        assert_eq!((samples.growth_between(20.0, 30.0), Samples::default().growth()), (None, None));
    }
}
