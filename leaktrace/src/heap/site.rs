//! A call site: one distinct call path of one process, and what was allocated there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::block::BIRTH_UNIT_NS;
use super::cohorts::{Cohort, Cohorts};
use super::sampling::Estimate;

/// Id of the site for allocations whose stack could not be taken; each process has its own.
pub const NO_STACK_SITE: u32 = 0;

/// Id of the site for allocations of all sites beyond the limit; each process has its own.
pub const OVERFLOW_SITE: u32 = u32::MAX;

/// Id of the site for mappings whose stack could not be taken; each process has its own.
pub const MAPPING_NO_STACK_SITE: u32 = u32::MAX - 1;

/// Id of the site for mappings of all sites beyond the limit; each process has its own.
pub const MAPPING_OVERFLOW_SITE: u32 = u32::MAX - 2;

/// Hands out site ids: one for all processes of a trace, cloned into each tracker.
#[derive(Clone, Debug, Default)]
pub struct SiteIds(Arc<AtomicU32>);

impl SiteIds {
    pub(super) fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }
}

/// One distinct call path of one process. Bytes are requested bytes; times are the kernel's monotonic nanoseconds.
// What an allocation touches lies in the first cache line, and what a free touches beside that in as few as can be.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Site {
    /// Allocations.
    pub allocs: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Time of the last allocation.
    pub last_alloc_ns: u64,
    /// The largest `live_bytes` so far.
    pub peak_live_bytes: u64,
    /// Blocks allocated and not freed.
    pub live_count: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Bytes freed.
    pub freed_bytes: u64,
    cohorts: Cohorts,
    /// Frees that were seen.
    pub frees: u64,
    /// Ages that blocks reached before they were freed; of the running image only, where it outlives an exec.
    pub lifetimes: Lifetimes,
    /// Allocations whose blocks are not in the live map, because it was full.
    unkept: u64,
    /// Time of the first allocation.
    pub first_seen_ns: u64,
    /// Where samples are taken: what their counts stand for. Its bytes are estimates then, its counts those of samples.
    pub estimate: Estimate,
    stack: Arc<[u64]>,
    /// Unique within the trace, from 1, or [`NO_STACK_SITE`] or [`OVERFLOW_SITE`].
    pub id: u32,
    depth: u32,
    /// The walk ended because the record was full: outer frames are missing.
    pub truncated: bool,
    /// It belongs to an image that the process has left by exec: nothing of it is live.
    pub ended: bool,
}

const _: () = assert!(size_of::<Site>() == 576, "the budget of 700 bytes a site counts on this");

impl Site {
    pub(super) fn new(id: u32, now_ns: u64) -> Self {
        Self {
            id,
            stack: Arc::new([]),
            depth: 0,
            truncated: false,
            ended: false,
            allocs: 0,
            frees: 0,
            alloc_bytes: 0,
            freed_bytes: 0,
            live_count: 0,
            live_bytes: 0,
            peak_live_bytes: 0,
            first_seen_ns: now_ns,
            last_alloc_ns: now_ns,
            lifetimes: Lifetimes::default(),
            unkept: 0,
            estimate: Estimate::default(),
            cohorts: Cohorts::default(),
        }
    }

    /// Return addresses, innermost first; empty where the stack is not available.
    pub fn frames(&self) -> &[u64] {
        self.stack.get(..self.depth as usize).unwrap_or(&[])
    }

    /// Names the call path: the first `depth` addresses of `stack`.
    pub(super) fn set_stack(&mut self, stack: Arc<[u64]>, depth: usize, truncated: bool) {
        self.depth = depth.min(stack.len()) as u32;
        self.stack = stack;
        self.truncated = truncated;
    }

    /// Blocks that came to life here, whatever became of them.
    pub(super) const fn born(&self) -> u64 {
        self.allocs.saturating_sub(self.unkept)
    }

    /// The blocks of the running image by the time of their birth, oldest first.
    pub(super) fn cohorts(&self) -> impl Iterator<Item = Cohort> {
        self.cohorts.iter(self.born(), self.live_count)
    }

    /// When the first block of the running image was born, in birth units; `None` before it.
    pub(super) const fn first_birth(&self) -> Option<u32> {
        self.cohorts.first_birth()
    }

    /// A block came to life here, at `birth` (birth units).
    #[inline]
    pub(super) fn allocated(&mut self, size: u64, birth: u32, now_ns: u64) {
        if !self.cohorts.is_current(birth) {
            self.cohorts.turn(birth, self.born(), self.live_count);
        }
        self.count_allocation(size, now_ns);
        self.live_count += 1;
        self.live_bytes = self.live_bytes.saturating_add(size);
        self.peak_live_bytes = self.peak_live_bytes.max(self.live_bytes);
    }

