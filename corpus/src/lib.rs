//! The yardstick of leaktrace's verdicts: labelled series of bytes over time, other people's detectors, and scores.
//!
//! It knows nothing of leaktrace, so that it cannot be bent towards it. Labels depend only on what is visible in the
//! window: each family draws its parameters so that the label can be told in principle, documents that rule at its
//! top, and draws again where chance made it untrue. How easy a series is runs from the edge of that to obvious.

mod clock;
mod dice;
mod draft;
mod families;
mod labelled;
mod noise;
mod peers;
pub mod recorded;
mod report;
pub mod scoring;
pub mod seeds;

pub use dice::Dice;
pub use labelled::{Class, Labelled, Truth};
pub use peers::{PEERS, Peer};
pub use report::{Judged, replace_between_markers, report};

/// Series for which the thresholds hold, at least.
pub const DEFAULT_COUNT: usize = 2_400;

/// Makes `count` labelled series, as many of each class (but for a remainder). The same seed gives the same series.
pub fn generate(seed: u64, count: usize) -> Vec<Labelled> {
    (0..count)
        .map(|i| {
            let mut dice = Dice::new(Dice::new(seed).bits() ^ Dice::new(i as u64).bits());
            let class = Class::ALL[i % Class::ALL.len()];
            families::draw(&mut dice, class)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_seed_is_a_corpus() {
        let (once, again, other) = (generate(7, 64), generate(7, 64), generate(8, 64));
        assert_eq!(once, again);
        assert!(once.iter().zip(&other).all(|(a, b)| a.points != b.points));
        assert_eq!(once[..16], generate(7, 16), "more of them do not change the first");
    }

    #[test]
    fn series_are_what_a_reader_of_files_expects() {
        let corpus = generate(1, 1_600);
        for series in &corpus {
            let name = &series.name;
            assert!(series.points.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: times ascend");
            assert!((12..=2_000).contains(&series.points.len()), "{name}: {}", series.points.len());
            assert_eq!(series.may_be_insufficient, series.points.len() < 30, "{name}");
            assert!(series.rate.is_none_or(f64::is_finite) && series.noise_sd.is_finite(), "{name}");
            let highest = series.points.iter().map(|(_, bytes)| *bytes).max().unwrap();
            assert!((5_000..100_000_000_000).contains(&highest), "{name}: {highest}");
        }
        let mut of_class: HashMap<Class, usize> = HashMap::new();
        for series in &corpus {
            *of_class.entry(series.class).or_default() += 1;
        }
        assert!(Class::ALL.iter().all(|class| of_class[class] == 200), "{of_class:?}");
    }

    #[test]
    fn labels_are_in_the_points() {
        for series in generate(2, 1_600) {
            let third = series.points.len() / 3;
            let middle = |points: &[(f64, u64)]| {
                let mut values: Vec<u64> = points.iter().map(|(_, bytes)| *bytes).collect();
                values.sort_unstable();
                values[values.len() / 2] as f64
            };
            let (early, late) = (&series.points[..third], &series.points[series.points.len() - third..]);
            let rise = middle(late) - middle(early);
            match series.class {
                Class::Linear | Class::Staircase => assert!(rise > 0.0, "{}: {rise}", series.name),
                Class::Warmup => assert!(middle(late) > middle(&series.points[..5]), "{}", series.name),
                Class::Shrinking => assert!(rise < 0.0, "{}: {rise}", series.name),
                // A spike may be in either third, cycles may begin anywhere, and steady series rise by chance.
                Class::Spike | Class::PeriodicRising | Class::PeriodicFlat | Class::Steady => {}
            }
        }
    }
}
