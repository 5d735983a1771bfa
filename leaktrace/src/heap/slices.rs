//! Blocks of a trace that looks in slices: what can be said of frees that nobody saw.
//!
//! The probes stand for a slice of time and are away for much longer. Most of what is allocated is work in progress and freed
//! at once. So only blocks that are seen to reach half the length of a slice count, the *ripe* ones: births in the first half
//! that live on for as long, and frees in the second half of blocks that are older than that. Each stands for as many as that
//! half stands for time. A ripe block that lives when the probes go is out of sight. What became of it shows when, in a later
//! slice, its address is freed or handed out again: then it is *known to be gone*. Of one that is not known to be gone, nothing
//! is known: its end is censored, not absent.
//!
//! How many are gone all the same is estimated. A block that is gone is known to be so with some probability, the *chance*,
//! that is at least the share of time in which the probes stand: its free itself may fall into a slice. And it is at most 1. In
//! between it is found by a balance: all frees of ripe blocks, whoever's they were, are counted, and so many must have gone in
//! all. So a site whose blocks are never seen to go is the one that grows, and one whose blocks go as those of others do, is
//! not.

mod growth;
mod solve;

use rustc_hash::FxHashMap;

pub use growth::Growth;
use solve::{Fate, chance};

/// A slice stands for at most so many times its length.
const HIGHEST_WEIGHT: f64 = 1e6;
/// The balance of frees may be wrong by so much: at the edges of a slice some calls are seen by half.
const BALANCE: f64 = 0.01;
/// So many slices are told apart; beyond, two neighbours become one.
const MOST_SLICES: usize = 1 << 16;

/// Blocks that lived when the probes went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Stock {
    /// How many they stand for.
    blocks: f64,
    bytes: f64,
    /// What the allocator gave beyond.
    spare: f64,
    /// Of the bytes, as of a sum of independent blocks.
    variance: f64,
    /// How many they are.
    seen: u64,
}

impl Stock {
    fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.bytes += other.bytes;
        self.spare += other.spare;
        self.variance += other.variance;
        self.seen += other.seen;
    }

    /// A block as it is.
    fn of(size: u64, given: u64) -> Self {
        let (bytes, given) = (size as f64, given as f64);
        Self { blocks: 1.0, bytes, spare: given - bytes, variance: bytes * bytes, seen: 1 }
    }

    /// Each for so many.
    fn weighed(self, weight: f64) -> Self {
        Self {
            blocks: self.blocks * weight,
            bytes: self.bytes * weight,
            spare: self.spare * weight,
            variance: self.variance * weight * (weight - 1.0),
            seen: self.seen,
        }
    }
}

/// The blocks of one call site that are alike: of sizes between two powers of two. Small work in progress and large blocks that
/// stay may come from one site, and say nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    site: u32,
    class: u8,
}

impl Key {
    fn of(site: u32, size: u64) -> Self {
        Self { site, class: (u64::BITS - size.leading_zeros()) as u8 }
    }

    /// The blocks from before the first slice, whatever their size.
    const fn before(site: u32) -> Self {
        Self { site, class: u8::MAX }
    }
}

/// What a site holds when the probes go for the first time: as it was seen, or as it is estimated from samples.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) blocks: u64,
    pub(super) bytes: u64,
    /// Of the bytes.
    pub(super) variance: f64,
    /// How many blocks that rests on.
    pub(super) seen: u64,
}

/// What was seen of a kind of blocks in slices.
#[derive(Clone, Copy, Debug, Default)]
struct Glimpse {
    /// Out of sight since before the last slice.
    settled: Stock,
    /// Out of sight since the end of the last slice. They count as what they are: most may be work in progress.
    recent: Stock,
    /// Those of these that lived then, not weighed.
    recent_bytes: f64,
    /// Known to be gone.
    gone: f64,
    gone_seen: u64,
    /// Born in this slice, and of these gone again.
    born: u64,
    born_bytes: u64,
    died: u64,
    /// Of this slice, not weighed: blocks that became ripe, and are gone.
    ripe_gone: Stock,
    /// Estimated up to the last slice.
    allocs: f64,
    alloc_bytes: f64,
    frees: f64,
}

