//! The engine of verdicts on any numbers, in any circumstances: no panic, confidence within 0..1, intervals in order.
#![no_main]

use leaktrace::verdict::{Circumstances, Samples, SiteFacts, Verdict, judge};
use libfuzzer_sys::fuzz_target;

type Numbers = (f64, u8, u8, bool, Option<f64>, Option<f64>, f64);
type Blocks = (u64, u64, Option<u8>, Option<u8>, Option<(f64, f64)>);

/// Any series, one that ascends, and what is known beside them.
type Input = (Vec<(f64, f64)>, Vec<(u16, u32)>, Numbers, Option<Blocks>);

fuzz_target!(|input: Input| {
    let (anything, steps, numbers, blocks) = input;
    let circumstances = circumstances(numbers, blocks);
    check(&Samples::new(anything), &circumstances);
    // Few inputs ascend by themselves.
    let mut t = 0.0;
    check(
        &Samples::new(steps.into_iter().map(|(step, bytes)| {
            t += f64::from(step) / 256.0;
            (t, f64::from(bytes))
        })),
        &circumstances,
    );
});

fn check(samples: &Samples, circumstances: &Circumstances) {
    let judgement = judge(samples, circumstances);
    assert!((0.0..=1.0).contains(&judgement.confidence), "{judgement:?}");
    assert_eq!(judgement.pattern.is_none(), judgement.verdict == Verdict::InsufficientData, "{judgement:?}");
    if let Some(growth) = judgement.growth {
        assert!(growth.ci95.0 <= growth.bytes_per_s && growth.bytes_per_s <= growth.ci95.1, "{judgement:?}");
    }
    assert!(judgement.eta_to_limit_s.is_none_or(|eta| eta >= 0.0), "{judgement:?}");
}

/// Circumstances as they may be: shares within 0..1, bytes and times that are none below 0.
fn circumstances(numbers: Numbers, blocks: Option<Blocks>) -> Circumstances {
    let share = |byte: u8| f64::from(byte) / 255.0;
    let amount = |value: f64| if value.is_finite() { value.abs() } else { 0.0 };
    let (patience, loss, sampled, has_unexplained_growth, rss_agreement, headroom, noise) = numbers;
    Circumstances {
        patience_s: amount(patience),
        loss_share: share(loss),
        sampled_share: share(sampled),
        error_bytes: amount(noise) * share(sampled),
        pace: (sampled > 0).then(|| (1.0 / (1.0 + share(sampled)), 1.0 + amount(patience))),
        has_unexplained_growth,
        rss_agreement: rss_agreement.filter(|value| value.is_finite()),
        accounted_share: rss_agreement,
        headroom_bytes: headroom.map(amount),
        noise_bytes: amount(noise),
        site: blocks.map(|(allocs, frees, survival, alive, ages)| SiteFacts {
            allocs,
            frees: frees.min(allocs),
            survival: survival.map(share),
            old_cohort_alive: alive.map(share),
            live_age_p10_p90_s: ages
                .map(|(low, high)| (amount(low).min(amount(high)), amount(low).max(amount(high)))),
        }),
    }
}
