//! What a tracker tells of the past of its sites.

use leaktrace_common::Header;

use super::{Limits, NO_STACK_SITE, Sampling, SiteIds, Tracker};
use crate::event::Event;

fn tracker() -> Tracker {
    Tracker::new(&Limits::default(), 0, SiteIds::default())
}

fn header(t: f64) -> Header {
    Header { kind: 0, function: 0, process: 0, tid: 1, time_ns: (t * 1e9) as u64 }
}

/// Allocates at the site of this stack; sites are numbered in the order in which they come up.
fn allocate(tracker: &mut Tracker, t: f64, stack: u64, address: u64, size: u64) {
    tracker.apply(&Event::Allocation { header: header(t), address, size, level: 0, stack }, &|_| true);
}

fn free(tracker: &mut Tracker, t: f64, address: u64) {
    tracker.apply(&Event::Free { header: header(t), address }, &|_| true);
}

#[test]
fn a_site_begins_with_nothing_where_that_was_seen_and_with_what_it_had_where_not() {
    let mut tracker = tracker();
    allocate(&mut tracker, 0.5, 77, 1, 100);
    tracker.tick(1.0);
    tracker.tick(2.0);
    allocate(&mut tracker, 2.4, 88, 2, 1000);
    assert_eq!(tracker.site_history(2), None);
    tracker.tick(3.0);
    allocate(&mut tracker, 3.5, 88, 3, 500);
    tracker.tick(4.0);
    assert_eq!(tracker.site_history(1).unwrap(), [(1.0, 100.0), (2.0, 100.0), (3.0, 100.0), (4.0, 100.0)]);
    assert_eq!(tracker.site_history(2).unwrap(), [(2.0, 0.0), (3.0, 1000.0), (4.0, 1500.0)]);
    assert_eq!(tracker.history(), [(1.0, 100.0), (2.0, 100.0), (3.0, 1100.0), (4.0, 1600.0)]);
    assert_eq!(tracker.site_history(3), None);
    // The site without a stack exists from the beginning, and has nothing: two points say so.
    assert_eq!(tracker.site_history(NO_STACK_SITE).unwrap(), [(1.0, 0.0), (4.0, 0.0)]);
}

#[test]
fn what_grows_is_due_every_second_and_what_rests_more_seldom() {
    let mut tracker = tracker();
    let (mut growing, mut resting) = (Vec::new(), Vec::new());
    for second in 1..=20_u32 {
        let t = f64::from(second);
        allocate(&mut tracker, t - 0.5, 77, u64::from(second), 100);
        if second == 1 {
            allocate(&mut tracker, t - 0.5, 88, 1000, 5_000_000);
        }
        tracker.tick(t);
        let due = tracker.candidates(t, 10);
        growing.extend(due.contains(&1).then_some(second));
        resting.extend(due.contains(&2).then_some(second));
        for site in due {
            tracker.judged(site, t);
        }
        assert!(tracker.candidates(t, 10).is_empty());
    }
    assert!(growing.iter().copied().eq(3..=20), "{growing:?}");
    assert!((5..=8).contains(&resting.len()) && resting[0] <= 4, "{resting:?}");
    assert_eq!((tracker.site_growth(1), tracker.site_growth(2)), (Some(100.0), Some(0.0)));
}

#[test]
fn exec_begins_anew() {
    let mut tracker = tracker();
    allocate(&mut tracker, 0.5, 77, 1, 100);
    allocate(&mut tracker, 0.5, leaktrace_common::NO_STACK, 2, 100);
    tracker.tick(1.0);
    tracker.apply(&Event::Exec { header: header(1.5), pid: 1, tid: 1 }, &|_| true);
    allocate(&mut tracker, 1.6, 77, 1, 300);
    allocate(&mut tracker, 1.6, leaktrace_common::NO_STACK, 2, 50);
    tracker.tick(2.0);
    assert_eq!(tracker.history(), [(2.0, 350.0)]);
    assert_eq!(tracker.site_history(1), None);
    assert_eq!(tracker.site_history(2).unwrap(), [(2.0, 300.0)]);
    assert_eq!(tracker.site_history(NO_STACK_SITE).unwrap(), [(2.0, 50.0)]);
    let facts = tracker.site_facts(NO_STACK_SITE, 5_600_000_000).unwrap();
    assert_eq!((facts.allocs, facts.frees, facts.watched_s), (2, 0, 4.0));
    assert_eq!(facts.old_cohort_alive, Some(1.0));
    assert_eq!(tracker.site_facts(1, 5_600_000_000).unwrap().live_age_p10_p90_s, None);
}

