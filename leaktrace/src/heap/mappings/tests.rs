//! Mappings against a naive model that knows each page, and by hand.

use std::collections::{BTreeMap, BTreeSet};

use leaktrace_common::Header;
use proptest::prelude::*;

use super::*;
use crate::event::Frames;
use crate::heap::Tracker;

const READ_WRITE: u32 = 3;

fn header(tid: u32, time_ns: u64) -> Header {
    Header { kind: 0, function: 0, process: 0, tid, time_ns }
}

/// One step of a random history; places and lengths in pages. Few of both, so that they meet.
#[derive(Clone, Copy, Debug)]
enum Step {
    Map { place: u64, length: u64, protection: u32, anonymous: bool, fixed: bool, stack: u64 },
    Begin { tid: u32, place: u64, length: u64, remaps: bool },
    EndUnmap { tid: u32, succeeded: bool },
    EndRemap { tid: u32, place: u64, length: u64, flags: u32, stack: u64 },
    Protect { place: u64, length: u64, protection: u32 },
    Stack { stack: u64 },
    Exit { tid: u32 },
    Exec,
}

fn step() -> impl Strategy<Value = Step> {
    let (place, length, tid, stack) = (1..40_u64, 0..10_u64, 1..4_u32, 0..5_u64);
    let protection = prop_oneof![2 => Just(READ_WRITE), 1 => Just(1_u32), 2 => Just(0_u32)];
    let mapped = (place.clone(), length.clone(), protection.clone(), any::<(bool, bool)>(), stack.clone());
    prop_oneof![
        8 => mapped.prop_map(|(place, length, protection, (file, fixed), stack)| {
            Step::Map { place, length, protection, anonymous: !file || place % 4 > 0, fixed, stack }
        }),
        8 => (tid.clone(), place.clone(), length.clone(), any::<bool>())
            .prop_map(|(tid, place, length, remaps)| Step::Begin { tid, place, length, remaps }),
        6 => (tid.clone(), any::<bool>()).prop_map(|(tid, succeeded)| Step::EndUnmap { tid, succeeded }),
        6 => (tid.clone(), 0..40_u64, length.clone(), 0..8_u32, stack.clone()).prop_map(
            |(tid, place, length, flags, stack)| Step::EndRemap { tid, place, length, flags, stack }
        ),
        4 => (place, length, protection)
            .prop_map(|(place, length, protection)| Step::Protect { place, length, protection }),
        1 => stack.prop_map(|stack| Step::Stack { stack }),
        1 => tid.prop_map(|tid| Step::Exit { tid }),
        1 => Just(Step::Exec),
    ]
}

/// What is known of one page: number of its mapping, and whether it may be accessed.
type Page = (u64, bool);

/// A page-by-page account, written as plainly as possible.
#[derive(Debug, Default)]
struct Model {
    pages: BTreeMap<u64, Page>,
    in_flight: BTreeMap<u32, (bool, BTreeMap<u64, Page>)>,
    next: u64,
    maps: u64,
    mapped: u64,
    /// Mappings and accessible pages that ended: unmapped, displaced, dropped by exec.
    ended: [(u64, u64); 3],
    unknown: u64,
    unpaired: u64,
    peak: u64,
}

const UNMAPPED: usize = 0;
const DISPLACED: usize = 1;
const DROPPED: usize = 2;

impl Model {
    fn all(&self) -> impl Iterator<Item = Page> {
        let moving = self.in_flight.values().flat_map(|(_, pages)| pages.values());
        self.pages.values().chain(moving).copied()
    }

    fn count(&self) -> u64 {
        self.all().map(|(mapping, _)| mapping).collect::<BTreeSet<_>>().len() as u64
    }

    fn live(&self) -> u64 {
        self.all().filter(|(_, accessible)| *accessible).count() as u64
    }

    fn take(&mut self, place: u64, length: u64) -> BTreeMap<u64, Page> {
        self.pages.extract_if(place..place + length, |_, _| true).collect()
    }

    /// These pages are in no account any more. A mapping whose last page is among them ends with the page at the
    /// highest address.
    fn end(&mut self, pages: &BTreeMap<u64, Page>, how: usize) {
        let left: BTreeSet<u64> = self.all().map(|(mapping, _)| mapping).collect();
        let gone: BTreeSet<u64> =
            pages.values().map(|(mapping, _)| *mapping).filter(|mapping| !left.contains(mapping)).collect();
        self.ended[how].0 += gone.len() as u64;
        self.ended[how].1 += pages.values().filter(|(_, accessible)| *accessible).count() as u64;
    }

