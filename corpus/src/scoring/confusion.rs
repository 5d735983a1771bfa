//! Which class was taken for which.

use super::ratio;
use crate::labelled::Class;

const CLASSES: usize = Class::ALL.len();

/// Counts by true class and answered class; the last column is "no class".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confusion {
    counts: [[usize; CLASSES + 1]; CLASSES],
}

impl Confusion {
    /// Of pairs of the true class and the answered one.
    pub fn of(pairs: impl Iterator<Item = (Class, Option<Class>)>) -> Self {
        let mut confusion = Self::default();
        for (truth, answer) in pairs {
            confusion.counts[truth as usize][answer.map_or(CLASSES, |class| class as usize)] += 1;
        }
        confusion
    }

    /// How often `truth` was taken for `answer`.
    pub fn count(&self, truth: Class, answer: Option<Class>) -> usize {
        self.counts[truth as usize][answer.map_or(CLASSES, |class| class as usize)]
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        let right = Class::ALL.iter().map(|&class| self.count(class, Some(class))).sum();
        ratio(right, self.counts.iter().flatten().sum())
    }

    /// Harmonic mean of precision and recall of a class; `None` where it neither occurs nor is answered.
    pub fn f1(&self, class: Class) -> Option<f64> {
        let right = self.count(class, Some(class));
        let occurs: usize = self.counts[class as usize].iter().sum();
        let answered: usize = self.counts.iter().map(|row| row[class as usize]).sum();
        (occurs + answered > 0).then(|| ratio(2 * right, occurs + answered))
    }

    /// Mean of the classes' F1.
    pub fn macro_f1(&self) -> f64 {
        let all: Vec<f64> = Class::ALL.iter().filter_map(|&class| self.f1(class)).collect();
        all.iter().sum::<f64>() / all.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_by_hand() {
        let confusion = Confusion::of(
            [
                (Class::Linear, Some(Class::Linear)),
                (Class::Linear, Some(Class::Linear)),
                (Class::Linear, Some(Class::Warmup)),
                (Class::Warmup, Some(Class::Warmup)),
                (Class::Warmup, None),
            ]
            .into_iter(),
        );
        // Linear: precision 2/2, recall 2/3, F1 0.8. Warmup: precision 1/2, recall 1/2, F1 0.5.
        assert!((confusion.f1(Class::Linear).unwrap() - 0.8).abs() < 1e-12);
        assert!((confusion.f1(Class::Warmup).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(confusion.f1(Class::Spike), None);
        assert!((confusion.macro_f1() - 0.65).abs() < 1e-12);
        assert!((confusion.accuracy() - 0.6).abs() < 1e-12);
        assert_eq!(confusion.count(Class::Warmup, None), 1);
    }
}