#[test]
fn a_displaced_block_is_no_longer_alive_and_died_at_no_known_age() {
    let mut tracker = tracker();
    for address in 1..=20 {
        allocate(&mut tracker, 0.0, 77, address, 10);
    }
    for address in 1..=5 {
        allocate(&mut tracker, 9.0, 88, address, 10);
    }
    free(&mut tracker, 9.5, 20);
    let facts = tracker.site_facts(1, 10_000_000_000).unwrap();
    assert_eq!((facts.allocs, facts.frees), (20, 1));
    assert_eq!(facts.old_cohort_alive, Some(14.0 / 20.0));
    assert_eq!(tracker.totals().displaced, 5);
    // The one that died was older than half the time.
    assert_eq!(facts.survival, Some(1.0));
}

#[test]
fn a_closed_tracker_still_tells_its_rates() {
    let mut tracker = tracker();
    for second in 1..=300_u32 {
        let t = f64::from(second);
        allocate(&mut tracker, t - 0.5, 77, u64::from(second), 100);
        tracker.tick(t);
    }
    assert!(tracker.history().len() > 150);
    tracker.close();
    assert_eq!((tracker.growth(), tracker.site_growth(1)), (Some(100.0), Some(100.0)));
    assert_eq!(tracker.history().len(), 32);
}

#[test]
fn of_a_slice_what_was_seen_between_its_edges_counts_and_is_old_enough() {
    let mut tracker = tracker();
    for address in 1..=10 {
        allocate(&mut tracker, 0.5, 77, address, 100);
    }
    tracker.look_away(1.0, true);
    assert_eq!((tracker.totals().live_bytes, tracker.counts()), (1000, [10, 10, 0]));
    // While the probes are placed it is not known yet when they stood.
    allocate(&mut tracker, 1.995, 77, 100, 100);
    allocate(&mut tracker, 2.005, 77, 101, 100);
    tracker.look_again(2.0, Some(2.02), &|_| true);
    allocate(&mut tracker, 2.006, 77, 102, 100);
    free(&mut tracker, 2.012, 101);
    allocate(&mut tracker, 2.015, 77, 103, 100);
    free(&mut tracker, 2.016, 1);
    allocate(&mut tracker, 2.021, 77, 104, 100);
    tracker.look_away(2.025, true);
    let mut known = Vec::new();
    tracker.for_each_block(|block| known.push(block.address));
    known.sort_unstable();
    assert_eq!(known, [2, 3, 4, 5, 6, 7, 8, 9, 10, 102]);
    // One free in a hundredth of a second stands for a hundred: so many that none of the ten can be taken to live.
    assert_eq!(tracker.totals().live_bytes, 100);
    assert_eq!(tracker.losses().total(), 0);
    // Nothing was seen to go since: the one that lives settles with what it stands for.
    tracker.look_again(3.0, Some(3.02), &|_| true);
    tracker.look_away(3.02, true);
    let interval = tracker.interval().unwrap();
    assert!(interval.0 == 0 && interval.1 >= 10_000, "{interval:?}");
}

