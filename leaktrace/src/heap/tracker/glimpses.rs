//! The tracker of a trace that looks in slices: what it does with events, and with the time between.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::Tracker;
use crate::event::Event;
use crate::heap::block::Loose;
use crate::heap::facts::SiteFacts;
use crate::heap::sampling::{Estimate, Sampling};
use crate::heap::site::Site;
use crate::heap::slices::{Growth, Held, Slice, Slices};
use crate::heap::usable::Rounding;

/// Calls of the moments in which the probes come are kept until it is known when they stood; beyond so many, the oldest are
/// taken to be from before.
const MOST_WAITING: usize = 1 << 14;

/// What slices showed of a process.
#[derive(Debug)]
pub(super) struct Glimpses {
    slices: Slices,
    /// Where the probes stand.
    stand: Option<Stand>,
    /// When the last slice ended, seconds since attach.
    ended: f64,
    /// Blocks that were born in this slice and live, by address.
    fresh: FxHashMap<u64, Fresh>,
    /// Calls that were seen while the probes came or went.
    waiting: VecDeque<Event<'static>>,
    /// How samples had been taken until looking by slices began.
    sampling: Option<Sampling>,
    /// Since that time.
    growth: Growth,
}

/// The probes stand.
#[derive(Clone, Copy, Debug)]
struct Stand {
    /// Since when, in birth units.
    from: u32,
    /// From when to when, on the clock of records.
    since_ns: u64,
    until_ns: u64,
    /// Blocks count from this age on.
    ripening_ns: u64,
}

/// A block that was born in this slice.
#[derive(Clone, Copy, Debug)]
struct Fresh {
    site: u32,
    size: u64,
    born_ns: u64,
}

impl Stand {
    /// Whether a block that lives at the end of the slice, or lived then, is old enough to count.
    const fn has_ripe(&self, fresh: &Fresh, end_ns: u64) -> bool {
        let end_ns = if end_ns < self.until_ns { end_ns } else { self.until_ns };
        self.ripening_ns == 0 || fresh.born_ns.saturating_add(self.ripening_ns) <= end_ns
    }
}

impl Glimpses {
    fn new(since: u32, t: f64, is_balanced: bool) -> Self {
        Self {
            slices: Slices::new(since, is_balanced),
            stand: None,
            ended: t,
            fresh: FxHashMap::default(),
            waiting: VecDeque::new(),
            sampling: None,
            growth: Growth::default(),
        }
    }

    /// A block is born.
    #[inline]
    pub(super) fn born(&mut self, block: &Loose, now_ns: u64) {
        self.slices.born(block.site, block.size);
        self.fresh.insert(block.address, Fresh { site: block.site, size: block.size, born_ns: now_ns });
    }

    /// A block was freed: one that is known, or one whose birth nobody saw. `rounding` is that of the allocator.
    #[inline]
    pub(super) fn freed(&mut self, block: Option<&Loose>, now_ns: u64, rounding: Option<Rounding>) {
        let fresh = block.and_then(|block| self.fresh.remove(&block.address));
        let ripening_ns = self.stand.map_or(0, |stand| stand.ripening_ns);
        if let Some(Fresh { site, size, born_ns }) = fresh {
            if now_ns.saturating_sub(born_ns) >= ripening_ns {
                self.slices.died_ripe(site, size, given(size, rounding));
            } else {
                self.slices.died(site, size);
            }
            return;
        }
        if let Some(block) = block {
            self.gone(block);
        }
        // Before, one whose birth was not seen may be younger.
        if self.stand.is_some_and(|stand| now_ns >= stand.since_ns.saturating_add(ripening_ns)) {
            self.slices.freed_from_before();
        }
    }

    /// The address of a block was handed out again: it had gone while nobody looked.
    pub(super) fn displaced(&mut self, block: &Loose, rounding: Option<Rounding>) {
        // Also one of this slice: after its end some calls are still seen, while the probes go.
        let Some(fresh) = self.fresh.remove(&block.address) else {
            return self.gone(block);
        };
        if self.stand.is_some_and(|stand| stand.has_ripe(&fresh, u64::MAX)) {
            self.slices.outlived(fresh.site, fresh.size, given(fresh.size, rounding));
        } else {
            self.slices.died(fresh.site, fresh.size);
        }
    }

    fn gone(&mut self, block: &Loose) {
        let stood_for =
            self.sampling.map_or(1.0, |sampling| sampling.weigh(block.size, block.level).blocks());
        self.slices.gone(block.site, block.size, block.birth, stood_for);
    }

    /// A block from before the trace was found.
    pub(super) fn found(&mut self, block: &Loose) {
        self.slices.found(block.site, block.size);
    }

