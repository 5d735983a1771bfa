//! Series of figures, and what is told at which tick.

use rstest::rstest;

use super::*;

/// Anonymous MiB, traced MiB and events of a process at a tick, beside 100 MiB from before the attach.
fn observed(anon: u64, live: u64, events: u64) -> Observed<'static> {
    let anon_bytes = (100 + anon) * MIB;
    Observed { rss_bytes: anon_bytes, anon_bytes, live_bytes: live * MIB, events, ..Observed::default() }
}

/// Index of the tick and code of each finding.
fn told(ticks: &[(u64, u64, u64)]) -> Vec<(usize, &'static str)> {
    let mut watch = Watch::new(&observed(0, 0, 0));
    let told = ticks.iter().enumerate().flat_map(|(index, &(anon, live, events))| {
        let findings = watch.tick(&observed(anon, live, events));
        findings.into_iter().map(move |finding| (index, finding.code)).collect::<Vec<_>>()
    });
    told.collect()
}

#[rstest]
// Anonymous MiB, traced MiB, events at each tick -> (tick, code)
#[case::quiet(&[(0, 0, 0), (7, 0, 0), (7, 0, 0)], &[])]
#[case::elsewhere(&[(7, 0, 0), (8, 0, 0), (90, 0, 0)], &[(1, "no_probe_fires")])]
#[case::one_event_is_enough(&[(8, 0, 1), (15, 0, 1), (15, 0, 1), (15, 0, 1), (15, 0, 1), (15, 0, 1)], &[])]
#[case::explained(&[(16, 8, 9), (20, 10, 9), (30, 16, 9), (40, 39, 9), (50, 50, 9), (60, 60, 9)], &[])]
#[case::shrinks(&[(0, 0, 9); 9], &[])]
#[case::unexplained(
    &[(16, 7, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9), (90, 9, 9)],
    &[(4, "growth_not_explained")]
)]
#[case::a_burst_starts_the_count_anew(
    &[(20, 9, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9), (20, 12, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9), (20, 9, 9)],
    &[(9, "growth_not_explained")]
)]
#[case::first_none_then_some(
    &[(20, 0, 0), (20, 0, 5), (20, 0, 5), (20, 0, 5), (20, 0, 5), (20, 0, 5)],
    &[(0, "no_probe_fires"), (5, "growth_not_explained")]
)]
fn growth(#[case] ticks: &[(u64, u64, u64)], #[case] expected: &[(usize, &str)]) {
    assert_eq!(told(ticks), expected);
}

#[rstest]
// The target's growth in MiB, the children's MiB at two ticks -> the child that is named
#[case::none(0, &[], &[], None)]
#[case::small(0, &[(7, 10)], &[(7, 17)], None)]
#[case::large(0, &[(7, 10)], &[(7, 18)], Some(7))]
#[case::less_than_the_target(9, &[(7, 10)], &[(7, 19)], None)]
#[case::more_than_the_target(9, &[(7, 10)], &[(7, 20)], Some(7))]
#[case::the_largest_growth_not_size(0, &[(7, 500), (8, 10)], &[(7, 509), (8, 20)], Some(8))]
#[case::a_new_one_is_measured_from_its_first_tick(0, &[], &[(7, 300)], None)]
#[case::gone(0, &[(7, 10)], &[], None)]
fn children(
    #[case] own: u64,
    #[case] before: &[(u32, u64)],
    #[case] after: &[(u32, u64)],
    #[case] expected: Option<u32>,
) {
    let usage = |children: &[(u32, u64)]| -> Vec<ChildUsage<'static>> {
        let usage = |&(pid, mib)| ChildUsage { pid, comm: "worker", rss_bytes: mib * MIB };
        children.iter().map(usage).collect()
    };
    let (before, after) = (usage(before), usage(after));
    let mut watch = Watch::new(&Observed { untraced_children: &before, ..observed(0, 0, 1) });
    let now = Observed { untraced_children: &after, ..observed(own, own, 1) };
    let findings = watch.tick(&now);
    let expected = expected.map(|pid| format!("child process {pid} (worker) grew by"));
    assert_eq!(findings.len(), usize::from(expected.is_some()), "{findings:?}");
    for (finding, expected) in findings.iter().zip(expected) {
        assert_eq!((finding.code, finding.level), ("children_grow", Level::Warning));
        assert!(finding.message.starts_with(&expected), "{}", finding.message);
        assert!(finding.message.contains("--children"));
    }
    assert_eq!(watch.tick(&now), [], "told once");
}

#[test]
fn a_pid_that_was_gone_is_another_child() {
    let small = [ChildUsage { pid: 7, comm: "a", rss_bytes: MIB }];
    let large = [ChildUsage { pid: 7, comm: "b", rss_bytes: 90 * MIB }];
    let with = |children| Observed { untraced_children: children, ..observed(0, 0, 1) };
    let mut watch = Watch::new(&with(&small));
    assert_eq!(watch.tick(&observed(0, 0, 1)), []);
    assert_eq!(watch.tick(&with(&large)), []);
}

#[test]
fn sentences_name_figures_runtimes_and_remedies() {
    let runtimes = ["CPython", "Go"];
    let mut watch = Watch::new(&observed(0, 0, 0));
    let unseen = watch.tick(&Observed { runtimes: &runtimes, ..observed(12, 0, 0) });
    let sentence = &unseen[0].message;
    for part in ["12.0 MiB", "CPython, Go", "--object", "--symbols-prefix", "doctor", "no probe fires"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    let mut last = Vec::new();
    for _ in 0..UNEXPLAINED_TICKS {
        last = watch.tick(&Observed { runtimes: &runtimes, ..observed(20, 2, 3) });
    }
    let sentence = &last[0].message;
    for part in ["20.0 MiB", "2.0 MiB", "CPython, Go"] {
        assert!(sentence.contains(part), "{sentence}");
    }
    assert!(!told(&[(8, 0, 0)]).is_empty());
}

#[test]
fn after_an_exec_growth_is_measured_anew() {
    let mut watch = Watch::new(&observed(0, 0, 0));
    watch.restart(&observed(50, 0, 0));
    assert_eq!(watch.tick(&observed(57, 0, 0)), []);
    assert_eq!(watch.tick(&observed(58, 0, 0)).len(), 1);
    watch.restart(&observed(0, 0, 0));
    assert_eq!(watch.tick(&observed(20, 0, 0)), [], "told once");
}

#[test]
fn figures_of_any_size_are_survived() {
    let huge = Observed {
        rss_bytes: u64::MAX,
        anon_bytes: u64::MAX,
        live_bytes: u64::MAX,
        events: u64::MAX,
        ..Observed::default()
    };
    let mut watch = Watch::new(&Observed::default());
    assert_eq!(watch.tick(&huge), []);
    let mut watch = Watch::new(&huge);
    assert_eq!(watch.tick(&Observed::default()), []);
}
