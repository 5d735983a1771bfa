//! The call sites of a process, and which stack hash means which site.

use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use hashbrown::HashTable;
use leaktrace_common::NO_STACK;
use rustc_hash::{FxHashMap, FxHasher};

use super::Limits;
use super::block::MAX_SITE_INDEX;
use super::sampling::Estimate;
use super::site::{NO_STACK_SITE, OVERFLOW_SITE, Site, SiteIds};
use super::stacks::{Arrival, Stack, Stacks, clean_depth};
use crate::event::Frames;

/// Index of the site for allocations without a stack.
const NO_STACK_INDEX: u32 = 0;
/// Index of the site for allocations beyond the limit.
pub(super) const OVERFLOW_INDEX: u32 = 1;
/// How many sites stand before the numbered ones.
pub(super) const RESERVED: usize = 2;

/// How many hashes may be assigned for each site allowed: several hashes mean one site where they differ only in
/// the junk behind the call path.
const HASHES_PER_SITE: usize = 4;

/// A site, as the hash of a stack names it.
#[derive(Clone, Copy, Debug)]
struct Assignment {
    site: u32,
    /// The stack is not known yet: its record was lost.
    waiting: bool,
}

#[derive(Debug)]
pub(super) struct Sites {
    all: Vec<Site>,
    assignments: FxHashMap<u64, Assignment>,
    /// Sites of the running image by their call path: hash of the path, index.
    by_path: HashTable<(u64, u32)>,
    stacks: Stacks,
    /// Hashes whose stack was cut at an address that was no code then.
    cut: Vec<u64>,
    ids: SiteIds,
    new: Vec<u32>,
    limit: usize,
}

impl Sites {
    pub(super) fn new(limits: &Limits, start_ns: u64, ids: SiteIds) -> Self {
        Self::with_reserved([NO_STACK_SITE, OVERFLOW_SITE], limits, start_ns, ids)
    }

    /// The same with other ids for the two sites at the front.
    pub(super) fn with_reserved(
        reserved: [u32; RESERVED],
        limits: &Limits,
        start_ns: u64,
        ids: SiteIds,
    ) -> Self {
        Self {
            all: reserved.map(|id| Site::new(id, start_ns)).into(),
            assignments: FxHashMap::default(),
            by_path: HashTable::new(),
            stacks: Stacks::new(limits.max_frames),
            cut: Vec::new(),
            ids,
            new: Vec::new(),
            limit: limits.max_sites.min(MAX_SITE_INDEX as usize - 1),
        }
    }

    pub(super) fn as_slice(&self) -> &[Site] {
        &self.all
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Site> {
        self.all.get_mut(index as usize)
    }

    /// Index of the site with this id: ids grow with the index, but for the two at the front.
    pub(super) fn index_of(&self, id: u32) -> Option<u32> {
        let (reserved, numbered) = self.all.split_at_checked(RESERVED)?;
        let at_front = reserved.iter().position(|site| site.id == id);
        let index = at_front.or_else(|| {
            let found = numbered.binary_search_by_key(&id, |site| site.id);
            found.ok().map(|index| index + RESERVED)
        });
        index.map(|index| index as u32)
    }

    /// Sites whose call path became known since the last call.
    pub(super) fn take_new(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.new)
    }

    /// Index of the site behind a stack hash.
    #[inline]
    pub(super) fn resolve(&mut self, hash: u64, now_ns: u64, is_code: &dyn Fn(u64) -> bool) -> u32 {
        if hash == NO_STACK {
            return NO_STACK_INDEX;
        }
        match self.assignments.get(&hash) {
            Some(assignment) => assignment.site,
            None => self.assign(hash, now_ns, is_code),
        }
    }

    #[cold]
    fn assign(&mut self, hash: u64, now_ns: u64, is_code: &dyn Fn(u64) -> bool) -> u32 {
        if self.assignments.len() >= self.limit.saturating_mul(HASHES_PER_SITE) {
            return OVERFLOW_INDEX;
        }
        let path = self.path(hash, is_code);
        let waiting = path.is_none();
        let known = path.as_ref().and_then(|path| self.find(path));
        let site = known.unwrap_or_else(|| self.create(path, now_ns));
        self.assignments.insert(hash, Assignment { site, waiting });
        site
    }