    /// The slice ends. Gives the blocks of which nothing can be said: they are too young to count.
    fn end_slice(&mut self, t: f64, end_ns: u64, rounding: Option<Rounding>) -> Vec<u64> {
        let Some(stand) = self.stand.take() else { return Vec::new() };
        let fresh = std::mem::take(&mut self.fresh);
        let (ripe, young): (Vec<_>, Vec<_>) =
            fresh.into_iter().partition(|(_, fresh)| stand.has_ripe(fresh, end_ns));
        let survivors =
            ripe.into_iter().map(|(_, fresh)| (fresh.site, fresh.size, given(fresh.size, rounding)));
        let slice = Slice {
            from: stand.from,
            seconds: end_ns.min(stand.until_ns).saturating_sub(stand.since_ns) as f64 / 1e9,
            ripening_s: stand.ripening_ns as f64 / 1e9,
            cycle_s: t - self.ended,
        };
        self.slices.end_slice(slice, survivors);
        self.ended = t;
        young.into_iter().map(|(address, _)| address).collect()
    }
}

impl Tracker {
    /// The probes go, at `t` seconds since attach: until [`Tracker::look_again`] nothing is seen of the blocks.
    /// `is_balanced` tells whether all frees are seen where the probes stand.
    pub fn look_away(&mut self, t: f64, is_balanced: bool) {
        let end_ns = self.ns_at(t);
        if let Some(glimpses) = &mut self.glimpses {
            let young = glimpses.end_slice(t, end_ns, self.rounding);
            self.forget(&young);
        } else {
            self.begin_slices(t, is_balanced);
        }
        self.estimate();
    }

    /// The probes go for the first time: all that lives was seen, or is estimated from samples.
    fn begin_slices(&mut self, t: f64, is_balanced: bool) {
        let mut glimpses = Glimpses::new(self.units_at(t), t, is_balanced);
        glimpses.sampling = self.sampling;
        for (index, site) in (0..).zip(self.sites.as_slice()).filter(|(_, site)| site.allocs > 0) {
            let counts = match self.sampling {
                Some(_) => site.estimate.counts(),
                None => [site.live_count, site.allocs, site.frees],
            };
            let held = Held {
                blocks: counts[0],
                bytes: site.live_bytes,
                variance: site.estimate.variance(),
                seen: site.live_count,
            };
            glimpses.slices.held(index, held, [counts[1], counts[2]], site.alloc_bytes);
        }
        self.glimpses = Some(Box::new(glimpses));
    }

