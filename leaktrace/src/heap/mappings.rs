//! Memory that a process maps directly: mmap, munmap, mremap and mprotect, beside the heap and never part of it.
//!
//! Anonymous mappings count, files do not. A mapping lives until its last byte is gone: cutting a part out leaves one
//! mapping with fewer bytes, so that every mapping ends once. Only bytes that may be accessed are memory; the others
//! (`PROT_NONE`) are address space in reserve, until mprotect makes them memory.

use rustc_hash::FxHashMap;

use super::block::{BIRTH_UNIT_NS, Block};
use super::candidates::Judged;
use super::histories::Histories;
use super::intervals::{Intervals, Piece};
use super::mapped::MappedTotals;
use super::series::Series;
use super::site::{MAPPING_NO_STACK_SITE, MAPPING_OVERFLOW_SITE, Site, SiteIds};
use super::sites::{OVERFLOW_INDEX, Sites};
use super::stacks::Arrival;
use super::{Limits, OldLive};
use crate::event::Event;

/// Pages of x86-64.
const PAGE: u64 = 4096;

/// `MAP_FIXED`: what stood there is replaced.
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_HUGETLB: u32 = 0x4_0000;
/// Above these bits the flags hold the logarithm of the size of huge pages; 0 is the system's choice, on x86-64 2 MiB.
const HUGE_SHIFT: u32 = 26;
const DEFAULT_HUGE: u32 = 21;

const MREMAP_FIXED: u32 = 2;
const MREMAP_DONTUNMAP: u32 = 4;

/// A mapping of which something is left.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    /// Index of its site.
    site: u32,
    /// In birth units since the start of the trace.
    birth: u32,
    tid: u32,
    /// What is left of it, accessible or not.
    bytes: u64,
}

/// A range that a thread is unmapping or remapping.
#[derive(Debug)]
struct InFlight {
    pieces: Vec<Piece>,
    remaps: bool,
}

/// How a piece of a mapping ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Unmapped, moved away, or replaced by a mapping at its very place.
    Unmapped,
    /// Something was mapped there while it was known.
    Displaced,
    /// There is no room to keep it.
    Full,
}

/// The mappings of one process, as its events tell them.
#[derive(Debug)]
pub struct Mappings {
    intervals: Intervals,
    /// Mappings of which something is left, by number.
    living: FxHashMap<u64, Mapping>,
    next: u64,
    in_flight: FxHashMap<u32, InFlight>,
    sites: Sites,
    totals: MappedTotals,
    series: Series,
    histories: Histories,
    start_ns: u64,
}

impl Mappings {
    pub(super) fn new(limits: &Limits, start_ns: u64, ids: SiteIds) -> Self {
        let reserved = [MAPPING_NO_STACK_SITE, MAPPING_OVERFLOW_SITE];
        Self {
            intervals: Intervals::new(limits.max_mappings),
            living: FxHashMap::default(),
            next: 0,
            in_flight: FxHashMap::default(),
            sites: Sites::with_reserved(reserved, limits, start_ns, ids),
            totals: MappedTotals::default(),
            series: Series::default(),
            histories: Histories::default(),
            start_ns,
        }
    }

    /// Applies the next event of the process, if it is about mappings.
    pub(super) fn apply(&mut self, event: &Event<'_>, is_code: &dyn Fn(u64) -> bool) {
        match *event {
            Event::Map { header, address, length, stack, protection, flags } => {
                let end = if flags & MAP_FIXED == 0 { End::Displaced } else { End::Unmapped };
                let range = pages(address, length, page_size(flags));
                self.clear_range(range, end, header.time_ns);
                if flags & MAP_ANONYMOUS != 0 {
                    let site = self.sites.resolve(stack, header.time_ns, is_code);
                    self.add(range, is_accessible(protection), site, header.tid, header.time_ns);
                }
            }
            Event::UnmapBegin { header, address, length } => {
                self.begin(header.tid, pages(address, length, PAGE), false, header.time_ns);
            }
            Event::RemapBegin { header, address, length } => {
                self.begin(header.tid, pages(address, length, PAGE), true, header.time_ns);
            }
            Event::UnmapEnd { header, length, .. } => {
                self.end_unmap(header.tid, length != 0, header.time_ns);
            }
            Event::RemapEnd { header, address, length, stack, flags } => {
                let site = if address == 0 { 0 } else { self.sites.resolve(stack, header.time_ns, is_code) };
                self.end_remap(header.tid, pages(address, length, PAGE), flags, site, header.time_ns);
            }
            Event::Protect { header, address, length, protection } => {
                self.protect(pages(address, length, PAGE), is_accessible(protection), header.time_ns);
            }
            Event::MappingStack { hash, truncated, frames, .. } => {
                match self.sites.add_stack(hash, frames, truncated, is_code) {
                    Arrival::New | Arrival::Known => {}
                    Arrival::Collision => self.totals.stack_collisions += 1,
                    Arrival::Rejected => self.totals.stacks_full += 1,
                }
            }
            Event::Exec { .. } => self.exec(),
            Event::Exit { header, .. } => self.abandon(header.tid, header.time_ns),
            _ => {}
        }
    }

