//! How good answers are.

mod calibration;
mod confusion;
mod intervals;
mod leaks;
mod table;

pub use calibration::{Bin, Calibration};
pub use confusion::Confusion;
pub use intervals::Intervals;
pub use leaks::Leaks;
pub use table::{confusion_table, reliability_table};

use serde::Serialize;

use crate::labelled::{Class, Labelled, Truth};

/// What somebody said of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// The verdict; `None` for insufficient data.
    pub truth: Option<Truth>,
    /// The class; `None` where no pattern was named.
    pub class: Option<Class>,
    /// How sure, 0..1.
    pub confidence: f64,
    /// Lower end, best estimate and upper end of the growth, bytes a second.
    pub growth: Option<[f64; 3]>,
}

impl Answer {
    /// From a verdict and a pattern that are written as in a verdict record, `growth` being lower end, best estimate and
    /// upper end. `periodic` is two classes, told apart by the verdict.
    pub fn new(
        verdict: &impl Serialize,
        pattern: Option<&impl Serialize>,
        confidence: f64,
        growth: Option<[f64; 3]>,
    ) -> Self {
        let truth = match name_of(verdict).as_str() {
            "leak" => Some(Truth::Leak),
            "suspect" => Some(Truth::Suspect),
            "bounded" => Some(Truth::Bounded),
            _ => None,
        };
        let class = pattern.and_then(|pattern| match (name_of(pattern).as_str(), truth) {
            ("periodic", Some(Truth::Bounded)) => Some(Class::PeriodicFlat),
            ("periodic", _) => Some(Class::PeriodicRising),
            (name, _) => Class::from_name(name),
        });
        Self { truth, class, confidence, growth }
    }

    /// Whether verdict and pattern are right.
    pub fn is_right(&self, series: &Labelled) -> bool {
        self.class == Some(series.class) && self.truth == Some(series.truth())
    }

    /// Whether it declines to answer, and may.
    fn is_excused(&self, series: &Labelled) -> bool {
        self.truth.is_none() && series.may_be_insufficient
    }
}

/// All scores of a set of answers.
#[derive(Clone, Debug)]
pub struct Scores {
    /// How many series were judged.
    pub count: usize,
    /// How many of them declined and were allowed to; they count nowhere else.
    pub excused: usize,
    /// Which class was taken for which.
    pub confusion: Confusion,
    /// Leak or not.
    pub leaks: Leaks,
    /// What confidence means.
    pub calibration: Calibration,
    /// What the growth interval is worth.
    pub intervals: Intervals,
}

impl Scores {
    /// Of these answers to these series.
    pub fn of(pairs: &[(&Labelled, Answer)]) -> Self {
        let counted: Vec<_> =
            pairs.iter().filter(|(series, answer)| !answer.is_excused(series)).copied().collect();
        Self {
            count: pairs.len(),
            excused: pairs.len() - counted.len(),
            confusion: Confusion::of(counted.iter().map(|(series, answer)| (series.class, answer.class))),
            leaks: Leaks::of(
                counted.iter().map(|(series, answer)| (series.truth(), answer.truth == Some(Truth::Leak))),
            ),
            calibration: Calibration::of(
                counted.iter().map(|(series, answer)| (answer.confidence, answer.is_right(series))),
            ),
            intervals: Intervals::of(&counted),
        }
    }
}

/// What an enum without data is written as; nothing for anything else.
fn name_of(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// `part` of `whole`; 0 of nothing.
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn series(class: Class, rate: Option<f64>) -> Labelled {
        Labelled {
            name: "test".into(),
            class,
            rate,
            noise_sd: 1.0,
            may_be_insufficient: false,
            ease: 1.0,
            points: vec![(0.0, 0), (10.0, 100)],
        }
    }

    #[test]
    fn names_become_classes() {
        let class = |verdict: &str, pattern: &str| Answer::new(&verdict, Some(&pattern), 1.0, None).class;
        assert_eq!(class("leak", "periodic"), Some(Class::PeriodicRising));
        assert_eq!(class("bounded", "periodic"), Some(Class::PeriodicFlat));
        assert_eq!(class("suspect", "spike"), Some(Class::Spike));
        assert_eq!(class("leak", "triangular"), None);
        for class in Class::ALL {
            assert_eq!(Class::from_name(class.name()), Some(class));
        }
    }

    #[test]
    fn declining_is_wrong_unless_it_is_allowed() {
        let long = series(Class::Linear, None);
        let short = Labelled { may_be_insufficient: true, ..long.clone() };
        let declined = Answer::new(&"insufficient_data", None::<&str>.as_ref(), 0.0, None);
        let scores = Scores::of(&[(&long, declined), (&short, declined)]);
        assert_eq!((scores.count, scores.excused), (2, 1));
        assert_eq!((scores.confusion.accuracy(), scores.leaks.missed), (0.0, 1));
    }
}
