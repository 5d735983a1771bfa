//! Blocks from before the trace, and samples, in a trace by hand.

use leaktrace_common::sampling::tagged;

use super::*;
use crate::heap::{FoundBlocks, Rounding, walk::WalkedBlock};
use crate::output::record::{CaptureMode, SiteKind};
use crate::session::input::Part;

fn found(blocks: &[(u64, u64)], part: Part) -> Input {
    let mut all = FoundBlocks::default();
    for &(address, usable) in blocks {
        all.push(WalkedBlock { address, usable });
    }
    Input::Fact(Fact::BlocksBefore { process: 0, t: 0.5, blocks: all, part })
}

fn begins() -> Input {
    Input::Fact(Fact::WalkBegins { process: 0 })
}

#[test]
fn blocks_from_before_are_live_until_they_are_freed() {
    let mut inputs = start();
    inputs.extend([
        Input::Fact(Fact::Rounding { process: 0, rounding: Some(Rounding::Glibc) }),
        begins(),
        events(&[
            stack(0, 11, &[0x1010, 0x2020]),
            allocation(0, 100, 0xa000, 100, 11),
            // Freed while the heap is read, which saw it.
            free(0, 200, 0xb000),
        ]),
        found(&[(0xa000, 104), (0xb000, 56)], Part::More),
        found(&[(0xc000, 1000), (0xd000, 24)], Part::Last),
        events(&[free(0, 600, 0xc000)]),
        Input::Fact(Fact::Tick(tick(1.0, &[]))),
        end(2.0, &[]),
    ]);
    let records = run(&inputs, VIEW);
    let tick = ticks(&records)[0];
    let before = tick.before_attach.as_ref().unwrap();
    assert_eq!((before.found_bytes, before.found_count), (1024, 2));
    assert_eq!((before.live_bytes, before.live_count, before.sizes.len()), (24, 1, 1));
    assert_eq!((tick.live_bytes, tick.live_count, tick.allocs), (124, 2, 1));
    assert_eq!((tick.frees, tick.unknown_frees, tick.internal_bytes), (1, 1, Some(4)));
    let site = tick.sites.iter().find(|site| site.kind == SiteKind::BeforeAttach).unwrap();
    assert_eq!((site.site, site.live_bytes, site.allocs, site.frees), (before.site, 24, 2, 1));
    assert_eq!((site.function.as_deref(), tick.losses.total), (Some("before attach"), 0));
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    assert_eq!((summary.processes[0].found_count, summary.processes[0].live_count), (Some(2), 2));
}

/// Where the heap cannot be read, nothing changes: not the figures, and not what is known of their past.
#[test]
fn a_heap_that_cannot_be_read_leaves_the_history_alone() {
    let inputs = |walks: bool| {
        let mut inputs = start();
        inputs.push(events(&[stack(0, 11, &[0x1010, 0x2020])]));
        for at in 0..20_u64 {
            inputs.push(events(&[allocation(0, at * 1000, 0xa000 + at * 16, 1 << 20, 11)]));
            if walks {
                inputs.extend([begins(), found(&[], Part::GivenUp)]);
            }
            inputs.push(Input::Fact(Fact::Tick(tick(at as f64 + 1.0, &[]))));
        }
        inputs.push(end(21.0, &[]));
        inputs
    };
    assert_eq!(run(&inputs(true), VIEW), run(&inputs(false), VIEW));
}

#[test]
fn samples_stand_for_more_than_themselves() {
    let mut inputs = start();
    if let Some(Input::Fact(Fact::Start { header, .. })) = inputs.first_mut() {
        header.capture.sample_bytes = 1000;
    }
    inputs.extend([
        events(&[
            stack(0, 11, &[0x1010, 0x2020]),
            allocation(0, 100, 0xa000, tagged(1000, 1), 11),
            allocation(0, 200, 0xb000, tagged(1, 1), 11),
            free(0, 300, 0xb000),
        ]),
        Input::Fact(Fact::Tick(Tick { passed: vec![(1, 500)], ..tick(1.0, &[]) })),
        end(2.0, &[]),
    ]);
    let records = run(&inputs, VIEW);
    let tick = ticks(&records)[0];
    // 1 - 1/e of such blocks are taken; of one byte one in 1000.5.
    assert_eq!((tick.live_bytes, tick.live_count, tick.samples), (1582, 2, Some(1)));
    assert_eq!((tick.alloc_bytes, tick.allocs, tick.frees), (1582 + 1001, 1002, 1001));
    let (low, high) = tick.live_bytes_ci95.unwrap();
    assert!(low < 100 && (8000..9000).contains(&high), "{low} {high}");
    assert_eq!((tick.internal_bytes, tick.overhead.passed_per_s), (None, 500.0));
    let site = &tick.sites[0];
    assert_eq!((site.estimated, site.samples, site.live_bytes_ci95), (true, Some(1), Some((low, high))));
}

#[test]
fn samples_may_begin_later_and_what_was_seen_is_certain() {
    let samples = |t, level| Input::Fact(Fact::Samples { t, base: 1000, level });
    let mut inputs = start();
    inputs.extend([
        events(&[stack(0, 11, &[0x1010, 0x2020]), allocation(0, 100, 0xa000, 1000, 11)]),
        Input::Fact(Fact::Tick(tick(1.0, &[]))),
        samples(1.5, 1),
        Input::Fact(Fact::Passed { calls: vec![(1, 500)] }),
        events(&[allocation(0, 1600, 0xb000, tagged(1000, 1), 11)]),
        Input::Fact(Fact::Tick(tick(2.0, &[]))),
        samples(2.5, 0),
        events(&[free(0, 2600, 0xa000)]),
        Input::Fact(Fact::Tick(tick(3.0, &[]))),
        end(4.0, &[]),
    ]);
    let records = run(&inputs, VIEW);
    let ticks = ticks(&records);
    let of = |at: usize| (ticks[at].live_bytes, ticks[at].samples, ticks[at].overhead.sample_bytes);
    assert_eq!(
        [of(0), of(1), of(2)],
        [(1000, None, None), (2582, Some(2), Some(1000)), (1582, Some(1), None)]
    );
    let modes: Vec<_> = ticks.iter().map(|tick| tick.overhead.mode).collect();
    assert_eq!(modes[..3], [CaptureMode::Everything, CaptureMode::Samples, CaptureMode::Samples]);
    assert!((ticks[1].overhead.passed_per_s - 500.0).abs() < 1e-9);
    assert!(ticks[1].live_bytes_ci95.unwrap().0 > 1000, "{:?}", ticks[1]);
}