    fn clear(&mut self, place: u64, length: u64, how: usize) {
        let pages = self.take(place, length);
        self.end(&pages, how);
    }

    fn add(&mut self, place: u64, length: u64, accessible: bool) {
        if length == 0 {
            return;
        }
        self.maps += 1;
        self.mapped += if accessible { length } else { 0 };
        self.pages.extend((place..place + length).map(|page| (page, (self.next, accessible))));
        self.next += 1;
    }

    fn abandon(&mut self, tid: u32) {
        if let Some((_, pages)) = self.in_flight.remove(&tid) {
            self.unpaired += 1;
            self.end(&pages, UNMAPPED);
        }
    }

    fn landed(&mut self, tid: u32, remaps: bool) -> Option<BTreeMap<u64, Page>> {
        if self.in_flight.get(&tid).is_some_and(|(of_remap, _)| *of_remap != remaps) {
            self.abandon(tid);
        }
        let landed = self.in_flight.remove(&tid).map(|(_, pages)| pages);
        self.unpaired += u64::from(landed.is_none());
        landed
    }

    fn reinstate(&mut self, pages: BTreeMap<u64, Page>) {
        // A stretch of one mapping and access went in as one, and comes back whole or not at all.
        let mut stretches: Vec<BTreeMap<u64, Page>> = Vec::new();
        for (place, page) in pages {
            match stretches.last_mut() {
                Some(last) if last.last_key_value() == Some((&(place - 1), &page)) => {
                    last.insert(place, page);
                }
                _ => stretches.push(BTreeMap::from([(place, page)])),
            }
        }
        let (gone, back): (Vec<_>, Vec<_>) = stretches
            .into_iter()
            .partition(|stretch| stretch.keys().any(|place| self.pages.contains_key(place)));
        self.pages.extend(back.into_iter().flatten());
        self.end(&gone.into_iter().flatten().collect(), DISPLACED);
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Map { place, length, protection, anonymous, fixed, .. } => {
                self.clear(place, length, if fixed { UNMAPPED } else { DISPLACED });
                if anonymous {
                    self.add(place, length, protection != 0);
                }
            }
            Step::Begin { tid, place, length, remaps } => {
                self.abandon(tid);
                let pages = self.take(place, length);
                self.in_flight.insert(tid, (remaps, pages));
            }
            Step::EndUnmap { tid, succeeded } => {
                let Some(pages) = self.landed(tid, false) else { return };
                if succeeded {
                    self.unknown += u64::from(pages.is_empty());
                    self.end(&pages, UNMAPPED);
                } else {
                    self.reinstate(pages);
                }
            }
            Step::EndRemap { tid, place, length, flags, .. } => {
                let pages = self.landed(tid, true);
                if place == 0 {
                    return self.reinstate(pages.unwrap_or_default());
                }
                self.unknown += u64::from(pages.as_ref().is_some_and(BTreeMap::is_empty));
                let pages = pages.unwrap_or_default();
                let (known, accessible) = (!pages.is_empty(), pages.values().any(|(_, access)| *access));
                if flags & MREMAP_DONTUNMAP == 0 {
                    self.end(&pages, UNMAPPED);
                } else {
                    self.reinstate(pages);
                }
                self.clear(place, length, if flags & MREMAP_FIXED == 0 { DISPLACED } else { UNMAPPED });
                if known {
                    self.add(place, length, accessible);
                }
            }
            Step::Protect { place, length, protection } => {
                for (_, page) in self.pages.range_mut(place..place + length) {
                    let accessible = protection != 0;
                    if page.1 != accessible {
                        *(if accessible { &mut self.mapped } else { &mut self.ended[UNMAPPED].1 }) += 1;
                    }
                    page.1 = accessible;
                }
            }
            Step::Stack { .. } => {}
            Step::Exit { tid } => self.abandon(tid),
            Step::Exec => {
                let (count, live) = (self.count(), self.live());
                self.ended[DROPPED].0 += count;
                self.ended[DROPPED].1 += live;
                self.pages.clear();
                self.in_flight.clear();
            }
        }
        self.peak = self.peak.max(self.live());
    }
}

