//! What the tracker is asked at a tick and at the end.

use super::Tracker;
use crate::heap::block::{BIRTH_UNIT_NS, Block};
use crate::heap::facts::{SiteFacts, site_facts};
use crate::heap::sampling::Estimate;

/// Live blocks of a site above an age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldLive {
    /// Id of the site.
    pub site: u32,
    /// Bytes of its old blocks.
    pub live_bytes: u64,
    /// Its old blocks.
    pub live_count: u64,
}

impl Tracker {
    /// Live blocks, allocations and frees: as counted, or as estimated from samples.
    pub fn counts(&self) -> [u64; 3] {
        let totals = &self.totals;
        if self.is_estimated() {
            return totals.estimate.counts();
        }
        [totals.live_count, totals.allocs, totals.frees]
    }

    /// An interval that holds the live bytes 19 times of 20, where they are estimated.
    pub fn interval(&self) -> Option<(u64, u64)> {
        let totals = &self.totals;
        self.interval_of(&totals.estimate, totals.live_bytes, totals.live_count)
    }

    /// The same for live bytes of a site that are estimated from so many blocks.
    pub fn interval_of(&self, estimate: &Estimate, live_bytes: u64, blocks: u64) -> Option<(u64, u64)> {
        if self.glimpses.is_some() {
            return Some(estimate.normal_interval(live_bytes));
        }
        Some(estimate.interval(live_bytes, blocks, self.sampling?))
    }

    /// Recent growth of a site's live bytes, bytes a second; `None` until it was among those with a full history, the
    /// largest and the fastest growing, for three ticks.
    pub fn site_growth(&self, id: u32) -> Option<f64> {
        match self.sites.index_of(id) {
            Some(index) => self.histories.get(index)?.series.rate(),
            None => self.mappings.site_growth(id).or_else(|| self.sampled.site_growth(id)),
        }
    }

    /// The history of a site's live bytes, oldest first: (seconds since attach, bytes), at most
    /// [`Series::CAPACITY`](crate::heap::Series::CAPACITY) + 8 points. The last one is what it holds now, at the time of the last tick.
    ///
    /// The first one shows where the site began: nothing, at the last tick before its first allocation; or what it
    /// held at the first tick, where it may be older than the trace. Sites that matter little have eight points.
    /// `None` for a site of a former image, or one that is younger than the last tick.
    pub fn site_history(&self, id: u32) -> Option<Vec<(f64, f64)>> {
        let Some(index) = self.sites.index_of(id) else {
            return self.mappings.site_history(id).or_else(|| self.sampled.site_history(id));
        };
        let (tick, site) = (self.series.last()?, self.sites().get(index as usize)?);
        self.histories.up_to(index, tick.t, site.live_bytes)
    }

    /// The history of the process's live bytes, oldest first: (seconds since attach, bytes), as of the last tick.
    /// After exec it begins anew.
    pub fn history(&self) -> Vec<(f64, f64)> {
        self.series.points().map(|point| (point.t, point.value as f64)).collect()
    }

    /// What became of the blocks of a site up to `now_ns`; `None` where there is no such site.
    pub fn site_facts(&self, id: u32, now_ns: u64) -> Option<SiteFacts> {
        let now = now_ns.saturating_sub(self.start_ns) as f64 / BIRTH_UNIT_NS as f64;
        let site = self.site(id)?;
        let facts = site_facts(site, now);
        // Mappings and objects of JavaScript are never out of sight.
        let glimpsed = self.sites.index_of(id).and_then(|_| self.glimpsed_facts(site, &facts));
        Some(glimpsed.unwrap_or(facts))
    }

    /// Recent growth of the process's live bytes, bytes a second; `None` before the third tick.
    pub fn growth(&self) -> Option<f64> {
        self.series.rate()
    }

    /// Calls `f` for every live block, in no particular order; blocks under reallocation are among them.
    pub fn for_each_block(&self, mut f: impl FnMut(Block)) {
        self.for_each_loose(|block| {
            f(Block {
                address: block.address,
                size: block.size,
                site: self.sites().get(block.site as usize).map_or(0, |site| site.id),
                birth_ns: self.start_ns.saturating_add(u64::from(block.birth) * BIRTH_UNIT_NS),
                tid: block.tid,
            });
        });
    }

    /// Live blocks born before `cutoff_ns` (to 10 ms), summed by site; sites without any are left out.
    pub fn older_than(&self, cutoff_ns: u64) -> Vec<OldLive> {
        let cutoff = self.units(cutoff_ns);
        let sums = self.sites().iter().map(|site| OldLive { site: site.id, live_bytes: 0, live_count: 0 });
        let mut sums: Vec<_> = sums.collect();
        self.for_each_loose(|block| {
            if let Some(sum) = sums.get_mut(block.site as usize)
                && block.birth < cutoff
            {
                sum.live_bytes = sum.live_bytes.saturating_add(self.weigh(&block).bytes);
                sum.live_count += 1;
            }
        });
        sums.retain(|sum| sum.live_count > 0);
        sums
    }
}
