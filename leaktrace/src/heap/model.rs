//! The tracker against a naive model: any order of events, losses and interleaved reallocations included.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use leaktrace_common::Header;
use proptest::prelude::*;

use super::walk::{SizeClasses, WalkedBlock};
use super::{FoundBlocks, Limits, Rounding, SiteIds, Tracker};
use crate::event::{Event, Frames};

/// One step of a random history. Few addresses, threads and stacks, so that they meet.
#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate {
        tid: u32,
        address: u64,
        size: u64,
        stack: u64,
    },
    Free {
        tid: u32,
        address: u64,
    },
    Begin {
        tid: u32,
        address: u64,
    },
    End {
        tid: u32,
        address: u64,
        size: u64,
        stack: u64,
    },
    Abandon {
        tid: u32,
    },
    Exit {
        tid: u32,
    },
    Stack {
        stack: u64,
    },
    CodeChanged,
    Exec,
    Tick,
    WalkBegins,
    /// A walk showed these addresses, a bit each.
    Found(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let tid = 1..4_u32;
    let address = 1..9_u64;
    let size = prop_oneof![0..100_u64, Just(1 << 41), Just(u64::MAX)];
    let stack = 0..6_u64;
    prop_oneof![
        8 => (tid.clone(), address.clone(), size.clone(), stack.clone())
            .prop_map(|(tid, address, size, stack)| Step::Allocate { tid, address, size, stack }),
        8 => (tid.clone(), address.clone()).prop_map(|(tid, address)| Step::Free { tid, address }),
        6 => (tid.clone(), address.clone()).prop_map(|(tid, address)| Step::Begin { tid, address }),
        6 => (tid.clone(), 0..9_u64, size, stack.clone())
            .prop_map(|(tid, address, size, stack)| Step::End { tid, address, size, stack }),
        1 => tid.clone().prop_map(|tid| Step::Abandon { tid }),
        1 => tid.prop_map(|tid| Step::Exit { tid }),
        2 => stack.prop_map(|stack| Step::Stack { stack }),
        1 => Just(Step::CodeChanged),
        1 => Just(Step::Exec),
        1 => Just(Step::Tick),
        1 => Just(Step::WalkBegins),
        1 => (0..512_u16).prop_map(Step::Found),
    ]
}

/// What a history must come to, written as plainly as possible: address -> (size, tid of its allocation).
#[derive(Debug, Default)]
struct Model {
    live: BTreeMap<u64, (u64, u32)>,
    in_flight: BTreeMap<u32, (u64, Option<(u64, u32)>)>,
    max_blocks: usize,
    allocs: u64,
    frees: u64,
    unknown_frees: u64,
    displaced: u64,
    dropped: u64,
    full: u64,
    peak: u64,
    execs: u64,
    /// What was freed since a walk began, while one is under way.
    freed: Option<BTreeSet<u64>>,
    has_before: bool,
    found: u64,
    found_twice: u64,
}

/// Blocks from before have no thread.
const BEFORE: u32 = 0;

/// The addresses of a walk, and what may be used of each block.
fn shown(mask: u16) -> impl Iterator<Item = WalkedBlock> {
    let bits = (0..9).filter(move |bit| mask >> bit & 1 == 1);
    bits.map(|address| WalkedBlock { address, usable: 24 + 16 * address })
}

impl Model {
    fn count(&self) -> usize {
        self.live.len() + self.in_flight.values().filter(|(_, block)| block.is_some()).count()
    }

    fn blocks(&self) -> Vec<(u64, u64, u32)> {
        let moving = self.in_flight.values().filter_map(|&(address, block)| Some((address, block?)));
        let live = self.live.iter().map(|(&address, &block)| (address, block));
        let mut blocks: Vec<_> =
            live.chain(moving).map(|(address, (size, tid))| (address, size, tid)).collect();
        blocks.sort_unstable();
        blocks
    }

    fn allocate(&mut self, tid: u32, address: u64, size: u64) {
        self.allocs += 1;
        if let Some(&(_, old)) = self.live.get(&address) {
            self.displace(old);
        } else if self.count() >= self.max_blocks {
            self.full += 1;
            return;
        }
        self.live.insert(address, (size, tid));
    }

    fn displace(&mut self, tid: u32) {
        if tid == BEFORE {
            self.found_twice += 1;
        } else {
            self.displaced += 1;
        }
    }

