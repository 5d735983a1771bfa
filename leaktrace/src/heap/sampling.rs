//! Samples by bytes: what a sampled block stands for.
//!
//! A block of `size` bytes is taken with the probability p = 1 - exp(-size / interval), and stands for 1 / p blocks of its
//! size (Horvitz and Thompson). Each is weighed before it is summed up: so the sum is right on average for every mixture of
//! sizes, which a mean size that is scaled up is not.

/// Parts of a block that counts are kept in.
const PARTS: f64 = 1024.0;

/// How samples are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    interval: f64,
}

/// What a sampled block stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Weight {
    pub(super) bytes: u64,
    /// Blocks, in parts.
    pub(super) parts: u64,
    /// Its share in the variance of the bytes, estimated from itself: size² (1 - p) / p².
    pub(super) variance: f64,
}

impl Sampling {
    /// One sample in so many bytes; `None` where everything is taken.
    pub fn every(interval: u64) -> Option<Self> {
        (interval > 0).then_some(Self { interval: interval as f64 })
    }

    pub(super) fn weigh(self, size: u64) -> Weight {
        // An empty block has the chance of one byte.
        let size_or_one = size.max(1) as f64;
        let p = -(-size_or_one / self.interval).exp_m1();
        let size = size as f64;
        Weight {
            bytes: (size / p).round() as u64,
            parts: (PARTS / p).round() as u64,
            variance: size * size * (1.0 - p) / (p * p),
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
}

impl Estimate {
    pub(super) fn allocated(&mut self, weight: &Weight) {
        self.allocs = self.allocs.saturating_add(weight.parts);
        self.live = self.live.saturating_add(weight.parts);
        self.variance += weight.variance;
    }

    pub(super) fn freed(&mut self, weight: &Weight) {
        self.frees = self.frees.saturating_add(weight.parts);
        self.dropped(weight);
    }

    pub(super) fn dropped(&mut self, weight: &Weight) {
        self.live = self.live.saturating_sub(weight.parts);
        // What was added is taken away; a rest of rounding is none.
        self.variance = if self.live == 0 { 0.0 } else { (self.variance - weight.variance).max(0.0) };
    }

    pub(super) fn none_lives(&mut self) {
        (self.live, self.variance) = (0, 0.0);
    }

    /// Live blocks, allocations and frees.
    pub fn counts(&self) -> [u64; 3] {
        [self.live, self.allocs, self.frees].map(|parts| (parts as f64 / PARTS).round() as u64)
    }

    /// Standard error of live bytes.
    pub fn error(&self) -> f64 {
        self.variance.sqrt()
    }

    /// An interval that holds the true live bytes 19 times of 20. `live_bytes` is what is estimated from `samples` live
    /// samples.
    ///
    /// The estimate is as good as if events of a Poisson process had been counted, so many that they have the same relative
    /// error. Of few samples no more events are taken than there are samples: of large blocks the one variance that is
    /// known says less than it seems to.
    pub fn interval(&self, live_bytes: u64, samples: u64, sampling: Sampling) -> (u64, u64) {
        const FEW: u64 = 100;
        if samples == 0 {
            return (
                live_bytes,
                live_bytes.saturating_add((poisson_interval(0.0).1 * sampling.interval) as u64),
            );
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
    const Z: f64 = 1.959_963_984_540_054;
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