    /// The probes stand again, from `t` (seconds since attach) to `until`; `None` is until they are taken away. Of a slice that
    /// ends half the length is the age from which on its blocks count.
    pub fn look_again(&mut self, t: f64, until: Option<f64>, is_code: &dyn Fn(u64) -> bool) {
        let (from, since_ns) = (self.units_at(t), self.ns_at(t));
        let until_ns = until.map_or(u64::MAX, |until| self.ns_at(until).max(since_ns));
        let ripening_ns = until.map_or(0, |_| (until_ns - since_ns) / 2);
        let Some(glimpses) = &mut self.glimpses else { return };
        let waiting = std::mem::take(&mut glimpses.waiting);
        if t > glimpses.ended {
            // Reallocations that were under way when the probes went returned unseen: their old blocks are gone.
            let moving = std::mem::take(&mut self.in_flight);
            for block in moving.into_values().filter_map(|call| call.block) {
                self.lose_sight(&block);
            }
        }
        let (before, since): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|event| event.header().time_ns < since_ns);
        for event in &before {
            self.notice_gone(event);
        }
        if let Some(glimpses) = &mut self.glimpses {
            glimpses.stand = Some(Stand { from, since_ns, until_ns, ripening_ns });
        }
        for event in since {
            self.apply(&event, is_code);
        }
    }

    /// When looking in slices began, in seconds since attach; `None` where everything is seen.
    pub fn slices_since(&self) -> Option<f64> {
        Some(f64::from(self.glimpses.as_ref()?.slices.since()) / 100.0)
    }

    /// What lives more than when looking in slices began. `None` where everything is seen.
    pub fn grown_in_slices(&self) -> Option<Growth> {
        Some(self.glimpses.as_ref()?.growth)
    }

    /// Nobody looks at the moment of this event.
    #[inline]
    pub(super) fn is_away(&self, event: &Event<'_>) -> bool {
        self.glimpses.as_ref().is_some_and(|glimpses| {
            let time_ns = event.header().time_ns;
            glimpses.stand.is_none_or(|stand| !(stand.since_ns..=stand.until_ns).contains(&time_ns))
        })
    }

    /// An event from the moments in which the probes come or go: whether they stood is not known yet.
    pub(super) fn apply_away(&mut self, event: &Event<'_>, is_code: &dyn Fn(u64) -> bool) {
        let Some(call) = call_of(event) else {
            match *event {
                Event::ReallocAbandoned { .. } => {}
                Event::Stack { hash, truncated, frames, .. } => {
                    self.add_stack(hash, frames, truncated, is_code);
                }
                Event::Exec { header, .. } => {
                    self.exec(header.time_ns);
                    self.mappings.apply(event, is_code);
                }
                _ => self.mappings.apply(event, is_code),
            }
            return;
        };
        let Some(glimpses) = &mut self.glimpses else { return };
        if glimpses.stand.is_some() {
            return self.notice_gone(&call);
        }
        glimpses.waiting.push_back(call);
        let oldest = if glimpses.waiting.len() > MOST_WAITING { glimpses.waiting.pop_front() } else { None };
        if let Some(oldest) = oldest {
            self.notice_gone(&oldest);
        }
    }

    /// A call that was seen while the probes came or went tells that what was at its address is gone.
    fn notice_gone(&mut self, event: &Event<'_>) {
        if let Event::Allocation { address, .. }
        | Event::Free { address, .. }
        | Event::ReallocBegin { address, .. }
        | Event::ReallocEnd { address, .. } = *event
        {
            self.before.note_free(address);
            if let Some(block) = self.live.remove(address) {
                self.lose_sight(&block);
            }
        }
    }

    /// Blocks of which nothing can be said.
    fn forget(&mut self, addresses: &[u64]) {
        for &address in addresses {
            if let Some(block) = self.live.remove(address) {
                self.drop_unseen(&block);
            }
        }
    }

    /// A block has gone while nobody looked.
    fn lose_sight(&mut self, block: &Loose) {
        if self.before.has(block) {
            self.before.lose(block);
        }
        if let Some(glimpses) = &mut self.glimpses {
            glimpses.displaced(block, self.rounding);
        }
        self.drop_unseen(block);
    }

    fn drop_unseen(&mut self, block: &Loose) {
        self.totals.unseen_frees += 1;
        self.remove_live(block, block.size);
        if let Some(site) = self.sites.get_mut(block.site) {
            site.dropped(block.size, block.birth);
        }
    }

    /// The process has another image: nothing of the old one is out of sight.
    pub(super) fn forget_glimpses(&mut self, now_ns: u64) {
        let t = now_ns.saturating_sub(self.start_ns) as f64 / 1e9;
        let unit = self.units(now_ns);
        if let Some(glimpses) = &mut self.glimpses {
            let anew = Glimpses::new(unit, t, glimpses.slices.is_balanced());
            let stand = glimpses.stand.map(|stand| Stand { from: unit, since_ns: now_ns, ..stand });
            **glimpses = Glimpses { stand, ..anew };
        }
    }

    /// Takes over what is estimated of each site, and of all.
    fn estimate(&mut self) {
        let Some(glimpses) = &mut self.glimpses else { return };
        glimpses.growth = Growth::default();
        let (mut counts, mut bytes, mut variance, mut by_balance) = ([0.0; 3], [0.0; 2], 0.0, 0.0);
        for (index, found) in glimpses.slices.estimates() {
            glimpses.growth.add(&found);
            let own = [found.live_blocks, found.allocs, found.frees];
            counts.iter_mut().zip(own).for_each(|(sum, count)| *sum += count);
            bytes = [bytes[0] + found.live_bytes, bytes[1] + found.alloc_bytes];
            variance += found.variance;
            by_balance += found.by_balance;
            if let Some(site) = self.sites.get_mut(index) {
                site.estimated(
                    Estimate::of(own, found.variance()),
                    found.live_bytes as u64,
                    found.alloc_bytes as u64,
                );
            }
        }
        let totals = &mut self.totals;
        totals.estimate = Estimate::of(counts, by_balance.mul_add(by_balance, variance));
        [totals.live_bytes, totals.alloc_bytes] = bytes.map(|bytes| bytes as u64);
        totals.free_bytes = totals.alloc_bytes.saturating_sub(totals.live_bytes);
        totals.peak_live_bytes = totals.peak_live_bytes.max(totals.live_bytes);
    }

    /// What became of the blocks of a site, where slices showed some of it.
    pub(super) fn glimpsed_facts(&self, site: &Site, seen: &SiteFacts) -> Option<SiteFacts> {
        self.glimpses.as_ref()?;
        let [live, allocs, frees] = site.estimate.counts();
        let survival = seen.survival.map(|_| (live as f64 / allocs.max(1) as f64).min(1.0));
        Some(SiteFacts { allocs, frees, watched_s: seen.watched_s, survival, ..SiteFacts::default() })
    }

    fn units_at(&self, t: f64) -> u32 {
        self.units(self.ns_at(t))
    }

    /// A time in seconds since attach, on the clock of records.
    fn ns_at(&self, t: f64) -> u64 {
        self.start_ns.saturating_add((t.max(0.0) * 1e9) as u64)
    }
}

/// What the allocator gives for so many bytes.
fn given(size: u64, rounding: Option<Rounding>) -> u64 {
    rounding.map_or(size, |rounding| rounding.usable(size))
}

/// A call as it is kept: without what is borrowed.
fn call_of(event: &Event<'_>) -> Option<Event<'static>> {
    Some(match *event {
        Event::Allocation { header, address, size, level, stack } => {
            Event::Allocation { header, address, size, level, stack }
        }
        Event::Free { header, address } => Event::Free { header, address },
        Event::ReallocBegin { header, address } => Event::ReallocBegin { header, address },
        Event::ReallocEnd { header, address, size, level, stack } => {
            Event::ReallocEnd { header, address, size, level, stack }
        }
        _ => return None,
    })
}
