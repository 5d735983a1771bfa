//! Chance that is the same on every machine and in every year.
//!
//! Own and tiny on purpose: crates change what their distributions draw from version to version, and a corpus whose
//! series change with a dependency is no yardstick.

use std::f64::consts::TAU;

/// A source of pseudo-random numbers (SplitMix64; Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The source that `seed` starts.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 random bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in low..high.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in low..high on a logarithmic scale; both above 0.
    pub fn log_uniform(&mut self, low: f64, high: f64) -> f64 {
        log_between(low, high, self.unit())
    }

    /// A whole number in low..=high.
    pub fn whole(&mut self, low: usize, high: usize) -> usize {
        low + (self.unit() * (high.saturating_sub(low) + 1) as f64) as usize
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// One of these, each as likely as its weight.
    pub fn pick<T: Copy>(&mut self, choices: &[(f64, T)]) -> T {
        let mut left = self.unit() * choices.iter().map(|(weight, _)| weight).sum::<f64>();
        for &(weight, choice) in choices {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        choices[choices.len() - 1].1
    }

    /// Standard normal (Box–Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Student's t with 3 degrees of freedom, scaled to a standard deviation of 1.
    pub fn heavy(&mut self) -> f64 {
        let chi2 = (0..3).map(|_| self.normal().powi(2)).sum::<f64>();
        self.normal() / (chi2 / 3.0).sqrt() / 3.0_f64.sqrt()
    }

    /// Positive with mean 1 and about this coefficient of variation; never under a tenth.
    pub fn around_one(&mut self, variation: f64) -> f64 {
        (1.0 + variation * self.normal()).max(0.1)
    }
}

/// The point at `share` of the way from low to high on a logarithmic scale.
pub(crate) fn log_between(low: f64, high: f64, share: f64) -> f64 {
    low * (high / low).powf(share)
}
