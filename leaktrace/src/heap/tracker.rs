//! The heap of one process: events in, live blocks, sites and totals out.

mod before;
mod glimpses;
mod questions;
mod realloc;

use rustc_hash::FxHashMap;

pub use before::FoundBlocks;
pub use questions::OldLive;
use realloc::InFlight;

use super::block::{BIRTH_UNIT_NS, Loose};
use super::candidates::Judged;
use super::histories::Histories;
use super::live::LiveMap;
use super::mappings::Mappings;
use super::sampled::Sampled;
use super::sampling::{Estimate, Sampling, Weight};
use super::series::Series;
use super::site::{Site, SiteIds};
use super::sites::{OVERFLOW_INDEX, Sites};
use super::stacks::Arrival;
use super::usable::Rounding;
use super::{Limits, Totals};
use crate::event::{Event, Frames, LossCounts};

/// What a block counts for: its bytes, or what it stands for as a sample.
struct Weighed {
    bytes: u64,
    weight: Option<Weight>,
}

/// The heap of one process, as its events tell it.
#[derive(Debug)]
pub struct Tracker {
    live: LiveMap,
    /// Reallocations under way, by thread.
    in_flight: FxHashMap<u32, InFlight>,
    sites: Sites,
    mappings: Mappings,
    sampled: Sampled,
    before: before::Before,
    rounding: Option<Rounding>,
    /// The trace looks in slices.
    glimpses: Option<Box<glimpses::Glimpses>>,
    /// Samples are taken.
    sampling: Option<Sampling>,
    totals: Totals,
    series: Series,
    histories: Histories,
    max_blocks: u64,
    start_ns: u64,
}

impl Tracker {
    /// A process of which nothing is known yet. `start_ns` is when the trace began; `ids` numbers the sites of all
    /// processes of the trace.
    pub fn new(limits: &Limits, start_ns: u64, ids: SiteIds) -> Self {
        Self {
            live: LiveMap::new(),
            in_flight: FxHashMap::default(),
            mappings: Mappings::new(limits, start_ns, ids.clone()),
            sampled: Sampled::new(start_ns, ids.clone()),
            sites: Sites::new(limits, start_ns, ids),
            before: before::Before::default(),
            rounding: None,
            glimpses: None,
            sampling: None,
            totals: Totals::default(),
            series: Series::default(),
            histories: Histories::default(),
            // Cohorts count the living in 32 bits.
            max_blocks: (limits.max_blocks as u64).min(u64::from(u32::MAX)),
            start_ns,
        }
    }

    /// Applies the next event of this process, in kernel order. `is_code` tells addresses of the process's executable
    /// mappings.
    #[inline]
    pub fn apply(&mut self, event: &Event<'_>, is_code: &dyn Fn(u64) -> bool) {
        if self.is_away(event) {
            self.apply_away(event, is_code);
            return;
        }
        match *event {
            Event::Allocation { header, address, size, level, stack } => {
                let site = self.sites.resolve(stack, header.time_ns, is_code);
                let birth = self.units(header.time_ns);
                let block = Loose { address, size, site, birth, tid: header.tid, level };
                self.allocate(&block, header.time_ns);
            }
            Event::Free { header, address } => {
                self.before.note_free(address);
                let freed = self.live.remove(address);
                self.free(freed.as_ref(), header.time_ns);
            }
            Event::ReallocBegin { header, address } => self.begin_realloc(header.tid, address),
            Event::ReallocEnd { header, address, size, level, stack } => {
                let site = if address == 0 { 0 } else { self.sites.resolve(stack, header.time_ns, is_code) };
                let birth = self.units(header.time_ns);
                let block = Loose { address, size, site, birth, tid: header.tid, level };
                self.end_realloc(&block, header.time_ns);
            }
            Event::ReallocAbandoned { header, .. } => self.abandon_realloc(header.tid),
            Event::Exit { header, .. } => {
                self.abandon_realloc(header.tid);
                self.mappings.apply(event, is_code);
            }
            Event::Stack { hash, truncated, frames, .. } => {
                self.add_stack(hash, frames, truncated, is_code);
            }
            Event::Exec { header, .. } => {
                self.exec(header.time_ns);
                self.mappings.apply(event, is_code);
            }
            Event::Fork { .. } | Event::ObjectsChanged { .. } => {}
            _ => self.mappings.apply(event, is_code),
        }
    }