    /// A site without a stack of its own; with all their numbers taken, the one for further sites.
    pub(super) fn create_bare(&mut self, now_ns: u64) -> u32 {
        self.create(None, now_ns)
    }

    fn create(&mut self, path: Option<CallPath>, now_ns: u64) -> u32 {
        if self.all.len() >= self.limit.saturating_add(RESERVED) {
            return OVERFLOW_INDEX;
        }
        let index = self.all.len() as u32;
        self.all.push(Site::new(self.ids.next(), now_ns));
        if let Some(path) = path {
            self.name(index, path);
        }
        index
    }

    /// Gives a site its call path.
    fn name(&mut self, index: u32, path: CallPath) {
        let hash = path.hash();
        let Some(site) = self.all.get_mut(index as usize) else { return };
        site.set_stack(path.stack, path.depth, path.truncated);
        self.new.push(site.id);
        self.by_path.insert_unique(hash, (hash, index), |&(hash, _)| hash);
    }

    fn find(&self, path: &CallPath) -> Option<u32> {
        let same = |&(_, index): &(u64, u32)| {
            let site = self.all.get(index as usize);
            site.is_some_and(|site| site.frames() == path.frames() && site.truncated == path.truncated)
        };
        self.by_path.find(path.hash(), same).map(|&(_, index)| index)
    }

    /// The call path behind a hash, if its stack is known.
    fn path(&mut self, hash: u64, is_code: &dyn Fn(u64) -> bool) -> Option<CallPath> {
        let Stack { frames, truncated } = self.stacks.get(hash)?.clone();
        let depth = clean_depth(&frames, is_code);
        let whole = depth == frames.len();
        if !whole {
            self.cut.push(hash);
        }
        Some(CallPath { stack: frames, depth, truncated: truncated && whole })
    }

    /// Keeps a stack that came in, and names the site that was waiting for it.
    pub(super) fn add_stack(
        &mut self,
        hash: u64,
        frames: Frames<'_>,
        truncated: bool,
        is_code: &dyn Fn(u64) -> bool,
    ) -> Arrival {
        let arrival = self.stacks.insert(hash, frames, truncated);
        let waiting = self.assignments.get(&hash).filter(|assignment| assignment.waiting).copied();
        if let (Arrival::New, Some(Assignment { site, .. })) = (arrival, waiting)
            && let Some(path) = self.path(hash, is_code)
        {
            // Where another hash has brought the same path already, new blocks go to its site; those that the
            // waiting one holds stay there, under the same frames.
            let known = self.find(&path);
            if site != OVERFLOW_INDEX {
                self.name(site, path);
            }
            self.assignments.insert(hash, Assignment { site: known.unwrap_or(site), waiting: false });
        }
        arrival
    }

    /// The process's executable mappings changed: paths that ended at an address that was no code are looked at
    /// again at their next allocation.
    pub(super) fn code_changed(&mut self) {
        for hash in self.cut.drain(..) {
            self.assignments.remove(&hash);
        }
    }

    /// Samples are taken from now on: what is known of the sites was seen for certain.
    pub(super) fn begin_samples(&mut self) {
        for site in &mut self.all {
            site.estimate = Estimate::certain([site.live_count, site.allocs, site.frees], site.live_bytes);
        }
    }

    /// The process replaced its image: its sites stay as history, and none is found again.
    pub(super) fn exec(&mut self) {
        self.assignments.clear();
        self.by_path.clear();
        self.cut.clear();
        for (index, site) in self.all.iter_mut().enumerate() {
            if index < RESERVED {
                site.restart();
            } else {
                site.end();
            }
        }
    }
}

/// The part of a stack that is sure.
#[derive(Debug)]
struct CallPath {
    stack: Arc<[u64]>,
    depth: usize,
    truncated: bool,
}

impl CallPath {
    fn frames(&self) -> &[u64] {
        self.stack.get(..self.depth).unwrap_or(&[])
    }

    fn hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.frames().hash(&mut hasher);
        // hashbrown tells slots apart by the top bits, which FxHasher's last multiplication mixes well.
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(addresses: &[u64]) -> Vec<[u8; 8]> {
        addresses.iter().map(|address| address.to_ne_bytes()).collect()
    }