    fn find(&mut self, mask: u16) {
        let Some(freed) = self.freed.take() else { return };
        self.has_before = true;
        for WalkedBlock { address, usable } in shown(mask) {
            let mut calls = self.in_flight.values().filter(|call| call.0 == address);
            let is_known = self.live.contains_key(&address) || calls.any(|call| call.1.is_some());
            if is_known || freed.contains(&address) {
                continue;
            }
            self.found += 1;
            if self.count() >= self.max_blocks {
                self.full += 1;
            } else if let Some(call) = self.in_flight.values_mut().find(|call| call.0 == address) {
                call.1 = Some((usable, BEFORE));
            } else {
                self.live.insert(address, (usable, BEFORE));
            }
        }
    }

    fn free(&mut self, was_known: bool) {
        if was_known {
            self.frees += 1;
        } else {
            self.unknown_frees += 1;
        }
    }

    fn reinstate(&mut self, tid: u32) {
        if let Some((address, Some(block))) = self.in_flight.remove(&tid) {
            match self.live.entry(address) {
                Entry::Vacant(place) => {
                    place.insert(block);
                }
                Entry::Occupied(_) => self.displace(block.1),
            }
        }
    }

    fn apply(&mut self, step: Step, may_take: bool) {
        match step {
            Step::Allocate { tid, address, size, .. } => self.allocate(tid, address, size),
            Step::Free { address, .. } => {
                self.freed.as_mut().map(|freed| freed.insert(address));
                let was_known = self.live.remove(&address).is_some();
                self.free(was_known);
            }
            Step::Begin { tid, address } => {
                if self.in_flight.get(&tid).is_none_or(|&(other, _)| other != address) {
                    self.reinstate(tid);
                    self.freed.as_mut().map(|freed| freed.insert(address));
                    let block = self.live.remove(&address);
                    self.in_flight.insert(tid, (address, block));
                }
            }
            Step::End { tid, address: 0, size: 1.., .. } | Step::Abandon { tid } | Step::Exit { tid } => {
                self.reinstate(tid);
            }
            Step::End { tid, address, size, .. } => {
                if let Some((_, block)) = self.in_flight.remove(&tid) {
                    self.free(block.is_some());
                }
                if address != 0 {
                    self.allocate(tid, address, size);
                }
            }
            Step::Exec => {
                self.execs += 1;
                self.dropped += self.count() as u64;
                self.live.clear();
                self.in_flight.clear();
                (self.freed, self.has_before) = (None, false);
            }
            Step::WalkBegins if !self.has_before => self.freed = Some(BTreeSet::new()),
            // Where there is no room for another site the walk is not taken.
            Step::Found(mask) if may_take => self.find(mask),
            Step::Found(_) | Step::WalkBegins => self.freed = None,
            Step::Stack { .. } | Step::CodeChanged | Step::Tick => {}
        }
    }
}

/// Applies a step; `false` where a walk was not taken.
fn apply(tracker: &mut Tracker, step: Step, time_ns: u64) -> bool {
    let header = |tid| Header { kind: 0, function: 0, process: 0, tid, time_ns };
    let is_code = |address: u64| address < 50;
    let addresses: Vec<[u8; 8]>;
    let event = match step {
        Step::Allocate { tid, address, size, stack } => {
            Event::Allocation { header: header(tid), address, size, level: 0, stack }
        }
        Step::Free { tid, address } => Event::Free { header: header(tid), address },
        Step::Begin { tid, address } => Event::ReallocBegin { header: header(tid), address },
        Step::End { tid, address, size, stack } => {
            Event::ReallocEnd { header: header(tid), address, size, level: 0, stack }
        }
        Step::Abandon { tid } => Event::ReallocAbandoned { header: header(tid), address: 0 },
        Step::Exit { tid } => Event::Exit { header: header(tid), pid: 1, tid },
        Step::Stack { stack } => {
            // Stacks 2 and 3 differ in junk only.
            addresses = [stack / 2 * 10, 30, 100 + stack].map(u64::to_ne_bytes).to_vec();
            Event::Stack { header: header(1), hash: stack, truncated: false, frames: Frames::new(&addresses) }
        }
        Step::CodeChanged => {
            tracker.code_changed();
            return true;
        }
        Step::WalkBegins => {
            tracker.walk_begins();
            return true;
        }
        Step::Found(mask) => {
            let mut blocks = FoundBlocks::default();
            shown(mask).for_each(|block| blocks.push(block));
            let is_taken = tracker.take_found(&blocks, time_ns);
            tracker.walk_ended();
            return is_taken;
        }
        Step::Exec => Event::Exec { header: header(1), pid: 1, tid: 1 },
        Step::Tick => {
            tracker.tick(time_ns as f64 / 1e9);
            return true;
        }
    };
    tracker.apply(&event, &is_code);
    true
}

