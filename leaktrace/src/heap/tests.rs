//! What a tracker tells of the past of its sites.

use leaktrace_common::Header;

use super::{Limits, NO_STACK_SITE, SiteIds, Tracker};
use crate::event::Event;

fn tracker() -> Tracker {
    Tracker::new(&Limits::default(), 0, SiteIds::default())
}

fn header(t: f64) -> Header {
    Header { kind: 0, function: 0, process: 0, tid: 1, time_ns: (t * 1e9) as u64 }
}

/// Allocates at the site of this stack; sites are numbered in the order in which they come up.
fn allocate(tracker: &mut Tracker, t: f64, stack: u64, address: u64, size: u64) {
    tracker.apply(&Event::Allocation { header: header(t), address, size, stack }, &|_| true);
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