    /// See [`super::Tracker::tick`].
    pub(super) fn tick(&mut self, t: f64) {
        let (series, start_ns) = (&self.series, self.start_ns);
        self.histories.tick(t, self.sites.as_slice(), |site| {
            let born = site.first_seen_ns.saturating_sub(start_ns) as f64 / 1e9;
            series.newest_first().find(|tick| tick.t <= born).map(|tick| tick.t)
        });
        self.series.push(t, self.totals.live_bytes);
    }

    /// See [`super::Tracker::close`].
    pub(super) fn close(&mut self) {
        self.histories.close();
        self.series.keep_recent();
    }

    /// See [`super::Tracker::code_changed`].
    pub(super) fn code_changed(&mut self) {
        self.sites.code_changed();
    }

    /// Totals since attach.
    pub const fn totals(&self) -> &MappedTotals {
        &self.totals
    }

    /// All sites, the one without a stack and the one for all beyond the limit first. Their counts are of mappings.
    pub fn sites(&self) -> &[Site] {
        self.sites.as_slice()
    }

    /// The site with this id, if it is one of these.
    pub fn site(&self, id: u32) -> Option<&Site> {
        self.sites().get(self.sites.index_of(id)? as usize)
    }

    /// See [`super::Tracker::site_growth`].
    pub(super) fn site_growth(&self, id: u32) -> Option<f64> {
        self.histories.get(self.sites.index_of(id)?)?.series.rate()
    }

    /// See [`super::Tracker::site_history`].
    pub(super) fn site_history(&self, id: u32) -> Option<Vec<(f64, f64)>> {
        let index = self.sites.index_of(id)?;
        let (tick, site) = (self.series.last()?, self.sites().get(index as usize)?);
        self.histories.up_to(index, tick.t, site.live_bytes)
    }

    /// See [`super::Tracker::candidates`].
    pub(super) fn candidates(&self, t: f64, max: usize) -> Vec<u32> {
        let due = self.histories.candidates(t, max);
        due.into_iter().filter_map(|index| Some(self.sites().get(index as usize)?.id)).collect()
    }

    /// See [`super::Tracker::judged`].
    pub(super) fn judged(&mut self, id: u32, t: f64) {
        let watched = self.sites.index_of(id).and_then(|index| self.histories.get_mut(index));
        if let Some(watched) = watched {
            let live_bytes = watched.series.last().map_or(0, |point| point.value);
            watched.judged = Some(Judged { t, live_bytes });
        }
    }

    /// Calls `f` for every range of memory that is mapped, in no particular order. A mapping that was cut up, or is
    /// accessible in parts only, comes as several.
    pub fn for_each_range(&self, mut f: impl FnMut(Block)) {
        self.for_each_piece(|piece, mapping| {
            if piece.accessible {
                f(Block {
                    address: piece.start,
                    size: piece.len(),
                    site: self.sites().get(mapping.site as usize).map_or(0, |site| site.id),
                    birth_ns: self.start_ns.saturating_add(u64::from(mapping.birth) * BIRTH_UNIT_NS),
                    tid: mapping.tid,
                });
            }
        });
    }

    /// See [`super::Tracker::older_than`]; counts are of mappings of which something is left.
    pub fn older_than(&self, cutoff_ns: u64) -> Vec<OldLive> {
        let cutoff = self.units(cutoff_ns);
        let sums = self.sites().iter().map(|site| OldLive { site: site.id, live_bytes: 0, live_count: 0 });
        let mut sums: Vec<_> = sums.collect();
        for mapping in self.living.values().filter(|mapping| mapping.birth < cutoff) {
            if let Some(sum) = sums.get_mut(mapping.site as usize) {
                sum.live_count += 1;
            }
        }
        self.for_each_piece(|piece, mapping| {
            if let Some(sum) = sums.get_mut(mapping.site as usize)
                && mapping.birth < cutoff
            {
                sum.live_bytes = sum.live_bytes.saturating_add(piece.memory());
            }
        });
        sums.retain(|sum| sum.live_count > 0);
        sums
    }

    fn for_each_piece(&self, mut f: impl FnMut(Piece, &Mapping)) {
        let moving = self.in_flight.values().flat_map(|call| call.pieces.iter().copied());
        for piece in self.intervals.iter().chain(moving) {
            if let Some(mapping) = self.living.get(&piece.mapping) {
                f(piece, mapping);
            }
        }
    }