/// What is estimated of a call site.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Estimated {
    pub(super) live_blocks: f64,
    pub(super) live_bytes: f64,
    /// Bytes that live more than when looking in slices began.
    pub(super) grown_bytes: f64,
    /// What the allocator gave beyond, of those that were born in slices.
    pub(super) spare_bytes: f64,
    /// Of the live bytes, by chance; what the balance may be wrong by comes on top, and is the same for all sites at once.
    pub(super) variance: f64,
    pub(super) by_balance: f64,
    pub(super) allocs: f64,
    pub(super) alloc_bytes: f64,
    pub(super) frees: f64,
}

impl Estimated {
    fn add(&mut self, other: &Self) {
        self.live_blocks += other.live_blocks;
        self.live_bytes += other.live_bytes;
        self.grown_bytes += other.grown_bytes;
        self.spare_bytes += other.spare_bytes;
        self.variance += other.variance;
        self.by_balance += other.by_balance;
        self.allocs += other.allocs;
        self.alloc_bytes += other.alloc_bytes;
        self.frees += other.frees;
    }

    /// Of the live bytes, in all.
    pub(super) const fn variance(&self) -> f64 {
        self.variance + self.by_balance * self.by_balance
    }
}

/// A slice of time that has ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Slice {
    /// When it began, in birth units.
    pub(super) from: u32,
    /// How long it was.
    pub(super) seconds: f64,
    /// The age from which on its blocks count; 0 where the probes stay.
    pub(super) ripening_s: f64,
    /// From the end of the one before to its own.
    pub(super) cycle_s: f64,
}

/// The blocks of one process, by what slices showed of them.
#[derive(Debug)]
pub(super) struct Slices {
    /// When looking by slices began, in birth units.
    since: u32,
    /// Whether all frees are seen within a slice: not, where small blocks are left out.
    is_balanced: bool,
    /// From which birth unit on a slice stood for how much: ascending.
    weights: Vec<(u32, f64)>,
    kinds: FxHashMap<Key, Glimpse>,
    /// Frees of ripe blocks: in this slice, and what those of all others stand for.
    ripe_frees: (u64, f64),
    /// Seconds within slices, and all since it began.
    seconds: (f64, f64),
}

impl Slices {
    /// The probes go for the first time, at this birth unit.
    pub(super) fn new(since: u32, is_balanced: bool) -> Self {
        Self {
            since,
            is_balanced,
            weights: Vec::new(),
            kinds: FxHashMap::default(),
            ripe_frees: (0, 0.0),
            seconds: (0.0, 0.0),
        }
    }

    /// What a site held when the probes went for the first time, and how many allocations and frees it had seen by then.
    pub(super) fn held(&mut self, site: u32, held: Held, [allocs, frees]: [u64; 2], alloc_bytes: u64) {
        let (blocks, bytes) = (held.blocks as f64, held.bytes as f64);
        let glimpse = self.kinds.entry(Key::before(site)).or_default();
        let Held { variance, seen, .. } = held;
        glimpse.settled = Stock { blocks, bytes, variance, seen, ..Stock::default() };
        (glimpse.allocs, glimpse.frees, glimpse.alloc_bytes) =
            (allocs as f64, frees as f64, alloc_bytes as f64);
    }

    /// A block was found that is older than the trace.
    pub(super) fn found(&mut self, site: u32, size: u64) {
        let glimpse = self.kinds.entry(Key::before(site)).or_default();
        glimpse.settled.add(&Stock { blocks: 1.0, bytes: size as f64, seen: 1, ..Stock::default() });
        glimpse.allocs += 1.0;
        glimpse.alloc_bytes += size as f64;
    }

