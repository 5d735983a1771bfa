//! The likely cause and what to do, in words.

use super::judgement::{Judgement, Pattern, Verdict};
use super::rules;
use super::study::Study;

/// Cause and advice, one sentence each; none where there is nothing to explain. Without a study, what never changed.
pub(super) fn say(judgement: &Judgement, study: Option<&Study>) -> (Option<String>, Option<String>) {
    let Some(pattern) = judgement.pattern else { return (None, None) };
    let rests_on = |name: &str| {
        judgement.verdict == Verdict::Suspect && judgement.evidence.iter().any(|it| it.name == name)
    };
    if rests_on(rules::SMALL_GROWTH) {
        let cause = "it has grown, but by so little that it may be nothing";
        let advice = "keep watching: a leak goes on and will be named";
        return (Some(cause.to_owned()), Some(advice.to_owned()));
    }
    if rests_on(rules::ACCOUNTED_FOR) {
        let cause = "fragmentation, pages of old blocks touched late, or memory that is not traced";
        let advice = "compare with the live bytes: if they stay, look at the allocator, at mappings (--mmap) and at a \
                      runtime's own heap";
        return (Some(cause.to_owned()), Some(advice.to_owned()));
    }
    let period = study.map(|study| duration(study.cycles.period * study.curve.span_s)).unwrap_or_default();
    let (cause, advice) = match (judgement.verdict, pattern) {
        (Verdict::Leak | Verdict::Suspect, Pattern::Staircase) => {
            let interval = study.and_then(|study| Some(study.steps.interval()? * study.curve.span_s));
            let every = interval.map(|seconds| format!(" (every ≈ {})", duration(seconds))).unwrap_or_default();
            (
                "a batch job leaves memory behind each time it runs".to_owned(),
                format!("compare the times of the steps with cron, deploy or import times{every}"),
            )
        }
        (Verdict::Leak | Verdict::Suspect, Pattern::Periodic) if judgement.growth.is_some_and(|it| it.bytes_per_s > 0.0) => (
            format!("work that comes back every ≈ {period} frees most of its memory, but not all"),
            format!("compare what is live at two low points one period ({period}) apart: what is new is the leak"),
        ),
        (Verdict::Leak, _) => (
            "memory is allocated continuously and not given back".to_owned(),
            "look at who should free or drop what this code allocates, or put a limit on what it fills".to_owned(),
        ),
        (Verdict::Suspect, Pattern::Spike) => {
            let after = study.map(|study| duration(study.leap.at * study.curve.span_s));
            let when = after.map(|after| format!(" {after} after the first point")).unwrap_or_default();
            (
                format!("something large was allocated at once{when} and kept"),
                "look for one object, buffer or table that was built then; nothing has grown since".to_owned(),
            )
        }
        (Verdict::Suspect, Pattern::Linear) => (
            "it grows, but not for long enough, or with too much turnover, to tell a leak from a cache or load".to_owned(),
            "keep watching: a cache levels off and turnover follows the load, a leak does neither".to_owned(),
        ),
        (Verdict::Suspect, _) => (
            "memory grows that the traced allocations do not explain".to_owned(),
            "look at memory the traced functions do not allocate: mappings, stacks, a runtime's own heap".to_owned(),
        ),
        (Verdict::Bounded, Pattern::Warmup) => (
            "a cache or pool filled, or things were set up at first use".to_owned(),
            "nothing to do, unless the level it settled at is too high: then limit the cache".to_owned(),
        ),
        (Verdict::Bounded, Pattern::Periodic) => (
            format!("memory follows a cycle of ≈ {period} and comes back to the same floor"),
            "nothing to do: plan limits for the peaks, not for the mean".to_owned(),
        ),
        (Verdict::Bounded | Verdict::InsufficientData, _) => return (None, None),
    };
    (Some(cause), Some(advice))
}

/// Seconds in the unit people would choose.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{s:.0} s"),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(2.25), "2.2 s");
        assert_eq!(duration(3600.0), "3600 s");
        assert_eq!(duration(9000.0), "2.5 h");
        assert_eq!(duration(604_800.0), "7.0 days");
    }
}