fn check(tracker: &Tracker, model: &Model) -> Result<(), TestCaseError> {
    let totals = tracker.totals();
    let mut blocks = Vec::new();
    tracker.for_each_block(|block| blocks.push((block.address, block.size, block.tid)));
    blocks.sort_unstable();
    prop_assert_eq!(&blocks, &model.blocks());
    prop_assert_eq!(totals.live_count, blocks.len() as u64);
    prop_assert_eq!(totals.allocs, model.allocs);
    prop_assert_eq!(totals.frees, model.frees);
    prop_assert_eq!(totals.unknown_frees, model.unknown_frees);
    prop_assert_eq!(totals.displaced, model.displaced);
    prop_assert_eq!(totals.dropped_by_exec, model.dropped);
    prop_assert_eq!(totals.blocks_full, model.full);
    prop_assert_eq!((totals.found_count, totals.found_twice), (model.found, model.found_twice));
    let gone = totals.frees + totals.displaced + totals.dropped_by_exec + totals.blocks_full;
    prop_assert_eq!(totals.allocs + totals.found_count, totals.live_count + totals.found_twice + gone);
    check_before(tracker, model)?;

    let sum = |of: fn(&super::Site) -> u64| tracker.sites().iter().map(of).fold(0, u64::saturating_add);
    prop_assert_eq!(sum(|site| site.allocs), totals.allocs + totals.found_count);
    prop_assert_eq!(sum(|site| site.frees), totals.frees);
    prop_assert_eq!(sum(|site| site.live_count), totals.live_count);
    for site in tracker.sites().iter().skip(2) {
        prop_assert_eq!(tracker.site(site.id).map(|found| found.id), Some(site.id));
        prop_assert!(!site.ended || site.live_count == 0);
        prop_assert!(site.peak_live_bytes >= site.live_bytes);
    }
    check_cohorts(tracker, model)?;
    let old = tracker.older_than(u64::MAX).iter().map(|old| old.live_count).sum::<u64>();
    prop_assert_eq!(old, totals.live_count);
    Ok(())
}

/// What is left of the blocks from before is counted by size, and what the allocator rounds up is none of theirs.
fn check_before(tracker: &Tracker, model: &Model) -> Result<(), TestCaseError> {
    let blocks = model.blocks();
    let before: Vec<u64> = blocks.iter().filter(|block| block.2 == BEFORE).map(|block| block.1).collect();
    let mut sizes = SizeClasses::default();
    for &usable in &before {
        sizes.add(usable);
    }
    prop_assert_eq!(tracker.before().map_or_else(SizeClasses::default, |(_, left)| left.clone()), sizes);
    let live = tracker.before().and_then(|(id, _)| tracker.site(id)).map_or(0, |site| site.live_count);
    prop_assert_eq!(live, before.len() as u64);
    let since = blocks.iter().filter(|block| block.2 != BEFORE);
    let beyond: u64 = since.map(|block| Rounding::Glibc.usable(block.1) - block.1).sum();
    prop_assert_eq!(tracker.totals().internal_bytes, beyond);
    Ok(())
}

/// Every block is in the cohort of its birth, and every death in the lifetimes.
fn check_cohorts(tracker: &Tracker, model: &Model) -> Result<(), TestCaseError> {
    let mut births = BTreeMap::<u32, Vec<u64>>::new();
    tracker.for_each_block(|block| {
        births.entry(block.site).or_default().push(block.birth_ns / super::block::BIRTH_UNIT_NS);
    });
    for (index, site) in tracker.sites().iter().enumerate() {
        let births = births.remove(&site.id).unwrap_or_default();
        let (mut born, mut live) = (0, 0);
        for cohort in site.cohorts() {
            let within = |birth: &&u64| (u64::from(cohort.from)..cohort.to).contains(*birth);
            prop_assert_eq!(births.iter().filter(within).count() as u64, cohort.live);
            prop_assert!(cohort.live <= cohort.born);
            (born, live) = (born + cohort.born, live + cohort.live);
        }
        prop_assert_eq!(live, site.live_count);
        let deaths = site.lifetimes.counts().iter().sum::<u64>();
        if !site.ended {
            prop_assert!(born >= live + deaths);
        }
        // The two sites at the front go on after exec and begin anew.
        if index >= super::sites::RESERVED || model.execs == 0 {
            prop_assert!(born == site.born() || site.ended);
            prop_assert_eq!(deaths, site.frees);
        }
    }
    Ok(())
}