    /// Brings the event's place in the live map into the CPU's caches. Changes nothing.
    #[inline]
    pub fn touch(&self, event: &Event<'_>) {
        if let Event::Allocation { address, .. } | Event::Free { address, .. } = *event {
            std::hint::black_box(self.live.contains(address));
        }
    }

    /// The process's executable mappings changed: call paths that ended at an address that was no code are looked at
    /// again.
    pub fn code_changed(&mut self) {
        self.sites.code_changed();
        self.mappings.code_changed();
    }

    /// Takes down the histories at time `t` (seconds since attach, going on from call to call), and gives back
    /// memory after a peak.
    pub fn tick(&mut self, t: f64) {
        let (series, start_ns) = (&self.series, self.start_ns);
        self.histories.tick(t, self.sites.as_slice(), |site| {
            let born = site.first_seen_ns.saturating_sub(start_ns) as f64 / 1e9;
            series.newest_first().find(|tick| tick.t <= born).map(|tick| tick.t)
        });
        self.series.push(t, self.totals.live_bytes);
        self.live.shrink();
        self.mappings.tick(t);
        self.sampled.tick(t);
    }

    /// The process is gone and no tick will follow: gives the memory of histories back, but for the recent past that
    /// [`Tracker::site_growth`] and [`Tracker::growth`] tell of. Thousands of short-lived children would add up.
    pub fn close(&mut self) {
        self.histories.close();
        self.mappings.close();
        self.sampled.close();
        self.series.keep_recent();
    }

    /// Of the blocks only samples are told from now on, or others than before. What is known by now was seen for certain,
    /// or is estimated already.
    pub fn set_sampling(&mut self, sampling: Option<Sampling>) {
        if self.sampling.is_none() && self.glimpses.is_none() && sampling.is_some() {
            let totals = &mut self.totals;
            totals.estimate =
                Estimate::certain([totals.live_count, totals.allocs, totals.frees], totals.live_bytes);
            self.sites.begin_samples();
        }
        self.sampling = sampling;
    }

    /// Whether bytes and counts are estimates: samples are taken, or the trace looks in slices.
    pub const fn is_estimated(&self) -> bool {
        self.sampling.is_some() || self.glimpses.is_some()
    }

    /// How samples are taken, where they are.
    pub const fn sampling(&self) -> Option<Sampling> {
        self.sampling
    }

    /// How the allocator rounds up what it is asked for; `None` where that is not known.
    pub const fn rounding(&self) -> Option<Rounding> {
        self.rounding
    }

    /// The allocator is known, or is known to be another one.
    pub fn set_rounding(&mut self, rounding: Option<Rounding>) {
        if self.rounding == rounding {
            return;
        }
        self.rounding = rounding;
        let mut beyond = 0_u64;
        self.for_each_loose(|block| beyond = beyond.saturating_add(self.beyond(&block)));
        self.totals.internal_bytes = beyond;
    }

    /// Totals since attach.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What was mapped directly; none of it is part of the other figures.
    pub const fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Objects of JavaScript that were sampled; none of them is part of the other figures.
    pub const fn sampled(&self) -> &Sampled {
        &self.sampled
    }

    /// The same, to be told what was seen.
    pub const fn sampled_mut(&mut self) -> &mut Sampled {
        &mut self.sampled
    }