fn apply(mappings: &mut Mappings, step: Step, time_ns: u64) {
    let frames: Vec<[u8; 8]>;
    let event = match step {
        // Lengths that are no whole pages are rounded up.
        Step::Map { place, length, protection, anonymous, fixed, stack } => Event::Map {
            header: header(1, time_ns),
            address: place * PAGE,
            length: (length * PAGE).saturating_sub(7),
            stack,
            protection,
            flags: if anonymous { MAP_ANONYMOUS } else { 0 } | if fixed { MAP_FIXED } else { 0 },
        },
        Step::Begin { tid, place, length, remaps } => {
            let (header, address, length) = (header(tid, time_ns), place * PAGE, length * PAGE);
            if remaps {
                Event::RemapBegin { header, address, length }
            } else {
                Event::UnmapBegin { header, address, length }
            }
        }
        Step::EndUnmap { tid, succeeded } => {
            Event::UnmapEnd { header: header(tid, time_ns), address: 0, length: u64::from(succeeded) }
        }
        Step::EndRemap { tid, place, length, flags, stack } => Event::RemapEnd {
            header: header(tid, time_ns),
            address: place * PAGE,
            length: length * PAGE,
            stack,
            flags,
        },
        Step::Protect { place, length, protection } => {
            let (address, length) = (place * PAGE, (length * PAGE).saturating_sub(1));
            Event::Protect { header: header(1, time_ns), address, length, protection }
        }
        Step::Stack { stack } => {
            frames = [10 + stack / 2].map(u64::to_ne_bytes).to_vec();
            let frames = Frames::new(&frames);
            Event::MappingStack { header: header(1, time_ns), hash: stack, truncated: false, frames }
        }
        Step::Exit { tid } => Event::Exit { header: header(tid, time_ns), pid: 1, tid },
        Step::Exec => Event::Exec { header: header(1, time_ns), pid: 1, tid: 1 },
    };
    mappings.apply(&event, &|_| true);
}

/// What holds at any moment, whatever came in.
fn check_invariants(mappings: &Mappings) -> Result<(), TestCaseError> {
    let totals = mappings.totals();
    let ended = totals.unmaps + totals.displaced + totals.dropped_by_exec + totals.full;
    prop_assert_eq!(totals.maps, totals.live_count + ended, "{:?}", totals);
    let gone = totals.unmapped_bytes + totals.displaced_bytes + totals.dropped_bytes + totals.full_bytes;
    prop_assert_eq!(totals.mapped_bytes, totals.live_bytes + gone, "{:?}", totals);
    let sum = |of: fn(&Site) -> u64| mappings.sites().iter().map(of).sum::<u64>();
    prop_assert_eq!(sum(|site| site.allocs), totals.maps);
    prop_assert_eq!(sum(|site| site.frees), totals.unmaps);
    prop_assert_eq!(sum(|site| site.live_count), totals.live_count);
    prop_assert_eq!(sum(|site| site.live_bytes), totals.live_bytes);
    prop_assert_eq!(sum(|site| site.alloc_bytes), totals.mapped_bytes);
    prop_assert_eq!(sum(|site| site.freed_bytes), totals.unmapped_bytes);
    // Exec forgets the ages at the two sites that outlive it.
    prop_assert!(sum(|site| site.lifetimes.counts().iter().sum()) <= totals.unmaps);
    prop_assert!(totals.peak_live_bytes >= totals.live_bytes);
    let mut ranges = Vec::new();
    mappings.for_each_range(|range| ranges.push((range.address, range.size)));
    prop_assert_eq!(ranges.iter().map(|(_, size)| size).sum::<u64>(), totals.live_bytes);
    let old = mappings.older_than(u64::MAX);
    prop_assert_eq!(old.iter().map(|old| old.live_count).sum::<u64>(), totals.live_count);
    prop_assert_eq!(old.iter().map(|old| old.live_bytes).sum::<u64>(), totals.live_bytes);
    Ok(())
}

fn check(mappings: &Mappings, model: &Model) -> Result<(), TestCaseError> {
    check_invariants(mappings)?;
    let totals = mappings.totals();
    let [unmapped, displaced, dropped] = model.ended;
    prop_assert_eq!((totals.maps, totals.mapped_bytes), (model.maps, model.mapped * PAGE));
    prop_assert_eq!((totals.live_count, totals.live_bytes), (model.count(), model.live() * PAGE));
    let reserved = model.all().filter(|(_, accessible)| !accessible).count() as u64;
    prop_assert_eq!(totals.reserved_bytes, reserved * PAGE);
    prop_assert_eq!((totals.unmaps, totals.unmapped_bytes), (unmapped.0, unmapped.1 * PAGE));
    prop_assert_eq!((totals.displaced, totals.displaced_bytes), (displaced.0, displaced.1 * PAGE));
    prop_assert_eq!((totals.dropped_by_exec, totals.dropped_bytes), (dropped.0, dropped.1 * PAGE));
    prop_assert_eq!((totals.unknown_unmaps, totals.unpaired), (model.unknown, model.unpaired));
    let mut ours: Vec<u64> = Vec::new();
    mappings.for_each_range(|range| ours.extend((range.address..range.address + range.size).step_by(4096)));
    ours.sort_unstable();
    let moving = model.in_flight.values().flat_map(|(_, pages)| pages);
    let theirs = model.pages.iter().chain(moving).filter(|(_, (_, accessible))| *accessible);
    let mut theirs: Vec<u64> = theirs.map(|(place, _)| place * PAGE).collect();
    theirs.sort_unstable();
    prop_assert_eq!(ours, theirs);
    Ok(())
}