    /// An allocation was seen whose block cannot be kept.
    pub(super) fn not_kept(&mut self, size: u64, now_ns: u64) {
        self.count_allocation(size, now_ns);
        self.unkept += 1;
    }

    #[inline]
    fn count_allocation(&mut self, size: u64, now_ns: u64) {
        self.allocs += 1;
        self.alloc_bytes = self.alloc_bytes.saturating_add(size);
        self.last_alloc_ns = now_ns;
    }

    /// A block of this site was freed at the age of `age` birth units.
    #[inline]
    pub(super) fn freed(&mut self, size: u64, birth: u32, age: u32) {
        self.frees += 1;
        self.freed_bytes = self.freed_bytes.saturating_add(size);
        self.lifetimes.add(age);
        self.dropped(size, birth);
    }

    /// A block of this site is gone without a free that we saw.
    #[inline]
    pub(super) fn dropped(&mut self, size: u64, birth: u32) {
        self.live_count = self.live_count.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(size);
        self.cohorts.gone(birth);
    }

    /// What it holds and has handed out is estimated anew.
    pub(super) fn estimated(&mut self, estimate: Estimate, live_bytes: u64, alloc_bytes: u64) {
        self.estimate = estimate;
        (self.live_bytes, self.alloc_bytes) = (live_bytes, alloc_bytes);
        self.freed_bytes = alloc_bytes.saturating_sub(live_bytes);
        self.peak_live_bytes = self.peak_live_bytes.max(live_bytes);
    }

    /// The image that it belongs to is gone.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.live_count = 0;
        self.live_bytes = 0;
        self.estimate.none_lives();
        self.cohorts = Cohorts::default();
    }

    /// The process has a new image, to which this site belongs as well: what it knows of ages begins anew.
    pub(super) fn restart(&mut self) {
        self.end();
        self.ended = false;
        self.lifetimes = Lifetimes::default();
    }
}

/// Histogram of the ages at which blocks were freed, in doubling steps from 10 ms on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes([u64; Self::BUCKETS]);

impl Lifetimes {
    /// How many buckets there are; the last one also holds everything older (from 46 hours on).
    pub const BUCKETS: usize = 25;

    #[inline]
    pub(super) fn add(&mut self, age: u32) {
        let bucket = (u32::BITS - age.leading_zeros()) as usize;
        if let Some(count) = self.0.get_mut(bucket.min(Self::BUCKETS - 1)) {
            *count += 1;
        }
    }

    /// Counts, youngest first: bucket 0 holds ages below 10 ms, bucket k ages from [`Lifetimes::lower_ns`] (k) on.
    pub const fn counts(&self) -> &[u64; Self::BUCKETS] {
        &self.0
    }

    /// The bounds of a bucket in birth units; the last one has no end.
    pub(super) fn units(bucket: usize) -> (f64, f64) {
        let lower = |bucket| (Self::lower_ns(bucket) / BIRTH_UNIT_NS) as f64;
        (lower(bucket), if bucket + 1 < Self::BUCKETS { lower(bucket + 1) } else { f64::INFINITY })
    }

    /// The smallest age in a bucket, in nanoseconds.
    pub const fn lower_ns(bucket: usize) -> u64 {
        match bucket {
            0 => 0,
            1..Self::BUCKETS => BIRTH_UNIT_NS << (bucket - 1),
            _ => BIRTH_UNIT_NS << (Self::BUCKETS - 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_fall_into_the_bucket_whose_bounds_hold_them() {
        for age in [0, 1, 2, 3, 4, 1000, u32::MAX] {
            let mut lifetimes = Lifetimes::default();
            lifetimes.add(age);
            let bucket = lifetimes.counts().iter().position(|&count| count == 1).unwrap();
            let age_ns = u64::from(age) * BIRTH_UNIT_NS;
            assert!(age_ns >= Lifetimes::lower_ns(bucket));
            assert!(bucket == Lifetimes::BUCKETS - 1 || age_ns < Lifetimes::lower_ns(bucket + 1));
        }
    }

    #[test]
    fn peak_stays_when_blocks_go() {
        let mut site = Site::new(1, 5);
        site.allocated(10, 0, 6);
        site.allocated(20, 0, 7);
        site.freed(10, 0, 0);
        assert_eq!((site.live_bytes, site.live_count, site.peak_live_bytes), (20, 1, 30));
        assert_eq!((site.first_seen_ns, site.last_alloc_ns, site.frees), (5, 7, 1));
        site.end();
        assert_eq!((site.live_bytes, site.live_count, site.allocs), (0, 0, 2));
    }
}