    fn units(&self, time_ns: u64) -> u32 {
        u32::try_from(time_ns.saturating_sub(self.start_ns) / BIRTH_UNIT_NS).unwrap_or(u32::MAX)
    }

    /// A new mapping; its range is free (see [`Self::clear_range`]).
    fn add(&mut self, range: (u64, u64), accessible: bool, site: u32, tid: u32, now_ns: u64) {
        let (start, end) = range;
        if start >= end {
            return;
        }
        let piece = Piece { start, end, mapping: self.next, accessible };
        self.totals.maps += 1;
        self.totals.mapped_bytes = self.totals.mapped_bytes.saturating_add(piece.memory());
        self.totals.sites_full += u64::from(site == OVERFLOW_INDEX);
        // A new mapping has a number of its own and thus no neighbours to join.
        if self.intervals.is_full() {
            self.totals.full += 1;
            self.totals.full_bytes = self.totals.full_bytes.saturating_add(piece.memory());
            if let Some(site) = self.sites.get_mut(site) {
                site.not_kept(piece.memory(), now_ns);
            }
            return;
        }
        self.next += 1;
        self.intervals.insert(piece);
        let birth = self.units(now_ns);
        self.living.insert(piece.mapping, Mapping { site, birth, tid, bytes: piece.len() });
        self.totals.live_count += 1;
        self.totals.add_live(&piece);
        if let Some(site) = self.sites.get_mut(site) {
            site.allocated(piece.memory(), birth, now_ns);
        }
    }

    /// Takes out of the map what lies in a range; what finds no room meanwhile is given up.
    fn take(&mut self, (start, end): (u64, u64), now_ns: u64) -> Vec<Piece> {
        let mut refused = Vec::new();
        let taken = self.intervals.take(start, end, &mut refused);
        for piece in refused {
            self.end(&piece, End::Full, now_ns);
        }
        taken
    }

    /// Whatever is known in the range has ended.
    fn clear_range(&mut self, range: (u64, u64), how: End, now_ns: u64) {
        for piece in self.take(range, now_ns) {
            self.end(&piece, how, now_ns);
        }
    }

    /// A piece that is in the map no more has ended, and with its last one the mapping.
    fn end(&mut self, piece: &Piece, how: End, now_ns: u64) {
        let Some(mapping) = self.living.get_mut(&piece.mapping) else { return };
        mapping.bytes = mapping.bytes.saturating_sub(piece.len());
        let mapping = *mapping;
        let is_last = mapping.bytes == 0;
        let memory = piece.memory();
        self.totals.remove_live(piece);
        let (count, bytes) = match how {
            End::Unmapped => (&mut self.totals.unmaps, &mut self.totals.unmapped_bytes),
            End::Displaced => (&mut self.totals.displaced, &mut self.totals.displaced_bytes),
            End::Full => (&mut self.totals.full, &mut self.totals.full_bytes),
        };
        *count += u64::from(is_last);
        *bytes = bytes.saturating_add(memory);
        if is_last {
            self.totals.live_count = self.totals.live_count.saturating_sub(1);
            self.living.remove(&piece.mapping);
        }
        self.totals.cut_up += u64::from(how == End::Full && !is_last);
        self.totals.displacements += u64::from(how == End::Displaced);
        let age = self.units(now_ns).saturating_sub(mapping.birth);
        let Some(site) = self.sites.get_mut(mapping.site) else { return };
        match (how, is_last) {
            (End::Unmapped, true) => site.freed(memory, mapping.birth, age),
            (End::Unmapped, false) => {
                site.freed_bytes = site.freed_bytes.saturating_add(memory);
                site.live_bytes = site.live_bytes.saturating_sub(memory);
            }
            (_, true) => site.dropped(memory, mapping.birth),
            (_, false) => site.live_bytes = site.live_bytes.saturating_sub(memory),
        }
    }

    /// A thread is about to unmap or remap a range: until it returns, the range may be another's already.
    fn begin(&mut self, tid: u32, range: (u64, u64), remaps: bool, now_ns: u64) {
        self.abandon(tid, now_ns);
        let pieces = self.take(range, now_ns);
        self.in_flight.insert(tid, InFlight { pieces, remaps });
    }

    fn end_unmap(&mut self, tid: u32, succeeded: bool, now_ns: u64) {
        let Some(pieces) = self.landed(tid, false, now_ns) else { return };
        if !succeeded {
            return self.reinstate(pieces, now_ns);
        }
        self.totals.unknown_unmaps += u64::from(pieces.is_empty());
        for piece in pieces {
            self.end(&piece, End::Unmapped, now_ns);
        }
    }

