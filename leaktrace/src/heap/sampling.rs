//! Samples by bytes: what a sampled block stands for.
//!
//! A block of `size` bytes is taken with the probability p = 1 - exp(-size / interval), and stands for 1 / p blocks of its
//! size (Horvitz and Thompson). Each is weighed before it is summed up: so the sum is right on average for every mixture of
//! sizes, which a mean size that is scaled up is not.
//!
//! The interval may change by [levels](leaktrace_common::sampling), and a block is weighed by that at which it was taken. One
//! of level 0 was seen for certain, as all were at that time.

use leaktrace_common::sampling::{MAX_LEVEL, interval_of};

/// Parts of a block that counts are kept in.
const PARTS: f64 = 1024.0;

/// Standard errors to each side of an interval that holds the truth 19 times of 20.
const Z: f64 = 1.959_963_984_540_054;

/// How samples are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// The interval of level 1, in bytes.
    base: u64,
    /// The present one, and the highest that ever was.
    level: u8,
    highest: u8,
}

/// What a sampled block stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Weight {
    pub(super) bytes: u64,
    /// Blocks, in parts.
    pub(super) parts: u64,
    /// Its share in the variance of the bytes, estimated from itself: size² (1 - p) / p².
    pub(super) variance: f64,
    /// It stands for itself: all blocks were seen when it was born.
    is_certain: bool,
}

impl Weight {
    /// How many blocks it stands for.
    pub(super) fn blocks(&self) -> f64 {
        self.parts as f64 / PARTS
    }
}

impl Sampling {
    /// One sample in so many bytes; `None` where everything is taken.
    pub fn every(interval: u64) -> Option<Self> {
        (interval > 0).then_some(Self { base: interval, level: 1, highest: 1 })
    }

    /// The same at another level from now on.
    #[must_use]
    pub fn at(self, level: u8) -> Self {
        let level = level.min(MAX_LEVEL);
        Self { level, highest: self.highest.max(level), ..self }
    }

    /// One sample in so many bytes at present; 0 where everything is taken.
    pub const fn interval(self) -> u64 {
        interval_of(self.base, self.level)
    }

    pub(super) fn weigh(self, size: u64, level: u8) -> Weight {
        let interval = interval_of(self.base, level);
        if interval == 0 {
            return Weight { bytes: size, parts: PARTS as u64, variance: 0.0, is_certain: true };
        }
        // An empty block has the chance of one byte.
        let size_or_one = size.max(1) as f64;
        let p = -(-size_or_one / interval as f64).exp_m1();
        let size = size as f64;
        Weight {
            bytes: (size / p).round() as u64,
            parts: (PARTS / p).round() as u64,
            variance: size * size * (1.0 - p) / (p * p),
            is_certain: false,
        }
    }
}

/// Counts of blocks as estimated from samples, and how far live bytes may be off. All 0 where everything is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    allocs: u64,
    frees: u64,
    live: u64,
    variance: f64,
    /// Live blocks that were seen for certain, and their bytes.
    certain: u64,
    certain_bytes: u64,
}

impl Estimate {
    /// So many live blocks, allocations and frees, and so large a variance of live bytes.
    pub(super) fn of([live, allocs, frees]: [f64; 3], variance: f64) -> Self {
        let parts = |blocks: f64| (blocks * PARTS).round() as u64;
        Self { allocs: parts(allocs), frees: parts(frees), live: parts(live), variance, ..Self::default() }
    }

    /// So many live blocks, allocations and frees, all of which were seen.
    pub(super) fn certain([live, allocs, frees]: [u64; 3], live_bytes: u64) -> Self {
        let counts = Self::of([live as f64, allocs as f64, frees as f64], 0.0);
        Self { certain: live, certain_bytes: live_bytes, ..counts }
    }

    /// Standard error of live bytes, squared.
    pub(super) const fn variance(&self) -> f64 {
        self.variance
    }

