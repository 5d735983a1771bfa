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

pub use dice::Dice;
pub use labelled::{Class, Labelled, Truth};

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