fn new(max_mappings: usize) -> Mappings {
    Mappings::new(&Limits { max_mappings, ..Limits::default() }, 0, SiteIds::default())
}

proptest! {
    #[test]
    fn any_history_comes_to_what_the_pages_say(steps in prop::collection::vec(step(), 0..200)) {
        let mut mappings = new(1000);
        let mut model = Model::default();
        for (index, &step) in steps.iter().enumerate() {
            apply(&mut mappings, step, index as u64 * 7_000_000);
            model.apply(step);
            check(&mappings, &model)?;
        }
        prop_assert_eq!(mappings.totals().full + mappings.totals().cut_up, 0);
    }

    #[test]
    fn however_little_room_there_is_the_account_adds_up(
        steps in prop::collection::vec(step(), 0..200),
        room in 0..6_usize,
    ) {
        let mut mappings = new(room);
        for (index, &step) in steps.iter().enumerate() {
            apply(&mut mappings, step, index as u64 * 7_000_000);
            check_invariants(&mappings)?;
            prop_assert!(mappings.intervals.iter().count() <= room);
        }
    }

    #[test]
    fn hostile_numbers_do_no_harm(
        numbers in prop::collection::vec(
            (prop_oneof![any::<u64>(), Just(u64::MAX), Just(0)], prop_oneof![any::<u64>(), Just(u64::MAX)], any::<u32>()),
            0..60
        ),
    ) {
        let mut mappings = new(8);
        for (address, length, flags) in numbers {
            let header = header(flags % 3, u64::from(flags));
            let (stack, protection) = (0, flags);
            let events = [
                Event::Map { header, address, length, stack, protection, flags: flags | MAP_ANONYMOUS },
                Event::Protect { header, address: address / 2, length, protection },
                Event::RemapBegin { header, address, length: length / 2 },
                Event::RemapEnd { header, address: length, length: address, stack, flags },
                Event::UnmapBegin { header, address, length },
                Event::UnmapEnd { header, address, length: u64::from(flags & 1) },
            ];
            for event in events {
                mappings.apply(&event, &|_| true);
                let mut last = 0;
                for piece in mappings.intervals.iter() {
                    prop_assert!(last <= piece.start && piece.start < piece.end);
                    last = piece.end;
                }
            }
        }
    }
}

fn map(mappings: &mut Mappings, address: u64, length: u64, protection: u32, flags: u32) {
    let flags = flags | MAP_ANONYMOUS;
    let event = Event::Map { header: header(1, 0), address, length, stack: 0, protection, flags };
    mappings.apply(&event, &|_| true);
}

#[test]
fn a_mapping_that_is_cut_up_ends_once() {
    let mut mappings = new(10);
    map(&mut mappings, 0x10_0000, 10 * PAGE, READ_WRITE, 0);
    for (index, place) in [3, 0, 9, 5, 1, 2, 4, 6, 7, 8].into_iter().enumerate() {
        let step = Step::Begin { tid: 1, place: 0x100 + place, length: 1, remaps: false };
        apply(&mut mappings, step, 0);
        apply(&mut mappings, Step::EndUnmap { tid: 1, succeeded: true }, 0);
        let totals = mappings.totals();
        assert_eq!(totals.unmapped_bytes, (index as u64 + 1) * PAGE);
        assert_eq!((totals.unmaps, totals.live_count), if index == 9 { (1, 0) } else { (0, 1) });
    }
    assert_eq!(mappings.totals().losses().total(), 0);
}

#[test]
fn address_space_is_no_memory_until_it_may_be_accessed() {
    let mut mappings = new(10);
    map(&mut mappings, 0x10_0000, 1 << 30, 0, 0);
    let figures = |mappings: &Mappings| {
        let totals = mappings.totals();
        (totals.live_bytes, totals.reserved_bytes, totals.live_count)
    };
    assert_eq!(figures(&mappings), (0, 1 << 30, 1));
    apply(&mut mappings, Step::Protect { place: 0x100, length: 16, protection: READ_WRITE }, 0);
    assert_eq!(figures(&mappings), (16 * PAGE, (1 << 30) - 16 * PAGE, 1));
    apply(&mut mappings, Step::Protect { place: 0x104, length: 2, protection: 0 }, 0);
    assert_eq!(figures(&mappings), (14 * PAGE, (1 << 30) - 14 * PAGE, 1));
    // Giving memory back by mapping over it is a mapping of its own.
    map(&mut mappings, 0x10_0000, 4 * PAGE, 0, MAP_FIXED);
    assert_eq!(figures(&mappings), (10 * PAGE, (1 << 30) - 10 * PAGE, 2));
    assert_eq!(mappings.totals().losses().total(), 0);
}

