//! How good verdicts are, on series that nothing was fitted on: what docs/classification.md promises.

use leaktrace::verdict::{Circumstances, Samples, judge};
use leaktrace_corpus::scoring::{Answer, Scores};
use leaktrace_corpus::{DEFAULT_COUNT, Judged, Labelled, PEERS, Truth, generate, recorded, report, seeds};

/// What leaktrace says of a bare series.
fn answer(series: &Labelled) -> Answer {
    let samples = Samples::new(series.points.iter().map(|&(t, bytes)| (t, bytes as f64)));
    let judgement = judge(&samples, &Circumstances::default());
    let growth = judgement.growth.map(|growth| [growth.ci95.0, growth.bytes_per_s, growth.ci95.1]);
    Answer::new(&judgement.verdict, judgement.pattern.as_ref(), judgement.confidence, growth)
}

#[track_caller]
fn hold_the_promises(seed: u64, scores: &Scores) {
    let mut broken = Vec::new();
    let mut demand = |what: &str, value: f64, low: f64, high: f64| {
        if !(low..=high).contains(&value) {
            broken.push(format!("{what} is {value:.4}, not in {low}..={high}"));
        }
    };
    let (calibration, intervals) = (&scores.calibration, &scores.intervals);
    demand("macro-F1 over the patterns", scores.confusion.macro_f1(), 0.95, 1.0);
    demand("leak F1", scores.leaks.f1(), 0.97, 1.0);
    demand("the false-positive rate on bounded series", scores.leaks.false_positive_rate(), 0.0, 0.01);
    demand("the expected calibration error", calibration.expected_error(), 0.0, 0.05);
    demand("the AUC of confidence", calibration.auc.unwrap_or(0.0), 0.8, 1.0);
    demand("the share of confidence at 0.8 and above", calibration.sure, 0.15, 0.85);
    demand("the coverage of growth intervals", intervals.coverage(), 0.9, 0.99);
    demand("the coverage where growth is clear", intervals.clear_coverage(), 0.9, 0.99);
    demand("the median width of clear growth", intervals.median_width.unwrap_or(f64::INFINITY), 0.0, 0.5);
    assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
}

/// The best leak F1 that any other detector has on these series.
fn best_peer(series: &[Labelled]) -> f64 {
    let f1 = |is_leak: fn(&[(f64, f64)]) -> bool| {
        let says = |series: &Labelled| {
            let points: Vec<_> = series.points.iter().map(|&(t, bytes)| (t, bytes as f64)).collect();
            (series.truth(), is_leak(&points))
        };
        leaktrace_corpus::scoring::Leaks::of(series.iter().map(says)).f1()
    };
    PEERS.iter().map(|peer| f1(peer.is_leak)).fold(0.0, f64::max)
}

#[test]
fn the_published_numbers_hold_and_are_those_of_this_code() {
    let series = generate(seeds::JUDGING, DEFAULT_COUNT);
    let generated = Judged::new(&series, answer);
    let scores = generated.scores();
    hold_the_promises(seeds::JUDGING, &scores);
    assert!(scores.leaks.f1() > best_peer(&series), "another detector is better");
    let series = recorded::load(&recorded::directory()).unwrap();
    let recorded = Judged::new(&series, answer);
    let text = report(seeds::JUDGING, &generated, &recorded);
    let page = include_str!("../../docs/classification.md");
    assert!(page.contains(&text), "out of date: run cargo xtask classification --write; it is now\n{text}");
}

#[test]
fn they_hold_on_series_nobody_has_looked_at() {
    for seed in seeds::UNSEEN {
        let series = generate(seed, DEFAULT_COUNT / 2);
        hold_the_promises(seed, &Judged::new(&series, answer).scores());
    }
}

/// Few and real: each has to be right about leak or not, and nearly all about the pattern.
#[test]
fn series_of_real_programs_are_judged_rightly() {
    let series = recorded::load(&recorded::directory()).unwrap();
    let judged = Judged::new(&series, answer);
    let wrong: Vec<_> =
        judged.wrong().map(|(series, answer)| format!("{}: {answer:?}", series.name)).collect();
    let wrong_about_leaks = judged
        .wrong()
        .filter(|(series, answer)| (series.truth() == Truth::Leak) != (answer.truth == Some(Truth::Leak)))
        .count();
    assert_eq!(wrong_about_leaks, 0, "{wrong:#?}");
    assert!(wrong.len() * 20 <= series.len(), "more than one in twenty: {wrong:#?}");
}
