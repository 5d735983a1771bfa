//! Objects of JavaScript that were sampled when they were allocated, beside the heap and never part of it.
//!
//! Whoever looks at the target tells which of them came and went between two looks. A sample stands for the bytes that
//! V8 estimates; counts are of samples. From there on they are call sites like any other.

use rustc_hash::FxHashMap;

use super::OldLive;
use super::block::BIRTH_UNIT_NS;
use super::candidates::Judged;
use super::histories::Histories;
use super::series::Series;
use super::site::{Site, SiteIds};

/// Call sites of all isolates of a process.
const MAX_SITES: usize = 65_536;
/// Objects that are kept; further ones are counted.
const MAX_LIVE: usize = 4 << 20;

/// An object that was sampled and lives.
#[derive(Clone, Copy, Debug)]
struct Object {
    /// Index of its site.
    site: u32,
    birth: u32,
    size: u64,
}

/// The sampled objects of one process, by isolate.
#[derive(Debug)]
pub struct Sampled {
    sites: Vec<Site>,
    /// Isolate and number of each site's stack, in the order of `sites`.
    places: Vec<(u32, u32)>,
    by_place: FxHashMap<(u32, u32), u32>,
    living: FxHashMap<(u32, u64), Object>,
    live_bytes: u64,
    /// Samples and call sites that found no room.
    not_kept: u64,
    series: Series,
    histories: Histories,
    /// There was a look since the last tick: without one there is nothing new to take down.
    was_looked_at: bool,
    ids: SiteIds,
    start_ns: u64,
}

impl Sampled {
    pub(super) fn new(start_ns: u64, ids: SiteIds) -> Self {
        Self {
            sites: Vec::new(),
            places: Vec::new(),
            by_place: FxHashMap::default(),
            living: FxHashMap::default(),
            live_bytes: 0,
            not_kept: 0,
            series: Series::default(),
            histories: Histories::default(),
            was_looked_at: false,
            ids,
            start_ns,
        }
    }

    /// Id of the call site with this stack of an isolate, which begins to exist at `now_ns`; `None` beyond the limit.
    pub fn site_at(&mut self, isolate: u32, stack: u32, now_ns: u64) -> Option<u32> {
        let index = self.index_at(isolate, stack, now_ns)?;
        self.sites.get(index as usize).map(|site| site.id)
    }

    fn index_at(&mut self, isolate: u32, stack: u32, now_ns: u64) -> Option<u32> {
        if let Some(&index) = self.by_place.get(&(isolate, stack)) {
            return Some(index);
        }
        if self.sites.len() >= MAX_SITES {
            return None;
        }
        let index = self.sites.len() as u32;
        self.sites.push(Site::new(self.ids.next(), now_ns));
        self.places.push((isolate, stack));
        self.by_place.insert((isolate, stack), index);
        Some(index)
    }

    /// An object was sampled, with a number that is unique within its isolate.
    pub fn born(&mut self, isolate: u32, stack: u32, ordinal: u64, size: u64, now_ns: u64) {
        let birth = self.units(now_ns);
        let is_full = self.living.len() >= MAX_LIVE || self.living.contains_key(&(isolate, ordinal));
        let Some(index) = self.index_at(isolate, stack, now_ns).filter(|_| !is_full) else {
            self.not_kept += 1;
            return;
        };
        if let Some(site) = self.sites.get_mut(index as usize) {
            site.allocated(size, birth, now_ns);
            self.living.insert((isolate, ordinal), Object { site: index, birth, size });
            self.live_bytes = self.live_bytes.saturating_add(size);
        }
    }

    /// An object was collected. Of one that was not kept nothing is known.
    pub fn gone(&mut self, isolate: u32, ordinal: u64, now_ns: u64) {
        let Some(object) = self.living.remove(&(isolate, ordinal)) else { return };
        self.live_bytes = self.live_bytes.saturating_sub(object.size);
        let age = self.units(now_ns).saturating_sub(object.birth);
        if let Some(site) = self.sites.get_mut(object.site as usize) {
            site.freed(object.size, object.birth, age);
        }
    }