/// Facts are shares, ages and times, at any moment, also one before the last event.
fn check_facts(tracker: &Tracker, now_ns: u64) -> Result<(), TestCaseError> {
    for site in tracker.sites() {
        let facts = tracker.site_facts(site.id, now_ns).unwrap_or_default();
        prop_assert!(facts.watched_s >= 0.0 && facts.watched_s <= now_ns as f64 / 1e9);
        for share in [facts.survival, facts.old_cohort_alive, facts.free_ratio()].into_iter().flatten() {
            prop_assert!((0.0..=1.0).contains(&share), "{facts:?}");
        }
        if let Some((young, old)) = facts.live_age_p10_p90_s {
            prop_assert!(0.0 <= young && young <= old && old <= facts.watched_s, "{facts:?}");
        }
        prop_assert_eq!(facts.live_age_p10_p90_s.is_some(), site.live_count > 0);
    }
    Ok(())
}

/// Histories ascend to what the sites hold now.
fn check_histories(tracker: &Tracker) -> Result<(), TestCaseError> {
    let ascends = |points: &[(f64, f64)]| points.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let process = tracker.history();
    prop_assert!(ascends(&process));
    for site in tracker.sites() {
        let Some(points) = tracker.site_history(site.id) else { continue };
        prop_assert!(!site.ended && ascends(&points));
        let newest = process.last().map(|&(t, _)| (t, site.live_bytes as f64));
        prop_assert_eq!(points.last().copied(), newest);
    }
    Ok(())
}

/// Bytes are compared where no size saturates a sum.
fn check_bytes(tracker: &Tracker, model: &mut Model) -> Result<(), TestCaseError> {
    let bytes: u64 = model.blocks().iter().map(|&(_, size, _)| size).sum();
    prop_assert_eq!(tracker.totals().live_bytes, bytes);
    prop_assert_eq!(tracker.sites().iter().map(|site| site.live_bytes).sum::<u64>(), bytes);
    model.peak = model.peak.max(bytes);
    prop_assert_eq!(tracker.totals().peak_live_bytes, model.peak);
    Ok(())
}

proptest! {
    #[test]
    fn any_history_comes_to_what_the_model_says(
        steps in prop::collection::vec(step(), 0..300),
        max_blocks in prop_oneof![Just(5_usize), Just(1000)],
        max_sites in prop_oneof![Just(2_usize), Just(1000)],
    ) {
        let limits = Limits { max_blocks, max_sites, ..Limits::default() };
        let mut tracker = Tracker::new(&limits, 0, SiteIds::default());
        tracker.set_rounding(Some(Rounding::Glibc));
        let mut model = Model { max_blocks, ..Model::default() };
        let saturates = steps.iter().any(|step| {
            matches!(step, Step::Allocate { size: u64::MAX, .. } | Step::End { size: u64::MAX, .. })
        });
        for (index, &step) in steps.iter().enumerate() {
            let time_ns = index as u64 * 70_000_000;
            let is_taken = apply(&mut tracker, step, time_ns);
            model.apply(step, is_taken);
            check(&tracker, &model)?;
            if index % 4 == 0 {
                check_facts(&tracker, time_ns)?;
                check_facts(&tracker, time_ns / 2)?;
                check_histories(&tracker)?;
            }
            if !saturates {
                check_bytes(&tracker, &mut model)?;
            }
        }
    }
}

#[test]
fn an_address_may_be_handed_out_again_while_its_reallocation_is_in_flight() {
    let mut tracker = Tracker::new(&Limits::default(), 0, SiteIds::default());
    let steps = [
        Step::Allocate { tid: 1, address: 5, size: 10, stack: 1 },
        Step::Begin { tid: 1, address: 5 },
        Step::Allocate { tid: 2, address: 5, size: 20, stack: 2 },
    ];
    for step in steps {
        apply(&mut tracker, step, 0);
    }
    assert_eq!((tracker.totals().live_bytes, tracker.totals().displaced), (30, 0));
    apply(&mut tracker, Step::End { tid: 1, address: 6, size: 40, stack: 1 }, 0);
    assert_eq!((tracker.totals().live_bytes, tracker.totals().frees), (60, 1));
    assert_eq!(tracker.totals().losses().total(), 0);
}

#[test]
fn only_blocks_older_than_the_cutoff_are_summed() {
    let mut tracker = Tracker::new(&Limits::default(), 1_000_000_000, SiteIds::default());
    for (address, time_ns) in [(1, 1_000_000_000), (2, 2_000_000_000), (3, 3_000_000_000)] {
        apply(&mut tracker, Step::Allocate { tid: 1, address, size: 10, stack: 0 }, time_ns);
    }
    let old = tracker.older_than(2_500_000_000);
    assert_eq!(
        old.iter().map(|old| (old.site, old.live_bytes, old.live_count)).collect::<Vec<_>>(),
        [(0, 20, 2)]
    );
    let mut births = Vec::new();
    tracker.for_each_block(|block| births.push(block.birth_ns));
    births.sort_unstable();
    assert_eq!(births, [1_000_000_000, 2_000_000_000, 3_000_000_000]);
}
