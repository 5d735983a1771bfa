//! What of a row of judgements is told.

use super::standing::Standing;
use crate::{
    output::{
        fixture,
        verdict::{Subject, SubjectKind, VerdictRecord},
    },
    verdict::{Pattern, Verdict},
};

use Pattern::{Linear, Staircase, Steady};
use Verdict::{Bounded, InsufficientData, Leak, Suspect};

fn judgement(kind: SubjectKind, verdict: Verdict, pattern: Pattern) -> VerdictRecord {
    VerdictRecord {
        subject: Subject { kind, id: Some(1) },
        verdict,
        pattern: (verdict != InsufficientData).then_some(pattern),
        confidence: 0.6,
        growth_bytes_per_s: Some(1000.0),
        ..fixture::verdict()
    }
}

fn of_site(verdict: Verdict, pattern: Pattern) -> VerdictRecord {
    judgement(SubjectKind::Site, verdict, pattern)
}

/// A judgement a second, each told as soon as it is due: the seconds and records that are told.
fn told(judgements: impl IntoIterator<Item = VerdictRecord>) -> Vec<(u32, VerdictRecord)> {
    let mut standing = Standing::default();
    let mut told = Vec::new();
    for (second, record) in (1..).zip(judgements) {
        standing.judged(VerdictRecord { t: f64::from(second), ..record });
        if standing.is_due() {
            told.extend(standing.tell(true).map(|record| (second, record)));
        }
    }
    told
}

fn seconds(judgements: impl IntoIterator<Item = VerdictRecord>) -> Vec<u32> {
    told(judgements).into_iter().map(|(second, _)| second).collect()
}

#[test]
fn a_site_is_first_told_when_it_is_an_alarm_twice() {
    let (bounded, suspect) = (of_site(Bounded, Steady), of_site(Suspect, Linear));
    assert_eq!(seconds(vec![bounded.clone(); 50]), Vec::<u32>::new());
    assert_eq!(
        seconds([&bounded, &suspect, &bounded, &suspect, &bounded].map(Clone::clone)),
        Vec::<u32>::new()
    );
    assert_eq!(seconds([&bounded, &suspect, &suspect, &suspect].map(Clone::clone)), [3]);
    let unsure = VerdictRecord { confidence: 0.29, ..suspect.clone() };
    assert_eq!(seconds(vec![unsure; 50]), Vec::<u32>::new());
    assert_eq!(seconds(vec![VerdictRecord { confidence: 0.01, ..of_site(Leak, Linear) }; 5]), [2]);
    // One alarm is as good as another.
    assert_eq!(seconds([suspect, of_site(Leak, Staircase)]), [2]);
}

#[test]
fn a_process_is_first_told_when_anything_is_known() {
    for kind in [SubjectKind::Process, SubjectKind::Rss] {
        let unknown = judgement(kind, InsufficientData, Steady);
        let bounded = judgement(kind, Bounded, Steady);
        assert_eq!(seconds([&unknown, &unknown, &unknown].map(Clone::clone)), Vec::<u32>::new());
        assert_eq!(seconds([&unknown, &bounded, &bounded, &bounded].map(Clone::clone)), [3]);
    }
}

#[test]
fn a_change_is_told_once_it_has_held() {
    let (suspect, leak, bounded) =
        (of_site(Suspect, Linear), of_site(Leak, Linear), of_site(Bounded, Steady));
    let row = [vec![suspect; 2], vec![leak; 4], vec![bounded; 8]].concat();
    let told = told(row);
    let told: Vec<_> = told.iter().map(|(second, record)| (*second, record.verdict)).collect();
    assert_eq!(told, [(2, Suspect), (5, Leak), (12, Bounded)]);
}

#[test]
fn a_leak_is_not_taken_back_for_a_phase_of_its_cycle() {
    let (suspect, leak) = (of_site(Suspect, Linear), of_site(Leak, Linear));
    let cycles = (0..100).map(|second| if second % 20 < 10 { leak.clone() } else { suspect.clone() });
    assert_eq!(seconds(cycles), [2]);
    assert_eq!(seconds([vec![leak; 5], vec![suspect; 20]].concat()), [2, 20]);
}

#[test]
fn what_flaps_is_told_once() {
    let (suspect, leak) = (of_site(Suspect, Linear), of_site(Leak, Linear));
    let flapping = (0..100).map(|second| if second % 3 == 2 { leak.clone() } else { suspect.clone() });
    assert_eq!(seconds(flapping), [2]);
    let (linear, staircase) = (of_site(Leak, Linear), of_site(Leak, Staircase));
    let flapping = (0..100).map(|second| if second % 4 < 2 { linear.clone() } else { staircase.clone() });
    assert_eq!(seconds(flapping), [2]);
}