#[test]
fn another_thread_may_get_a_range_before_its_unmapping_returned() {
    let mut mappings = new(10);
    map(&mut mappings, 0x10_0000, PAGE, READ_WRITE, 0);
    apply(&mut mappings, Step::Begin { tid: 1, place: 0x100, length: 1, remaps: false }, 0);
    map(&mut mappings, 0x10_0000, PAGE, READ_WRITE, 0);
    assert_eq!(mappings.totals().live_count, 2);
    apply(&mut mappings, Step::EndUnmap { tid: 1, succeeded: true }, 0);
    assert_eq!((mappings.totals().live_count, mappings.totals().losses().total()), (1, 0));
}

#[test]
fn an_unmap_that_fails_changes_nothing() {
    let mut mappings = new(10);
    map(&mut mappings, 0x10_0000, 4 * PAGE, READ_WRITE, 0);
    let before = *mappings.totals();
    apply(&mut mappings, Step::Begin { tid: 1, place: 0x101, length: 2, remaps: false }, 0);
    assert_eq!(*mappings.totals(), before);
    apply(&mut mappings, Step::EndUnmap { tid: 1, succeeded: false }, 0);
    assert_eq!(*mappings.totals(), before);
    assert_eq!(mappings.intervals.iter().count(), 1);
}

#[test]
fn sites_of_mappings_have_a_past_as_those_of_blocks_have() {
    let mut tracker = Tracker::new(&Limits::default(), 0, SiteIds::default());
    let mut ids = BTreeSet::new();
    for second in 0..40_u32 {
        let header = header(1, u64::from(second) * 1_000_000_000 + 500_000_000);
        let address = 0x1000_0000 + u64::from(second) * 2 * PAGE;
        let (length, protection, flags) = (PAGE, READ_WRITE, MAP_ANONYMOUS);
        let stack = 5;
        tracker.apply(&Event::Map { header, address, length, stack, protection, flags }, &|_| true);
        tracker.apply(
            &Event::Allocation { header, address: 16 + u64::from(second), size: 10, level: 0, stack },
            &|_| true,
        );
        tracker.tick(f64::from(second + 1));
        let due = tracker.candidates(f64::from(second + 1), 8);
        for &id in &due {
            tracker.judged(id, f64::from(second + 1));
        }
        ids.extend(due);
    }
    let mapping = tracker.mappings().sites()[2].id;
    let block = tracker.sites()[2].id;
    assert_ne!(mapping, block);
    assert!(ids.contains(&mapping) && ids.contains(&block), "{ids:?}");
    assert_eq!((tracker.site_growth(mapping), tracker.site_growth(block)), (Some(4096.0), Some(10.0)));
    let history = tracker.site_history(mapping).unwrap();
    assert_eq!(history.last(), Some(&(40.0, 40.0 * 4096.0)));
    assert!(history.len() >= 30 && tracker.site_facts(mapping, 40_000_000_000).is_some());
    assert_eq!(tracker.site(mapping).map(|site| site.live_count), Some(40));
}

#[test]
fn an_address_within_a_page_means_the_page() {
    let mut mappings = new(10);
    map(&mut mappings, 0x10_0000, 4 * PAGE, READ_WRITE, 0);
    let (address, length) = (0x10_0000 + PAGE + 5, PAGE);
    mappings.apply(&Event::Protect { header: header(1, 0), address, length, protection: 0 }, &|_| true);
    assert_eq!((mappings.totals().live_bytes, mappings.totals().reserved_bytes), (2 * PAGE, 2 * PAGE));
}

#[test]
fn huge_pages_count_whole() {
    for (flags, bytes) in [
        (0, 3 * PAGE),
        (MAP_HUGETLB, 2 << 20),
        (MAP_HUGETLB | 30 << HUGE_SHIFT, 1 << 30),
        (MAP_HUGETLB | 3 << HUGE_SHIFT, 3 * PAGE),
    ] {
        let mut mappings = new(10);
        map(&mut mappings, 0x4000_0000, 2 * PAGE + 1, READ_WRITE, flags);
        assert_eq!(mappings.totals().live_bytes, bytes, "{flags:#x}");
    }
}
