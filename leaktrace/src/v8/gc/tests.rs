//! Collections from hits, in order, out of order and with holes.

use leaktrace_common::{Header, Kind as RecordKind};
use proptest::prelude::*;

use super::{Collection, Isolates, Kind};
use crate::{event::Event, target::v8::Hook};

fn header(hook: Hook, kind: RecordKind, tid: u32, time_ns: u64) -> Header {
    Header { kind: kind as u8, function: hook.function().unwrap(), process: 0, tid, time_ns }
}

fn event(hook: Hook, tid: u32, time_ns: u64, object: u64, value: u64) -> Event<'static> {
    match hook {
        Hook::SizeOfObjects | Hook::CommittedMemory => {
            let header = header(hook, RecordKind::GcMeasured, tid, time_ns);
            Event::GcMeasured { header, object, value, detail: 0 }
        }
        _ => {
            let header = header(hook, RecordKind::GcStep, tid, time_ns);
            Event::GcStep { header, object, value: 7, detail: value }
        }
    }
}

/// A whole collection, as Node 20 makes it: 10 ms from `begin` on.
fn collection(tid: u32, heap: u64, begin: u64, kind: Hook, before: u64, after: u64) -> Vec<Event<'static>> {
    let ms = 1_000_000;
    [
        (Hook::Collect, 0, heap, 1),
        (Hook::PauseBegin, 0, heap + 1, 0),
        (Hook::CommittedMemory, 0, heap, 80),
        (Hook::SafepointBegin, 1, heap + 1, 0),
        (Hook::SizeOfObjects, 1, heap, before),
        (kind, 2, heap, 0),
        (Hook::SafepointEnd, 8, heap + 1, 0),
        (Hook::SizeOfObjects, 8, heap, after),
        (Hook::SizeOfObjects, 8, heap, 1),
        (Hook::CommittedMemory, 9, heap, 90),
        (Hook::PauseEnd, 10, heap + 1, 0),
    ]
    .into_iter()
    .map(|(hook, at, object, value)| event(hook, tid, begin + at * ms, object, value))
    .collect()
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn run(isolates: &mut Isolates, events: &[Event<'_>]) -> Vec<Collection> {
    events.iter().filter_map(|event| isolates.apply(event, &seconds)).collect()
}

#[test]
fn a_collection_has_its_kind_reason_pause_and_sizes() {
    let mut isolates = Isolates::default();
    let out = run(&mut isolates, &collection(5, 0x1000, 0, Hook::Scavenge, 60, 40));
    let [Collection { isolate: 1, cycle }] = out[..] else { panic!("{out:?}") };
    assert_eq!((cycle.kind, cycle.reason), (Kind::Scavenge, Some(1)));
    assert_eq!((cycle.before, cycle.after, cycle.committed), (Some(60), Some(40), Some(90)));
    assert_eq!(cycle.end_ns - cycle.begin_ns, 10_000_000);
    assert_eq!(isolates.unpaired(), 0);
}

#[test]
fn only_mark_compacts_are_a_baseline() {
    let mut isolates = Isolates::default();
    for (second, kind) in
        [(1, Hook::Scavenge), (2, Hook::MarkCompact), (3, Hook::MinorMarkSweep), (4, Hook::MarkCompact)]
    {
        run(&mut isolates, &collection(5, 0x1000, second * 1_000_000_000, kind, 60, 40 + second));
    }
    let isolate = isolates.iter().next().unwrap();
    let baseline: Vec<u64> = isolate.baseline().points().map(|point| point.value).collect();
    assert_eq!(baseline, [42, 44]);
    assert_eq!(isolate.collections(), (4, 2));
    let health = isolate.health(4.01);
    assert!((health.collections_per_s - 4.0 / 3.01).abs() < 0.1, "{health:?}");
    assert!((health.time_share - 0.04 / 3.01).abs() < 0.002, "{health:?}");
    assert!(health.survival.unwrap() > 0.6 && health.allocated_per_s.unwrap() > 0.0, "{health:?}");
}

#[test]
fn what_v8_holds_more_is_counted_from_when_it_was_first_known() {
    let mut isolate = super::Isolate::new(1, 0x1000, 0.0);
    let mut growth = Vec::new();
    for (hook, bytes) in [
        (Hook::SizeOfObjects, 10),
        (Hook::CommittedMemory, 100),
        (Hook::CommittedMemory, 130),
        (Hook::CommittedMemory, 90),
    ] {
        isolate.measured(hook, bytes);
        growth.push(isolate.committed_growth());
    }
    assert_eq!(growth, [0, 0, 30, 0]);
}

#[test]
fn isolates_of_worker_threads_are_kept_apart_and_end_with_their_threads() {
    let mut isolates = Isolates::default();
    let (a, b) = (
        collection(5, 0x1000, 0, Hook::Scavenge, 60, 40),
        collection(6, 0x2000, 0, Hook::MarkCompact, 600, 400),
    );
    let mixed: Vec<_> = a.into_iter().zip(b).flat_map(|(a, b)| [a, b]).collect();
    let out = run(&mut isolates, &mixed);
    let seen: Vec<_> = out.iter().map(|one| (one.isolate, one.cycle.before, one.cycle.after)).collect();
    assert_eq!(seen, [(1, Some(60), Some(40)), (2, Some(600), Some(400))]);
    assert_eq!((isolates.used_bytes(), isolates.committed_bytes()), (440, Some(180)));
    assert_eq!(isolates.committed_growth(), 0, "as it was first seen");
    let header = Header { kind: RecordKind::Exit as u8, function: 0, process: 0, tid: 6, time_ns: 0 };
    isolates.apply(&Event::Exit { header, pid: 1, tid: 6 }, &seconds);
    assert_eq!(isolates.iter().map(super::Isolate::number).collect::<Vec<_>>(), [1]);
    // Another worker's heap at the same address is another isolate.
    let out = run(&mut isolates, &collection(7, 0x2000, 0, Hook::Scavenge, 6, 4));
    assert_eq!(out.first().map(|one| one.isolate), Some(3));
}

#[test]
fn tracing_that_begins_within_a_collection_loses_nothing_but_that() {
    let whole = collection(5, 0x1000, 0, Hook::MarkCompact, 60, 40);
    for missing in 1..whole.len() {
        let mut isolates = Isolates::default();
        let tail = run(&mut isolates, &whole[missing..]);
        assert!(tail.len() <= 1, "{missing}");
        let next = run(&mut isolates, &collection(5, 0x1000, 1_000_000_000, Hook::Scavenge, 50, 45));
        assert_eq!(next.len(), 1, "{missing}");
        assert_eq!((next[0].cycle.before, next[0].cycle.after), (Some(50), Some(45)));
    }
}

#[test]
fn a_collection_whose_end_was_lost_is_counted() {
    let mut isolates = Isolates::default();
    let whole = collection(5, 0x1000, 0, Hook::MarkCompact, 60, 40);
    assert!(run(&mut isolates, &whole[..whole.len() - 1]).is_empty());
    assert_eq!(run(&mut isolates, &collection(5, 0x1000, 1_000_000_000, Hook::Scavenge, 50, 45)).len(), 1);
    assert_eq!(isolates.unpaired(), 1);
}

#[test]
fn a_size_that_the_program_asks_for_is_no_part_of_a_collection() {
    let mut isolates = Isolates::default();
    run(&mut isolates, &collection(5, 0x1000, 0, Hook::Scavenge, 60, 40));
    run(&mut isolates, &[event(Hook::SizeOfObjects, 5, 20_000_000, 0x1000, 55)]);
    assert_eq!(isolates.used_bytes(), 55);
    assert_eq!(isolates.iter().next().unwrap().collections(), (1, 0));
}

#[test]
fn the_limit_is_kept_with_its_source() {
    let mut isolates = Isolates::default();
    run(&mut isolates, &collection(5, 0x1000, 0, Hook::Scavenge, 60, 40));
    isolates.limit(0x1000, 4096, "v8");
    // The limit may be known before the first collection has ended.
    isolates.limit(0x2000, 512, "v8");
    run(&mut isolates, &collection(6, 0x2000, 0, Hook::Scavenge, 60, 40));
    let limits: Vec<_> = isolates.iter().map(super::Isolate::limit).collect();
    assert_eq!(limits, [Some((4096, "v8")), Some((512, "v8"))]);
}

const HOOKS: [Hook; 10] = [
    Hook::Collect,
    Hook::PauseBegin,
    Hook::PauseEnd,
    Hook::SafepointBegin,
    Hook::SafepointEnd,
    Hook::Scavenge,
    Hook::MarkCompact,
    Hook::MinorMarkSweep,
    Hook::SizeOfObjects,
    Hook::CommittedMemory,
];

proptest! {
    /// Whatever is lost and however hits are mixed: no more collections than pauses that ended, and each is whole.
    #[test]
    fn any_hits_give_whole_collections_or_are_counted(
        hits in prop::collection::vec((0_usize..10, 0_u32..3, any::<u64>(), 0_u64..3, any::<u64>()), 0..400),
    ) {
        let mut isolates = Isolates::default();
        let ends = hits.iter().filter(|(hook, ..)| HOOKS[*hook] == Hook::PauseEnd).count();
        let events: Vec<_> = hits
            .iter()
            .map(|&(hook, tid, time, heap, value)| event(HOOKS[hook], tid, time, heap, value))
            .collect();
        let out = run(&mut isolates, &events);
        prop_assert!(out.len() <= ends);
        for Collection { isolate, cycle } in out {
            prop_assert!(isolate >= 1 && cycle.begin_ns <= cycle.end_ns);
            prop_assert!(cycle.before.is_some() || cycle.after.is_some());
        }
        for isolate in isolates.iter() {
            let health = isolate.health(1e9);
            prop_assert!((0.0..=1.0).contains(&health.time_share));
            prop_assert!(health.survival.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }

    /// Single records may be lost: every collection is either there with its own figures, or one is counted or missing.
    #[test]
    fn a_lost_record_harms_its_own_collection_only(lost in prop::collection::btree_set(0_usize..110, 0..4)) {
        let mut isolates = Isolates::default();
        let all: Vec<_> = (0..10)
            .flat_map(|n| collection(5, 0x1000, n * 1_000_000_000, Hook::Scavenge, 100 + n, 50 + n))
            .collect();
        let kept: Vec<_> =
            all.into_iter().enumerate().filter(|(at, _)| !lost.contains(at)).map(|(_, one)| one).collect();
        let out = run(&mut isolates, &kept);
        prop_assert!(out.len() + lost.len() >= 10);
        for Collection { cycle, .. } in out {
            let n = cycle.end_ns / 1_000_000_000;
            if !lost.iter().any(|at| *at as u64 / 11 == n || (*at as u64 / 11) + 1 == n) {
                prop_assert_eq!((cycle.before, cycle.after), (Some(100 + n), Some(50 + n)));
            }
        }
    }
}