#[test]
fn where_slices_follow_each_other_everything_is_seen_again() {
    let mut tracker = tracker();
    allocate(&mut tracker, 0.5, 77, 1, 100);
    tracker.look_away(1.0, true);
    tracker.look_again(2.0, None, &|_| true);
    for second in 2..10_u32 {
        let (t, address) = (f64::from(second), u64::from(second));
        tracker.apply(&Event::ReallocBegin { header: header(t + 0.99), address: 100 * address }, &|_| true);
        tracker.look_away(t + 1.0, true);
        tracker.look_again(t + 1.0, None, &|_| true);
        let end = Event::ReallocEnd {
            header: header(t + 1.01),
            address: 100 + address,
            size: 50,
            level: 0,
            stack: 77,
        };
        tracker.apply(&end, &|_| true);
        if second == 5 {
            free(&mut tracker, t + 1.5, 103);
        }
    }
    tracker.look_away(11.0, true);
    assert_eq!(tracker.counts()[0], 1 + 8 - 1);
    // Nobody knows whose the old blocks of the reallocations were: one of these may have gone in the time away.
    let live = tracker.totals().live_bytes;
    assert!((440..=100 + 7 * 50).contains(&live), "{live}");
    assert_eq!(tracker.losses().total(), 0);
}

/// Blocks that were seen before samples are taken stand for themselves until they go, and what came at each level for what it
/// stood for then.
#[test]
fn what_was_seen_for_certain_stays_certain_when_samples_begin() {
    let mut tracker = tracker();
    for address in 1..=10 {
        allocate(&mut tracker, 0.5, 77, address, 100);
    }
    free(&mut tracker, 0.6, 10);
    let sampling = Sampling::every(1000).unwrap();
    tracker.set_sampling(Some(sampling));
    assert_eq!((tracker.counts(), tracker.totals().live_bytes), ([9, 10, 1], 900));
    assert_eq!(tracker.interval(), Some((900, 900 + 3688)), "what may have come unseen");
    let sample = |tracker: &mut Tracker, address, level| {
        let stack = 77;
        tracker
            .apply(&Event::Allocation { header: header(1.0), address, size: 100, level, stack }, &|_| true);
    };
    // One of a hundred bytes stands for 10.5 at one in a thousand, for 40.5 at one in four thousand.
    sample(&mut tracker, 20, 1);
    assert_eq!((tracker.counts()[0], tracker.totals().live_bytes), (20, 1951));
    let sampling = sampling.at(2);
    tracker.set_sampling(Some(sampling));
    sample(&mut tracker, 21, 2);
    assert_eq!(tracker.counts()[0], 60);
    free(&mut tracker, 1.1, 20);
    free(&mut tracker, 1.1, 1);
    assert_eq!(tracker.counts(), [49, 61, 13]);
    tracker.set_sampling(Some(sampling.at(0)));
    free(&mut tracker, 1.2, 21);
    for address in 2..=9 {
        free(&mut tracker, 1.2, address);
    }
    assert_eq!((tracker.counts()[0], tracker.totals().live_bytes), (0, 0));
    assert_eq!(tracker.interval(), Some((0, 14_755)));
}

/// Slices go on from what samples told.
#[test]
fn slices_begin_with_what_samples_stand_for() {
    let mut tracker = tracker();
    let sampling = Sampling::every(1000).unwrap();
    tracker.set_sampling(Some(sampling));
    for address in 1..=100 {
        let stack = 77;
        tracker
            .apply(&Event::Allocation { header: header(0.5), address, size: 100, level: 1, stack }, &|_| {
                true
            });
    }
    let live = tracker.totals().live_bytes;
    tracker.tick(1.0);
    tracker.look_away(1.0, true);
    assert_eq!(tracker.totals().live_bytes, live);
    let (low, high) = tracker.interval().unwrap();
    assert!(low < live * 9 / 10 && high > live * 11 / 10, "{low} to {high}");
    // Half of them go where that is seen.
    tracker.look_again(2.0, None, &|_| true);
    for address in 1..=50 {
        free(&mut tracker, 2.5, address);
    }
    tracker.look_away(3.0, true);
    let left = tracker.totals().live_bytes as f64 / live as f64;
    assert!((0.0..0.51).contains(&left), "{left}");
}