#[test]
fn a_verdict_that_holds_is_told_although_its_pattern_flaps() {
    let suspect = of_site(Suspect, Linear);
    let row = [suspect.clone(), suspect]
        .into_iter()
        .chain([Linear, Staircase, Linear, Staircase].map(|pattern| of_site(Leak, pattern)));
    assert_eq!(seconds(row), [2, 5]);
}

#[test]
fn another_pattern_of_the_same_verdict_is_told() {
    let row = [Linear, Linear, Staircase, Staircase, Staircase].map(|pattern| of_site(Leak, pattern));
    assert_eq!(seconds(row), [2, 5]);
}

#[test]
fn figures_are_told_when_they_have_moved_for_good() {
    let leak = of_site(Leak, Linear);
    let surer = VerdictRecord { confidence: 0.7, ..leak.clone() };
    let nearly = VerdictRecord { confidence: 0.699, ..leak.clone() };
    let faster = VerdictRecord { growth_bytes_per_s: Some(1250.0), ..leak.clone() };
    let hardly_faster = VerdictRecord { growth_bytes_per_s: Some(1249.0), ..leak.clone() };
    let without_rate = VerdictRecord { growth_bytes_per_s: None, ..leak.clone() };
    let then = |moved: &VerdictRecord| seconds([vec![leak.clone(); 10], vec![moved.clone(); 10]].concat());
    assert_eq!(then(&surer), [2, 13]);
    assert_eq!(then(&faster), [2, 13]);
    assert_eq!(then(&without_rate), [2, 13]);
    assert_eq!((then(&nearly), then(&hardly_faster)), (vec![2], vec![2]));
    // One that moves at every judgement is told now and then.
    let ever_surer =
        (0..20).map(|step| VerdictRecord { confidence: 0.3 + f64::from(step) * 0.03, ..leak.clone() });
    assert_eq!(seconds(ever_surer), [2, 8, 14, 20]);
    let ever_faster = (0..12)
        .map(|step| VerdictRecord { growth_bytes_per_s: Some(1000.0 * 2_f64.powi(step)), ..leak.clone() });
    assert_eq!(seconds(ever_faster), [2, 7, 12]);
}

#[test]
fn the_rate_of_what_is_bounded_is_noise() {
    let bounded = |rate| VerdictRecord {
        growth_bytes_per_s: Some(rate),
        ..judgement(SubjectKind::Process, Bounded, Steady)
    };
    assert_eq!(seconds((0..50).map(|second| bounded(f64::from(second) * 100.0 - 2000.0))), [2]);
}

#[test]
fn a_record_that_waits_goes_out_with_the_newest_figures_and_again_with_names() {
    let mut standing = Standing::default();
    let at = |t, live_bytes| VerdictRecord { t, live_bytes, ..of_site(Suspect, Linear) };
    standing.judged(at(1.0, 10));
    assert!(!standing.is_due() && standing.stands().is_none());
    standing.judged(at(2.0, 20));
    assert!(standing.is_due() && !standing.has_waited(3.9, 2.0) && standing.has_waited(4.0, 2.0));
    standing.judged(at(3.0, 30));
    assert!(standing.has_waited(4.0, 2.0), "it waits since 2 s, not since 3 s");
    let first = standing.tell(false).unwrap();
    assert_eq!((first.live_bytes, standing.is_due()), (30, false));
    assert!(standing.wants_names());
    standing.judged(at(5.0, 50));
    assert!(!standing.is_due());
    standing.tell(true).unwrap();
    assert!(!standing.wants_names());
}

#[test]
fn what_stands_has_the_newest_figures_that_belong_to_it() {
    let mut standing = Standing::default();
    for (second, live_bytes) in (0..5).zip(10..) {
        standing.judged(VerdictRecord { t: f64::from(second), live_bytes, ..of_site(Leak, Linear) });
    }
    let stands = standing.stands().unwrap();
    assert_eq!((stands.verdict, stands.live_bytes, standing.is_unsettled()), (Leak, 14, false));
    standing.judged(VerdictRecord { live_bytes: 99, ..of_site(Bounded, Steady) });
    let stands = standing.stands().unwrap();
    assert_eq!((stands.verdict, stands.live_bytes), (Leak, 14), "until the change has held");
    assert!(standing.is_unsettled());
}