    pub(super) fn allocated(&mut self, weight: &Weight) {
        self.allocs = self.allocs.saturating_add(weight.parts);
        self.live = self.live.saturating_add(weight.parts);
        self.variance += weight.variance;
        if weight.is_certain {
            self.certain += 1;
            self.certain_bytes = self.certain_bytes.saturating_add(weight.bytes);
        }
    }

    pub(super) fn freed(&mut self, weight: &Weight) {
        self.frees = self.frees.saturating_add(weight.parts);
        self.dropped(weight);
    }

    pub(super) fn dropped(&mut self, weight: &Weight) {
        self.live = self.live.saturating_sub(weight.parts);
        // What was added is taken away; a rest of rounding is none.
        self.variance = if self.live == 0 { 0.0 } else { (self.variance - weight.variance).max(0.0) };
        if weight.is_certain {
            self.certain = self.certain.saturating_sub(1);
            self.certain_bytes = self.certain_bytes.saturating_sub(weight.bytes);
        }
    }

    pub(super) fn none_lives(&mut self) {
        (self.live, self.variance, self.certain, self.certain_bytes) = (0, 0.0, 0, 0);
    }

    /// Live blocks, allocations and frees.
    pub fn counts(&self) -> [u64; 3] {
        [self.live, self.allocs, self.frees].map(|parts| (parts as f64 / PARTS).round() as u64)
    }

    /// Standard error of live bytes.
    pub fn error(&self) -> f64 {
        self.variance.sqrt()
    }

    /// The same where the error is that of many things that are added up.
    pub(super) fn normal_interval(&self, live_bytes: u64) -> (u64, u64) {
        let half = (Z * self.error()) as u64;
        (live_bytes.saturating_sub(half), live_bytes.saturating_add(half))
    }

    /// An interval that holds the true live bytes 19 times of 20. `live_bytes` is what is estimated from `samples` live
    /// samples.
    ///
    /// The estimate is as good as if events of a Poisson process had been counted, so many that they have the same relative
    /// error. Of few samples no more events are taken than there are samples: of large blocks the one variance that is
    /// known says less than it seems to.
    pub fn interval(&self, live_bytes: u64, samples: u64, sampling: Sampling) -> (u64, u64) {
        let (certain, samples) = (self.certain_bytes.min(live_bytes), samples.saturating_sub(self.certain));
        let (low, high) = self.interval_of_samples(live_bytes - certain, samples, sampling);
        (low.saturating_add(certain), high.saturating_add(certain))
    }

    fn interval_of_samples(&self, live_bytes: u64, samples: u64, sampling: Sampling) -> (u64, u64) {
        const FEW: u64 = 100;
        if samples == 0 {
            let widest = interval_of(sampling.base, sampling.highest) as f64;
            return (live_bytes, live_bytes.saturating_add((poisson_interval(0.0).1 * widest) as u64));
        }
        let bytes = live_bytes as f64;
        let events = if self.variance > 0.0 { bytes * bytes / self.variance } else { f64::INFINITY };
        let events = if samples < FEW { events.min(samples as f64) } else { events };
        if events <= 0.0 || !events.is_finite() {
            return (live_bytes, live_bytes);
        }
        let (low, high) = poisson_interval(events);
        ((bytes * low / events) as u64, (bytes * high / events).ceil() as u64)
    }
}

/// The exact 95 % interval (Garwood) for the mean of a Poisson distribution of which `events` were counted, by the
/// approximation of Wilson and Hilferty, made so much wider that it is never narrower.
fn poisson_interval(events: f64) -> (f64, f64) {
    const WIDER: f64 = 0.003;
    /// -ln 0.025.
    const OF_NONE: f64 = 3.688_879_454_113_936_5;
    let bound = |n: f64, z: f64| n * (1.0 - 1.0 / (9.0 * n) + z / (3.0 * n.sqrt())).max(0.0).powi(3);
    if events <= 0.0 {
        return (0.0, OF_NONE);
    }
    let (low, high) = (bound(events, -Z), bound(events + 1.0, Z));
    (low - WIDER * (events - low), high + WIDER * (high - events))
}

#[cfg(test)]
mod tests;