    /// A block is born in this slice.
    #[inline]
    pub(super) fn born(&mut self, site: u32, size: u64) {
        let glimpse = self.kinds.entry(Key::of(site, size)).or_default();
        glimpse.born += 1;
        glimpse.born_bytes = glimpse.born_bytes.saturating_add(size);
    }

    /// One that was born in this slice was freed in it.
    #[inline]
    pub(super) fn died(&mut self, site: u32, size: u64) {
        self.kinds.entry(Key::of(site, size)).or_default().died += 1;
    }

    /// One that was out of sight is known to be gone. From before the first slice it stood for so many.
    pub(super) fn gone(&mut self, site: u32, size: u64, birth: u32, stood_for: f64) {
        let (key, weight) = if birth < self.since {
            (Key::before(site), stood_for)
        } else {
            (Key::of(site, size), self.weight(birth))
        };
        if let Some(glimpse) = self.kinds.get_mut(&key) {
            glimpse.gone += weight;
            glimpse.gone_seen += 1;
        }
    }

    /// One that was born in this slice was freed in it, and was ripe.
    pub(super) fn died_ripe(&mut self, site: u32, size: u64, given: u64) {
        self.died(site, size);
        self.outlived(site, size, given);
        self.ripe_frees.0 += 1;
    }

    /// One that was born in this slice became ripe in it, and is known to be gone since.
    pub(super) fn outlived(&mut self, site: u32, size: u64, given: u64) {
        self.kinds.entry(Key::of(site, size)).or_default().ripe_gone.add(&Stock::of(size, given));
    }

    /// A free of a ripe block from before this slice, known or not.
    #[inline]
    pub(super) const fn freed_from_before(&mut self) {
        self.ripe_frees.0 += 1;
    }

    /// What a block that was born then stands for. Before the first slice all were seen.
    fn weight(&self, birth: u32) -> f64 {
        let after = self.weights.partition_point(|&(from, _)| from <= birth);
        after.checked_sub(1).and_then(|index| self.weights.get(index)).map_or(1.0, |&(_, weight)| weight)
    }

    /// A slice ends. `survivors` are the ripe blocks that were born in it and live: site, size, and what the allocator gave.
    pub(super) fn end_slice(&mut self, slice: Slice, survivors: impl Iterator<Item = (u32, u64, u64)>) {
        let Slice { from, seconds, ripening_s, cycle_s } = slice;
        let stands_for =
            |seconds: f64| if seconds > 0.0 { (cycle_s / seconds).clamp(1.0, HIGHEST_WEIGHT) } else { 1.0 };
        let (weight, ripe_weight) = (stands_for(seconds), stands_for(seconds - ripening_s));
        self.remember_weight(from, ripe_weight);
        self.seconds.0 += seconds;
        self.seconds.1 += seconds * weight;
        self.ripe_frees.1 += self.ripe_frees.0 as f64 * ripe_weight;
        self.ripe_frees.0 = 0;
        for glimpse in self.kinds.values_mut() {
            glimpse.settle(ripe_weight);
            glimpse.allocs += glimpse.born as f64 * weight;
            glimpse.alloc_bytes += glimpse.born_bytes as f64 * weight;
            glimpse.frees += glimpse.died as f64 * weight;
            (glimpse.born, glimpse.born_bytes, glimpse.died) = (0, 0, 0);
        }
        for (site, size, given) in survivors {
            let glimpse = self.kinds.entry(Key::of(site, size)).or_default();
            glimpse.recent.add(&Stock::of(size, given).weighed(ripe_weight));
            glimpse.recent_bytes += size as f64;
        }
    }

    fn remember_weight(&mut self, from: u32, weight: f64) {
        // A block's birth is known to a unit; slices that share one are told apart by nothing.
        match self.weights.last_mut() {
            Some(last) if last.0 >= from || last.1.to_bits() == weight.to_bits() => last.1 = weight,
            _ => self.weights.push((from, weight)),
        }
        if self.weights.len() > MOST_SLICES {
            self.weights = self.weights.chunks(2).filter_map(merged).collect();
        }
    }