    /// What was lost of the heap and of the mappings, by cause.
    pub fn losses(&self) -> LossCounts {
        let mut losses = self.totals.losses();
        losses.merge(&self.mappings.totals().losses());
        losses
    }

    /// All sites of the heap, the one without a stack and the one for all beyond the limit first.
    pub fn sites(&self) -> &[Site] {
        self.sites.as_slice()
    }

    /// The site with this id, of whatever kind, if it is one of this process.
    pub fn site(&self, id: u32) -> Option<&Site> {
        match self.sites.index_of(id) {
            Some(index) => self.sites().get(index as usize),
            None => self.mappings.site(id).or_else(|| self.sampled.site(id)),
        }
    }

    /// Ids of sites whose call path became known since the last call: candidates for symbols.
    pub fn take_new_sites(&mut self) -> Vec<u32> {
        self.sites.take_new()
    }

    /// Sites whose verdict is due at time `t`, the most urgent first, `max` at most. While they are few, those that
    /// change are due about every second, those that do not every three; where there are more than `max`, all come in
    /// turn, and those that keep growing up to eight times as often.
    pub fn candidates(&self, t: f64, max: usize) -> Vec<u32> {
        let due = self.histories.candidates(t, max);
        let due = due.into_iter().filter_map(|index| Some(self.sites().get(index as usize)?.id));
        // Blocks from before only go.
        let mut due = due.filter(|&id| !self.is_before(id));
        let mut mapped = self.mappings.candidates(t, max).into_iter();
        let mut sampled = self.sampled.candidates(t, max).into_iter();
        // By turns: no kind may crowd out another.
        let mut all = Vec::new();
        while all.len() < max {
            let before = all.len();
            all.extend(due.next());
            all.extend(mapped.next());
            all.extend(sampled.next());
            if all.len() == before {
                break;
            }
        }
        all.truncate(max);
        all
    }

    /// The site was judged at time `t`.
    pub fn judged(&mut self, id: u32, t: f64) {
        let Some(index) = self.sites.index_of(id) else {
            self.mappings.judged(id, t);
            return self.sampled.judged(id, t);
        };
        if let Some(watched) = self.histories.get_mut(index) {
            let live_bytes = watched.series.last().map_or(0, |point| point.value);
            watched.judged = Some(Judged { t, live_bytes });
        }
    }

    fn add_stack(&mut self, hash: u64, frames: Frames<'_>, truncated: bool, is_code: &dyn Fn(u64) -> bool) {
        match self.sites.add_stack(hash, frames, truncated, is_code) {
            Arrival::New | Arrival::Known => {}
            Arrival::Collision => self.totals.stack_collisions += 1,
            Arrival::Rejected => self.totals.stacks_full += 1,
        }
    }

    fn for_each_loose(&self, mut f: impl FnMut(Loose)) {
        self.live.for_each(&mut f);
        self.in_flight.values().filter_map(|call| call.block).for_each(f);
    }

    fn units(&self, time_ns: u64) -> u32 {
        u32::try_from(time_ns.saturating_sub(self.start_ns) / BIRTH_UNIT_NS).unwrap_or(u32::MAX)
    }

    #[inline]
    fn allocate(&mut self, block: &Loose, now_ns: u64) {
        let Weighed { bytes, weight } = self.weigh(block);
        self.totals.allocs += 1;
        self.totals.alloc_bytes = self.totals.alloc_bytes.saturating_add(bytes);
        self.totals.sites_full += u64::from(block.site == OVERFLOW_INDEX);
        let is_full = self.totals.live_count >= self.max_blocks && !self.live.contains(block.address);
        if is_full {
            self.totals.blocks_full += 1;
            if let Some(site) = self.sites.get_mut(block.site) {
                site.not_kept(bytes, now_ns);
            }
            return;
        }
        // The old block goes before the new one counts, else the peaks would hold both.
        if let Some(old) = self.live.insert(block) {
            self.displace(&old);
        }
        if let Some(glimpses) = &mut self.glimpses {
            glimpses.born(block, now_ns);
        }
        self.totals.add_live(bytes);
        self.totals.internal_bytes = self.totals.internal_bytes.saturating_add(self.beyond(block));
        if let Some(weight) = &weight {
            self.totals.estimate.allocated(weight);
        }
        if let Some(site) = self.sites.get_mut(block.site) {
            site.allocated(bytes, block.birth, now_ns);
            if let Some(weight) = &weight {
                site.estimate.allocated(weight);
            }
        }
    }

