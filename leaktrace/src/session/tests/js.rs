//! Call sites of JavaScript in a trace by hand: beside the native ones, judged like them, and said to be estimates.

use super::*;
use crate::output::record::SiteKind;
use crate::output::verdict::VerdictRecord;
use crate::symbol::Frame;
use crate::verdict::Verdict;

fn frame(function: &str, line: u32) -> Frame {
    Frame {
        column: Some(7),
        address: String::new(),
        module: None,
        ..fixture::frame(function, "/srv/app.js", line)
    }
}

fn js_stack(stack: u32, functions: &[&str]) -> Input {
    let frames = functions.iter().zip(1..).map(|(function, line)| frame(function, line)).collect();
    Input::Fact(Fact::JsStack { process: 0, isolate: 0, stack, t: 0.5, frames, culprit: Some(1) })
}

fn samples(t: f64, isolate: u32, born: &[(u64, u32, u64)], gone: &[u64]) -> Input {
    Input::Fact(Fact::JsSamples { process: 0, isolate, t, born: born.to_vec(), gone: gone.to_vec() })
}

/// A stack that keeps 8 samples of 32 KiB a second, one that keeps as many for a second only, and a native block.
fn leaking(seconds: u64) -> Vec<Input> {
    let mut inputs = start();
    inputs.extend([
        js_stack(1, &["push", "leak", "main"]),
        js_stack(2, &["parse", "handle", "main"]),
        events(&[stack(0, 11, &[0x1010, 0x2020]), allocation(0, 100, 0xa000, 100, 11)]),
    ]);
    for second in 1..=seconds {
        let born: Vec<(u64, u32, u64)> =
            (0..16).map(|n| (second * 16 + n, 1 + (n % 2) as u32, 32 << 10)).collect();
        let gone: Vec<u64> = (0..16).filter(|n| n % 2 == 1).map(|n| (second - 1) * 16 + n).collect();
        inputs.push(samples(second as f64, 0, &born, &gone));
        inputs.push(Input::Fact(Fact::Tick(tick(second as f64 + 0.01, &[]))));
    }
    inputs.push(end(seconds as f64 + 0.5, &[]));
    inputs
}

fn verdicts_on<'a>(records: &'a [Record], function: &'a str) -> impl Iterator<Item = &'a VerdictRecord> {
    records.iter().filter_map(move |record| match record {
        Record::Verdict(verdict) => {
            let culprit = verdict.culprit.as_ref()?.function.as_deref();
            (culprit == Some(function)).then_some(verdict)
        }
        _ => None,
    })
}

#[test]
fn they_are_ranked_with_native_ones_and_said_to_be_estimates() {
    let records = run(&leaking(5), VIEW);
    let last = *ticks(&records).last().unwrap();
    let sites: Vec<_> =
        last.sites.iter().map(|site| (site.kind, site.function.as_deref(), site.live_bytes)).collect();
    assert_eq!(
        sites,
        [
            (SiteKind::Js, Some("leak"), (5 * 8 * 32) << 10),
            (SiteKind::Js, Some("handle"), (8 * 32) << 10),
            (SiteKind::Heap, None, 100)
        ]
    );
    let leak = &last.sites[0];
    assert_eq!((leak.live_count, leak.allocs, leak.frees), (40, 40, 0));
    assert_eq!((leak.estimated, leak.isolate), (true, Some(0)));
    assert_eq!((last.sites[2].estimated, last.sites[2].isolate), (false, None));
    assert_eq!(leak.growth_bytes_per_s, Some(f64::from((8 * 32) << 10)));
    // The process's own figures are of native memory.
    assert_eq!(last.live_bytes, 100);
    let told: Vec<_> = records
        .iter()
        .filter(|record| matches!(record, Record::Site(site) if !site.stack.is_empty()))
        .collect();
    assert_eq!(told.len(), 2, "each stack is told once");
}

#[test]
fn a_leak_is_called_one_and_turnover_is_not() {
    let records = run(&leaking(90), VIEW);
    let leak = verdicts_on(&records, "leak").last().unwrap();
    assert_eq!((leak.verdict, leak.estimated), (Verdict::Leak, true));
    assert_eq!(leak.stack.as_ref().unwrap().len(), 3);
    assert!(verdicts_on(&records, "handle").all(|verdict| verdict.verdict != Verdict::Leak));
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    assert!(summary.leaks.iter().any(|leak| leak.estimated));
    assert_eq!((summary.sites[0].verdict, summary.sites[0].figures.estimated), (Some(Verdict::Leak), true));
}

#[test]
fn few_samples_are_no_evidence() {
    let mut inputs = start();
    inputs.push(js_stack(1, &["push", "slow", "main"]));
    for second in 1..=60_u64 {
        let born: &[(u64, u32, u64)] = if second.is_multiple_of(10) { &[(second, 1, 32 << 10)] } else { &[] };
        inputs.push(samples(second as f64, 0, born, &[]));
        inputs.push(Input::Fact(Fact::Tick(tick(second as f64 + 0.01, &[]))));
    }
    assert_eq!(verdicts_on(&run(&inputs, VIEW), "slow").count(), 0);
}

#[test]
fn an_isolate_that_ends_holds_nothing_and_other_isolates_stay() {
    let mut inputs = start();
    inputs.extend([
        samples(1.0, 0, &[(1, 1, 1000)], &[]),
        samples(1.0, 3, &[(1, 1, 500)], &[]),
        Input::Fact(Fact::Tick(tick(1.5, &[]))),
        Input::Fact(Fact::JsIsolateEnded { process: 0, isolate: 3, t: 2.0 }),
        Input::Fact(Fact::Tick(tick(2.5, &[]))),
        end(3.0, &[]),
    ]);
    let records = run(&inputs, VIEW);
    let figures = |tick: usize| -> Vec<_> {
        ticks(&records)[tick].sites.iter().map(|site| (site.isolate, site.live_bytes)).collect()
    };
    assert_eq!(figures(0), [(Some(0), 1000), (Some(3), 500)]);
    assert_eq!(figures(1), [(Some(0), 1000), (Some(3), 0)]);
}

#[test]
fn facts_survive_a_recording() {
    for input in leaking(2) {
        let (kind, payload) = input.to_frame().unwrap();
        assert_eq!(Input::from_frame(kind, payload.into_owned()).unwrap(), Some(input));
    }
}