    /// Share of the time in which the probes stand; 1 before the first slice.
    pub(super) fn share(&self) -> f64 {
        let (within, all) = self.seconds;
        if all > 0.0 { (within / all).clamp(1e-6, 1.0) } else { 1.0 }
    }

    /// Whether all frees are seen within a slice.
    pub(super) const fn is_balanced(&self) -> bool {
        self.is_balanced
    }

    /// When looking by slices began, in birth units.
    pub(super) const fn since(&self) -> u32 {
        self.since
    }

    /// What is estimated of each site, by its index.
    pub(super) fn estimates(&self) -> FxHashMap<u32, Estimated> {
        let least = self.share();
        let chances = if self.is_balanced {
            let fates = || self.kinds.values().map(Glimpse::fate);
            [1.0 - BALANCE, 1.0, 1.0 + BALANCE].map(|part| chance(fates, self.ripe_frees.1 * part, least))
        } else {
            [least; 3]
        };
        let mut estimates = FxHashMap::<u32, Estimated>::default();
        for (key, glimpse) in &self.kinds {
            let held_bytes = if *key == Key::before(key.site) { glimpse.settled.bytes } else { 0.0 };
            estimates.entry(key.site).or_default().add(&glimpse.estimate(chances, least, held_bytes));
        }
        estimates
    }
}

/// Neighbours as one slice.
fn merged(slices: &[(u32, f64)]) -> Option<(u32, f64)> {
    let (from, _) = *slices.first()?;
    Some((from, slices.iter().map(|(_, weight)| weight).sum::<f64>() / slices.len() as f64))
}

impl Glimpse {
    /// What was recent has been out of sight for a cycle; what became ripe since and is gone has settled, too.
    fn settle(&mut self, weight: f64) {
        self.settled.add(&std::mem::take(&mut self.recent));
        self.recent_bytes = 0.0;
        let gone = std::mem::take(&mut self.ripe_gone).weighed(weight);
        self.settled.add(&gone);
        self.gone += gone.blocks;
        self.gone_seen += gone.seen;
    }

    fn fate(&self) -> Fate {
        Fate { blocks: self.settled.blocks, gone: self.gone.min(self.settled.blocks) }
    }

    /// By the chance that a block which is gone is known to be, if there were fewer frees, by what was counted, and if there
    /// were more; and by the least that it can be. `held_bytes` lived when looking in slices began.
    fn estimate(&self, [fewer, counted, more]: [f64; 3], least: f64, held_bytes: f64) -> Estimated {
        let fate = self.fate();
        let live_by = |chance: f64| {
            let gone = fate.gone_by(chance);
            self.settled.bytes * if fate.blocks > 0.0 { 1.0 - gone / fate.blocks } else { 1.0 }
        };
        let (gone, live) = (fate.gone_by(counted), live_by(counted));
        let survival = if fate.blocks > 0.0 { 1.0 - gone / fate.blocks } else { 1.0 };
        // Deaths that were seen are events of a Poisson process, of which the rarest chance would have shown so few. But not
        // more can live than are not known to be gone.
        let room = live.max(live_by(1.0) - live);
        let deaths = (self.gone_seen as f64 + 1.0).sqrt() / (self.settled.seen.max(1) as f64 * least);
        let by_deaths = (self.settled.bytes * deaths).min(room);
        Estimated {
            live_blocks: fate.blocks * survival + self.recent.seen as f64,
            live_bytes: live + self.recent_bytes,
            grown_bytes: live + self.recent_bytes - held_bytes,
            spare_bytes: self.settled.spare * survival,
            variance: self.settled.variance * survival + by_deaths.powi(2),
            by_balance: (live_by(fewer) - live_by(more)) / 2.0,
            allocs: self.allocs,
            alloc_bytes: self.alloc_bytes,
            frees: self.frees + gone,
        }
    }
}

#[cfg(test)]
mod tests;