    /// What a block counts for.
    #[inline]
    fn weigh(&self, block: &Loose) -> Weighed {
        let weight = self.sampling.map(|sampling| sampling.weigh(block.size, block.level));
        Weighed { bytes: weight.map_or(block.size, |weight| weight.bytes), weight }
    }

    /// What the allocator gave of a block beyond what was asked for.
    #[inline]
    fn beyond(&self, block: &Loose) -> u64 {
        match self.rounding {
            // Of a block from before it is not known what was asked for.
            Some(rounding) if !self.before.has(block) && self.sampling.is_none() => {
                rounding.usable(block.size) - block.size
            }
            _ => 0,
        }
    }

    fn remove_live(&mut self, block: &Loose, bytes: u64) {
        self.totals.internal_bytes = self.totals.internal_bytes.saturating_sub(self.beyond(block));
        self.totals.remove_live(bytes);
    }

    /// A block whose free was not seen is gone.
    #[cold]
    fn displace(&mut self, block: &Loose) {
        if self.before.has(block) {
            // The walk read it while the allocation that gives it was under way.
            self.totals.found_twice += 1;
            self.before.lose(block);
        } else if let Some(glimpses) = &mut self.glimpses {
            glimpses.displaced(block, self.rounding);
            self.totals.unseen_frees += 1;
        } else {
            self.totals.displaced += 1;
        }
        let Weighed { bytes, weight } = self.weigh(block);
        self.remove_live(block, bytes);
        if let Some(site) = self.sites.get_mut(block.site) {
            site.dropped(bytes, block.birth);
            if let Some(weight) = &weight {
                site.estimate.dropped(weight);
            }
        }
        if let Some(weight) = &weight {
            self.totals.estimate.dropped(weight);
        }
    }

    #[inline]
    fn free(&mut self, block: Option<&Loose>, now_ns: u64) {
        if let Some(glimpses) = &mut self.glimpses {
            glimpses.freed(block, now_ns, self.rounding);
        }
        let Some(block) = block else {
            self.totals.unknown_frees += 1;
            return;
        };
        if self.before.has(block) {
            self.before.lose(block);
        }
        let Weighed { bytes, weight } = self.weigh(block);
        self.totals.frees += 1;
        self.totals.free_bytes = self.totals.free_bytes.saturating_add(bytes);
        self.remove_live(block, bytes);
        let age = self.units(now_ns).saturating_sub(block.birth);
        if let Some(site) = self.sites.get_mut(block.site) {
            site.freed(bytes, block.birth, age);
            if let Some(weight) = &weight {
                site.estimate.freed(weight);
            }
        }
        if let Some(weight) = &weight {
            self.totals.estimate.freed(weight);
        }
    }

    /// The process replaced its image, and with it the whole heap.
    fn exec(&mut self, now_ns: u64) {
        self.totals.dropped_by_exec += self.totals.live_count;
        self.totals.live_count = 0;
        self.totals.live_bytes = 0;
        self.totals.internal_bytes = 0;
        self.totals.estimate.none_lives();
        self.live = LiveMap::new();
        self.in_flight.clear();
        self.sites.exec();
        self.histories.restart(self.sites.as_slice().len());
        self.series = Series::default();
        self.before = before::Before::default();
        self.forget_glimpses(now_ns);
        self.sampled.exec();
    }
}
