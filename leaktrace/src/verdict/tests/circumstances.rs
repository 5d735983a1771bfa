//! What is known beside the series.

use super::*;
use crate::verdict::{Pattern, SiteFacts};

fn line(circumstances: &Circumstances) -> Judgement {
    let points = (0..200).map(|i| (f64::from(i), 1e6 * f64::from(i)));
    judge(&Samples::new(points), circumstances)
}

fn plain() -> Judgement {
    line(&Circumstances::default())
}

#[test]
fn losses_and_sampling_lower_confidence() {
    let lossy = line(&Circumstances { loss_share: 0.25, ..Circumstances::default() });
    assert!((lossy.confidence - 0.75 * plain().confidence).abs() < 1e-9);
    assert!(lossy.evidence.iter().any(|evidence| evidence.name == "losses"));
    let sampled = line(&Circumstances { sampled_share: 0.01, ..Circumstances::default() });
    assert!((sampled.confidence - 0.802 * plain().confidence).abs() < 1e-9);
}

#[test]
fn blocks_that_live_on_raise_it_and_blocks_that_die_are_turnover() {
    let site = |alive: f64| SiteFacts {
        survival: Some(alive),
        old_cohort_alive: Some(alive),
        ..SiteFacts::default()
    };
    let with = |alive: f64| line(&Circumstances { site: Some(site(alive)), ..Circumstances::default() });
    assert!(with(1.0).confidence > plain().confidence);
    assert!(with(0.3).confidence < plain().confidence);
    assert_eq!(with(0.3).verdict, Verdict::Leak);
    assert_eq!(with(0.02).verdict, Verdict::Suspect);
    let freed = SiteFacts { allocs: 1000, frees: 990, ..SiteFacts::default() };
    let freed = line(&Circumstances { site: Some(freed), ..Circumstances::default() });
    assert!(freed.confidence < plain().confidence);
}

#[test]
fn growth_that_is_not_explained_is_never_bounded() {
    let points = (0..200).map(|i| (f64::from(i), 1e6));
    let circumstances = Circumstances { has_unexplained_growth: true, ..Circumstances::default() };
    let judgement = judge(&Samples::new(points), &circumstances);
    assert_eq!((judgement.verdict, judgement.pattern), (Verdict::Suspect, Some(Pattern::Steady)));
    assert!(judgement.confidence <= 0.5);
    assert!(judgement.cause.is_some());
}

#[test]
fn a_resident_set_that_does_not_follow_lowers_it() {
    let with =
        |agreement| line(&Circumstances { rss_agreement: Some(agreement), ..Circumstances::default() });
    assert!(with(0.1).confidence < with(0.4).confidence);
    assert!((with(0.9).confidence - plain().confidence).abs() < 1e-12);
    assert!((with(f64::NAN).confidence - plain().confidence).abs() < 1e-12);
}

#[test]
fn growth_of_a_resident_set_that_nobody_holds_is_at_most_a_suspect() {
    let with = |share| line(&Circumstances { accounted_share: Some(share), ..Circumstances::default() });
    for (share, verdict) in [(-0.2, Verdict::Suspect), (0.0, Verdict::Suspect), (0.49, Verdict::Suspect)]
        .into_iter()
        .chain([(0.51, Verdict::Leak), (3.0, Verdict::Leak), (f64::NAN, Verdict::Leak)])
    {
        let judgement = with(share);
        assert_eq!((judgement.verdict, judgement.pattern), (verdict, Some(Pattern::Linear)), "{share}");
        let is_said = judgement.evidence.iter().any(|evidence| evidence.name == "accounted");
        assert_eq!(is_said, verdict == Verdict::Suspect);
        assert!((judgement.confidence - plain().confidence).abs() < 1e-12);
    }
}

#[test]
fn growth_within_the_noise_is_at_most_a_suspect() {
    // The line grows by 199 MB.
    let with = |noise_bytes| line(&Circumstances { noise_bytes, ..Circumstances::default() });
    let small = with(2.5e8);
    assert_eq!((small.verdict, small.pattern), (Verdict::Suspect, Some(Pattern::Linear)));
    assert!(small.confidence <= 0.5);
    assert_eq!(small.evidence.first().map(|it| it.name.as_str()), Some("small_growth"));
    assert_eq!(with(1.5e8).verdict, Verdict::Leak);
    assert_eq!(with(f64::NAN).verdict, Verdict::Suspect);
}

#[test]
fn the_time_to_the_limit() {
    let headroom =
        |headroom| line(&Circumstances { headroom_bytes: Some(headroom), ..Circumstances::default() });
    let eta = headroom(6e8).eta_to_limit_s.unwrap();
    assert!((eta / 600.0 - 1.0).abs() < 0.01, "{eta}");
    assert_eq!(headroom(f64::INFINITY).eta_to_limit_s, None);
    assert_eq!(plain().eta_to_limit_s, None);
}
