//! Any numbers at all: no panic, everything finite and in order.

use proptest::prelude::*;

use super::*;
use crate::verdict::SiteFacts;

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        -1e3..1e3_f64,
        Just(0.0),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        0.0..1e12_f64
    ]
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let site = (any::<u64>(), any::<u64>(), proptest::option::of(number()), proptest::option::of(number()));
    let site = site.prop_map(|(allocs, frees, survival, old_cohort_alive)| SiteFacts {
        allocs,
        frees,
        survival,
        old_cohort_alive,
        live_age_p10_p90_s: None,
    });
    let maybe = || proptest::option::of(number());
    let numbers = (number(), number(), number(), number(), maybe(), maybe(), maybe(), number());
    let pace = proptest::option::of((number(), number()));
    (numbers, any::<bool>(), proptest::option::of(site), pace).prop_map(
        |(numbers, has_unexplained_growth, site, pace)| {
            let (
                patience_s,
                noise_bytes,
                loss_share,
                sampled_share,
                rss_agreement,
                accounted_share,
                headroom_bytes,
                error_bytes,
            ) = numbers;
            Circumstances {
                patience_s,
                noise_bytes,
                loss_share,
                sampled_share,
                error_bytes,
                pace,
                has_unexplained_growth,
                rss_agreement,
                accounted_share,
                headroom_bytes,
                site,
            }
        },
    )
}

fn assert_sound(judgement: &Judgement) {
    assert!((0.0..=1.0).contains(&judgement.confidence), "{judgement:?}");
    assert_eq!(judgement.pattern.is_none(), judgement.verdict == Verdict::InsufficientData);
    if let Some(growth) = judgement.growth {
        let (low, high) = growth.ci95;
        assert!(low.is_finite() && high.is_finite(), "{judgement:?}");
        assert!(low <= growth.bytes_per_s && growth.bytes_per_s <= high, "{judgement:?}");
    }
    assert!(judgement.since_s.is_none_or(f64::is_finite), "{judgement:?}");
    assert!(judgement.eta_to_limit_s.is_none_or(|eta| eta.is_finite() && eta >= 0.0), "{judgement:?}");
    assert!(judgement.evidence.iter().all(|evidence| evidence.value.is_finite()), "{judgement:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_points(
        mut times in proptest::collection::vec(number(), 0..120),
        bytes in proptest::collection::vec(number(), 120),
        circumstances in circumstances(),
    ) {
        times.sort_unstable_by(f64::total_cmp);
        let bytes = bytes.into_iter().map(f64::abs);
        assert_sound(&judge(&Samples::new(times.into_iter().zip(bytes)), &circumstances));
    }

    #[test]
    fn any_heights_at_even_times(bytes in proptest::collection::vec(0.0..1e15_f64, 0..200)) {
        let points = bytes.into_iter().enumerate().map(|(i, bytes)| (i as f64, bytes));
        assert_sound(&judge(&Samples::new(points), &Circumstances::default()));
    }

    #[test]
    fn few_distinct_heights(bytes in proptest::collection::vec(0_u8..4, 0..90), scale in number()) {
        let points = bytes.into_iter().enumerate().map(|(i, bytes)| (i as f64, f64::from(bytes) * scale.abs()));
        assert_sound(&judge(&Samples::new(points), &Circumstances::default()));
    }

    #[test]
    fn units_do_not_matter(
        bytes in proptest::collection::vec(0.0..1e6_f64, 10..80),
        (seconds, size) in (1e-3..1e6_f64, 1e-2..1e6_f64),
    ) {
        let judge = |seconds: f64, size: f64| {
            let points = bytes.iter().enumerate().map(|(i, bytes)| (i as f64 * seconds, bytes * size));
            judge(&Samples::new(points), &Circumstances::default())
        };
        let (plain, scaled) = (judge(1.0, 1.0), judge(seconds, size));
        // Numbers that differ in their last digit may turn what is on the very edge.
        prop_assume!(plain.confidence > 0.6);
        prop_assert_eq!((plain.verdict, plain.pattern), (scaled.verdict, scaled.pattern));
    }
}

#[test]
fn a_million_points_are_thinned_first() {
    let mut noise = noise(7);
    let points = (0..1_000_000).map(|i| (f64::from(i), 1e6 + f64::from(i) + 1e4 * noise()));
    let judgement = judge(&Samples::new(points), &Circumstances::default());
    assert_sound(&judgement);
    assert_eq!(judgement.verdict, Verdict::Leak);
}

#[test]
fn too_little_is_said_to_be_so() {
    for count in 0..8 {
        let judgement =
            judge(&Samples::new((0..count).map(|i| (f64::from(i), f64::from(i)))), &Circumstances::default());
        assert_eq!(judgement.verdict, Verdict::InsufficientData);
        assert_sound(&judgement);
    }
}