    /// A remap of known memory ends what it was and makes a mapping of what it is now, as realloc does with a block.
    /// One of a range that is not known may be one of a file: it only clears the place that it took.
    fn end_remap(&mut self, tid: u32, new: (u64, u64), flags: u32, site: u32, now_ns: u64) {
        let pieces = self.landed(tid, true, now_ns);
        let failed = new.0 == 0;
        if failed {
            return self.reinstate(pieces.unwrap_or_default(), now_ns);
        }
        let known = pieces.as_ref().is_some_and(|pieces| !pieces.is_empty());
        self.totals.unknown_unmaps += u64::from(pieces.is_some() && !known);
        let pieces = pieces.unwrap_or_default();
        // Before 6.17 the old range was one area of one protection; since then it may be several.
        let accessible = pieces.iter().any(|piece| piece.accessible);
        if flags & MREMAP_DONTUNMAP == 0 {
            for piece in pieces {
                self.end(&piece, End::Unmapped, now_ns);
            }
        } else {
            self.reinstate(pieces, now_ns);
        }
        let replaces = flags & MREMAP_FIXED != 0;
        self.clear_range(new, if replaces { End::Unmapped } else { End::Displaced }, now_ns);
        if known {
            self.add(new, accessible, site, tid, now_ns);
        }
    }

    /// What the thread had in flight in a call of this kind; anything else does not fit together.
    fn landed(&mut self, tid: u32, remaps: bool, now_ns: u64) -> Option<Vec<Piece>> {
        if self.in_flight.get(&tid).is_some_and(|call| call.remaps != remaps) {
            self.abandon(tid, now_ns);
        }
        let call = self.in_flight.remove(&tid);
        self.totals.unpaired += u64::from(call.is_none());
        call.map(|call| call.pieces)
    }

    /// The return of the thread's unmap or remap was not seen, if there is one under way: nearly always it did what it
    /// was asked for. Where a remap went is not known.
    fn abandon(&mut self, tid: u32, now_ns: u64) {
        if let Some(call) = self.in_flight.remove(&tid) {
            self.totals.unpaired += 1;
            for piece in call.pieces {
                self.end(&piece, End::Unmapped, now_ns);
            }
        }
    }

    /// Puts pieces back that were in flight. Where something was mapped meanwhile, they must have gone.
    fn reinstate(&mut self, pieces: Vec<Piece>, now_ns: u64) {
        for piece in pieces {
            if self.intervals.overlaps(piece.start, piece.end) {
                self.end(&piece, End::Displaced, now_ns);
            } else {
                self.put_back(piece, now_ns);
            }
        }
    }

    fn put_back(&mut self, piece: Piece, now_ns: u64) {
        if !self.intervals.insert(piece) {
            self.end(&piece, End::Full, now_ns);
        }
    }

    /// Memory becomes address space in reserve, or the other way round.
    fn protect(&mut self, range: (u64, u64), accessible: bool, now_ns: u64) {
        for piece in self.take(range, now_ns) {
            let changed = Piece { accessible, ..piece };
            if piece.accessible != accessible {
                self.totals.change_access(&changed);
                let site = self.living.get(&piece.mapping).and_then(|one| self.sites.get_mut(one.site));
                if let Some(site) = site {
                    change_access(site, &changed);
                }
            }
            self.put_back(changed, now_ns);
        }
    }

    fn exec(&mut self) {
        self.totals.exec();
        self.intervals.clear();
        self.living.clear();
        self.in_flight.clear();
        self.sites.exec();
        self.histories.restart(self.sites.as_slice().len());
        self.series = Series::default();
    }
}

/// A piece of a mapping of the site has become memory, or none.
fn change_access(site: &mut Site, piece: &Piece) {
    let length = piece.len();
    if piece.accessible {
        site.alloc_bytes = site.alloc_bytes.saturating_add(length);
        site.live_bytes = site.live_bytes.saturating_add(length);
        site.peak_live_bytes = site.peak_live_bytes.max(site.live_bytes);
    } else {
        site.freed_bytes = site.freed_bytes.saturating_add(length);
        site.live_bytes = site.live_bytes.saturating_sub(length);
    }
}

/// Whether pages of this protection can be read, written or executed.
fn is_accessible(protection: u32) -> bool {
    const ANY: u32 = 7;
    protection & ANY != 0
}

/// Size of the pages that mmap was asked for.
fn page_size(flags: u32) -> u64 {
    match flags >> HUGE_SHIFT {
        _ if flags & MAP_HUGETLB == 0 => PAGE,
        0 => 1 << DEFAULT_HUGE,
        shift => PAGE.max(1 << shift.min(63)),
    }
}

/// Start and end of a range in whole pages. The kernel rounds the length; musl's mprotect also rounds an address that
/// is none of a page, where the kernel itself would fail.
fn pages(address: u64, length: u64, page: u64) -> (u64, u64) {
    let end = address.saturating_add(length).checked_next_multiple_of(page);
    (address - address % PAGE, end.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