    fn add(sites: &mut Sites, hash: u64, addresses: &[u64], is_code: &dyn Fn(u64) -> bool) -> Arrival {
        sites.add_stack(hash, Frames::new(&frames(addresses)), false, is_code)
    }

    fn all(_: u64) -> bool {
        true
    }

    fn new() -> Sites {
        Sites::new(&Limits { max_sites: 4, max_frames: 100, ..Limits::default() }, 0, SiteIds::default())
    }

    #[test]
    fn hashes_that_differ_in_junk_are_one_site() {
        let mut sites = new();
        let is_code = |address| address < 1000;
        add(&mut sites, 1, &[10, 20, 5000, 7], &is_code);
        add(&mut sites, 2, &[10, 20, 6000], &is_code);
        add(&mut sites, 3, &[10, 30, 6000], &is_code);
        let resolved = [1, 2, 3, 2].map(|hash| sites.resolve(hash, 0, &is_code));
        assert_eq!(resolved, [2, 2, 3, 2]);
        assert_eq!(sites.as_slice()[2].frames(), [10, 20]);
        assert_eq!(sites.take_new(), [1, 2]);
        assert_eq!((sites.index_of(2), sites.index_of(3)), (Some(3), None));
    }

    #[test]
    fn a_stack_that_comes_late_names_its_site() {
        let mut sites = new();
        assert_eq!(sites.resolve(NO_STACK, 0, &all), 0);
        let waiting = sites.resolve(1, 0, &all);
        assert!(sites.as_slice()[waiting as usize].frames().is_empty() && sites.take_new().is_empty());
        assert_eq!(add(&mut sites, 1, &[10, 20], &all), Arrival::New);
        assert_eq!(sites.as_slice()[waiting as usize].frames(), [10, 20]);
        assert_eq!(sites.take_new(), [1]);
        assert_eq!(sites.resolve(1, 0, &all), waiting);
        assert_eq!(add(&mut sites, 1, &[10, 20], &all), Arrival::Known);
        assert_eq!(add(&mut sites, 1, &[10, 21], &all), Arrival::Collision);
    }

    #[test]
    fn a_late_stack_whose_path_is_known_leads_to_the_known_site() {
        let mut sites = new();
        let waiting = sites.resolve(1, 0, &all);
        add(&mut sites, 2, &[10], &all);
        let known = sites.resolve(2, 0, &all);
        add(&mut sites, 1, &[10], &all);
        assert_ne!(waiting, known);
        assert_eq!(sites.resolve(1, 0, &all), known);
    }

    #[test]
    fn sites_and_stacks_beyond_the_limits_are_refused() {
        let mut sites = new();
        let resolved: Vec<_> = (1..8).map(|hash| sites.resolve(hash, 0, &all)).collect();
        assert_eq!(resolved, [2, 3, 4, 5, 1, 1, 1]);
        assert_eq!(add(&mut sites, 7, &[10], &all), Arrival::New);
        assert!(sites.as_slice()[1].frames().is_empty());
        assert_eq!(add(&mut sites, 8, &[10; 100], &all), Arrival::Rejected);
        for hash in 0..1000 {
            sites.resolve(hash, 0, &all);
        }
        assert_eq!(sites.assignments.len(), 16);
    }

    #[test]
    fn exec_ends_sites_but_keeps_stacks() {
        let mut sites = new();
        add(&mut sites, 1, &[10], &all);
        let before = sites.resolve(1, 0, &all);
        sites.exec();
        let after = sites.resolve(1, 0, &all);
        assert_ne!(before, after);
        let ended = sites.as_slice().iter().map(|site| site.ended).collect::<Vec<_>>();
        assert_eq!(ended, [false, false, true, false]);
        assert_eq!(sites.as_slice()[after as usize].frames(), [10]);
    }

    #[test]
    fn a_path_cut_too_early_is_looked_at_again_when_code_was_mapped() {
        let mut sites = new();
        add(&mut sites, 1, &[10, 2000], &|address| address < 1000);
        let cut = sites.resolve(1, 0, &|address| address < 1000);
        assert_eq!(sites.resolve(1, 0, &all), cut);
        sites.code_changed();
        let whole = sites.resolve(1, 0, &all);
        assert_ne!(cut, whole);
        assert_eq!(sites.as_slice()[whole as usize].frames(), [10, 2000]);
    }
}