    /// An isolate has ended, and all its objects with it.
    pub fn isolate_ended(&mut self, isolate: u32, now_ns: u64) {
        let of_it: Vec<u64> =
            self.living.keys().filter(|(of, _)| *of == isolate).map(|(_, ordinal)| *ordinal).collect();
        for ordinal in of_it {
            self.gone(isolate, ordinal, now_ns);
        }
        self.looked_at();
    }

    /// The process replaced its image, and every isolate is gone with it.
    pub(super) fn exec(&mut self) {
        self.living.clear();
        self.by_place.clear();
        self.live_bytes = 0;
        for site in &mut self.sites {
            site.end();
        }
        self.histories.restart(self.sites.len());
        self.series = Series::default();
    }

    /// What was told since the last look is complete.
    pub fn looked_at(&mut self) {
        self.was_looked_at = true;
    }

    /// See [`super::Tracker::tick`]. Between two looks nothing is known, and nothing is taken down.
    pub(super) fn tick(&mut self, t: f64) {
        if !std::mem::take(&mut self.was_looked_at) {
            return;
        }
        let (series, start_ns) = (&self.series, self.start_ns);
        self.histories.tick(t, &self.sites, |site| {
            let born = site.first_seen_ns.saturating_sub(start_ns) as f64 / 1e9;
            series.newest_first().find(|tick| tick.t <= born).map(|tick| tick.t)
        });
        self.series.push(t, self.live_bytes);
    }

    /// See [`super::Tracker::close`].
    pub(super) fn close(&mut self) {
        self.histories.close();
        self.series.keep_recent();
    }

    /// All call sites.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The isolate of a call site, if it is one of these.
    pub fn isolate_of(&self, id: u32) -> Option<u32> {
        self.places.get(self.index_of(id)?).map(|&(isolate, _)| isolate)
    }

    /// Samples that found no room.
    pub const fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// Ids grow with the index.
    fn index_of(&self, id: u32) -> Option<usize> {
        self.sites.binary_search_by_key(&id, |site| site.id).ok()
    }

    /// The site with this id, if it is one of these.
    pub(super) fn site(&self, id: u32) -> Option<&Site> {
        self.sites.get(self.index_of(id)?)
    }

    /// See [`super::Tracker::site_growth`].
    pub(super) fn site_growth(&self, id: u32) -> Option<f64> {
        self.histories.get(self.index_of(id)? as u32)?.series.rate()
    }

    /// See [`super::Tracker::site_history`].
    pub(super) fn site_history(&self, id: u32) -> Option<Vec<(f64, f64)>> {
        let index = self.index_of(id)?;
        let (tick, site) = (self.series.last()?, self.sites.get(index)?);
        self.histories.up_to(index as u32, tick.t, site.live_bytes)
    }

    /// See [`super::Tracker::candidates`].
    pub(super) fn candidates(&self, t: f64, max: usize) -> Vec<u32> {
        let due = self.histories.candidates(t, max);
        due.into_iter().filter_map(|index| Some(self.sites.get(index as usize)?.id)).collect()
    }

    /// See [`super::Tracker::judged`].
    pub(super) fn judged(&mut self, id: u32, t: f64) {
        let Some(index) = self.index_of(id) else { return };
        if let Some(watched) = self.histories.get_mut(index as u32) {
            let live_bytes = watched.series.last().map_or(0, |point| point.value);
            watched.judged = Some(Judged { t, live_bytes });
        }
    }

    /// See [`super::Tracker::older_than`]; counts are of samples.
    pub fn older_than(&self, cutoff_ns: u64) -> Vec<OldLive> {
        let cutoff = self.units(cutoff_ns);
        let sums = self.sites.iter().map(|site| OldLive { site: site.id, live_bytes: 0, live_count: 0 });
        let mut sums: Vec<_> = sums.collect();
        for object in self.living.values().filter(|object| object.birth < cutoff) {
            if let Some(sum) = sums.get_mut(object.site as usize) {
                sum.live_bytes = sum.live_bytes.saturating_add(object.size);
                sum.live_count += 1;
            }
        }
        sums.retain(|sum| sum.live_count > 0);
        sums
    }

    fn units(&self, time_ns: u64) -> u32 {
        u32::try_from(time_ns.saturating_sub(self.start_ns) / BIRTH_UNIT_NS).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sampled() -> Sampled {
        let ids = SiteIds::default();
        ids.next();
        Sampled::new(0, ids)
    }

    #[test]
    fn objects_are_counted_by_stack_and_isolate() {
        let mut sampled = sampled();
        sampled.born(0, 1, 10, 100, SECOND);
        sampled.born(0, 1, 11, 100, SECOND);
        sampled.born(1, 1, 10, 7, SECOND);
        let id = sampled.site_at(0, 1, SECOND).unwrap();
        let other = sampled.site_at(1, 1, SECOND).unwrap();
        assert_eq!(sampled.site(id).map(|site| (site.live_bytes, site.live_count)), Some((200, 2)));
        assert_eq!((sampled.isolate_of(id), sampled.isolate_of(other)), (Some(0), Some(1)));
        sampled.gone(0, 10, 3 * SECOND);
        sampled.gone(0, 99, 3 * SECOND);
        assert_eq!(sampled.site(id).map(|site| (site.live_bytes, site.frees)), Some((100, 1)));
        sampled.isolate_ended(0, 4 * SECOND);
        assert_eq!(sampled.site(id).map(|site| (site.live_bytes, site.frees)), Some((0, 2)));
        assert_eq!((sampled.live_bytes, sampled.site(other).map(|site| site.live_bytes)), (7, Some(7)));
    }

    #[test]
    fn after_exec_nothing_is_live_and_stacks_are_new_sites() {
        let mut sampled = sampled();
        sampled.born(0, 1, 10, 100, SECOND);
        let id = sampled.site_at(0, 1, SECOND).unwrap();
        sampled.looked_at();
        sampled.tick(1.0);
        sampled.exec();
        assert_eq!(sampled.site(id).map(|site| (site.live_bytes, site.ended)), Some((0, true)));
        for second in 2..6_u64 {
            sampled.born(0, 1, second, 1000, second * SECOND);
            sampled.looked_at();
            sampled.tick(second as f64);
        }
        let new = sampled.site_at(0, 1, 0).unwrap();
        assert_ne!(new, id);
        assert_eq!(sampled.site_growth(new), Some(1000.0));
    }

    #[test]
    fn a_number_counts_once() {
        let mut sampled = sampled();
        sampled.born(0, 1, 10, 100, SECOND);
        sampled.born(0, 2, 10, 900, SECOND);
        assert_eq!((sampled.live_bytes, sampled.not_kept()), (100, 1));
    }

    #[test]
    fn histories_have_a_point_for_each_look() {
        let mut sampled = sampled();
        sampled.looked_at();
        sampled.tick(0.5);
        for second in 1..6_u64 {
            sampled.born(0, 1, second, 1000, second * SECOND);
            sampled.looked_at();
            sampled.tick(second as f64);
            sampled.tick(second as f64 + 0.5);
        }
        let id = sampled.site_at(0, 1, 0).unwrap();
        let history = sampled.site_history(id).unwrap();
        assert_eq!(history.last(), Some(&(5.0, 5000.0)));
        assert_eq!(history.first(), Some(&(0.5, 0.0)));
        assert_eq!((history.len(), sampled.site_growth(id)), (6, Some(1000.0)));
        assert_eq!(sampled.candidates(6.0, 9), [id]);
        let old = sampled.older_than(3 * SECOND);
        assert_eq!(old.iter().map(|old| (old.site, old.live_count)).collect::<Vec<_>>(), [(id, 2)]);
    }
}
