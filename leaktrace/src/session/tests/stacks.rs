//! The call sites of a trace by hand as a profile: what they add up to, and what it costs the output.

use super::*;
use crate::output::record::SiteKind;
use crate::output::record::Summary;
use crate::output::stacks::{Missing, Profile, Values};

fn after(inputs: &[Input], view: View) -> (Pipeline, Vec<Record>) {
    let mut pipeline = Pipeline::new(view, Limits::default());
    let mut records = Vec::new();
    for input in inputs {
        pipeline.step(input, &mut records);
    }
    (pipeline, records)
}

fn summary(records: &[Record]) -> &Summary {
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    summary
}

/// The figures of all call sites of the heap.
fn sum(profile: &Profile<'_>) -> Values {
    let heap = profile.samples.iter().filter(|sample| sample.kind == SiteKind::Heap);
    heap.fold(Values::default(), |sum, sample| Values {
        live_count: sum.live_count + sample.values.live_count,
        live_bytes: sum.live_bytes + sample.values.live_bytes,
        allocs: sum.allocs + sample.values.allocs,
        alloc_bytes: sum.alloc_bytes + sample.values.alloc_bytes,
    })
}

fn sum_of(summary: &Summary) -> Values {
    summary.processes.iter().fold(Values::default(), |sum, process| Values {
        live_count: sum.live_count + process.live_count,
        live_bytes: sum.live_bytes + process.live_bytes,
        allocs: sum.allocs + process.allocs,
        alloc_bytes: sum.alloc_bytes + process.alloc_bytes,
    })
}

#[test]
fn they_add_up_to_the_summary() {
    let (pipeline, records) = after(&trace(), VIEW);
    let profile = pipeline.stacks();
    assert_eq!(sum(&profile), sum_of(summary(&records)));
    let sites: Vec<_> = profile
        .samples
        .iter()
        .map(|one| (one.values.live_bytes, one.values.alloc_bytes, one.frames.len(), one.missing))
        .collect();
    // Two of the image before exec, of which one has names: the allocator's own two frames are left out.
    let named = fixture::stack().len() - 2;
    assert_eq!(
        sites,
        [(16, 16, 0, Some(Missing::Stack)), (8, 8, 2, None), (0, 350, named, None), (0, 100, 2, None)]
    );
    assert_eq!(profile.samples[1].frames[0].address, "0x1010");
    assert_eq!((profile.several, profile.started_s, profile.duration_s), (false, Some(1_767_323_045), 3.5));
    assert_eq!(profile.code[&PID], [(0x1000, 0x9000)]);
}

#[test]
fn processes_that_ended_long_ago_are_in_the_sum() {
    let mut inputs = start();
    for process in 1..=300 {
        let (pid, comm) = (9000 + u32::from(process), "child".to_owned());
        inputs.push(Input::Fact(Fact::Process { process, pid, comm, is_waiting: false }));
        inputs.push(events(&[allocation(process, 1, 0xa000, u64::from(process), 0)]));
        inputs.push(Input::Fact(Fact::Gone { process, t: 0.5 }));
    }
    inputs.push(end(1.0, &[]));
    let (pipeline, records) = after(&inputs, VIEW);
    let profile = pipeline.stacks();
    assert_eq!(sum(&profile), sum_of(summary(&records)));
    assert_eq!((sum(&profile).live_bytes, profile.several), (300 * 301 / 2, true));
    let ended = profile.samples.iter().filter(|sample| sample.missing == Some(Missing::EndedProcess));
    assert!(ended.count() > 0);
}

#[test]
fn only_old_blocks_are_live_where_asked() {
    let mut inputs = start();
    inputs.push(events(&[allocation(0, 100, 0xa000, 100, 0), allocation(0, 4_500, 0xb000, 900, 0)]));
    inputs.push(end(5.0, &[]));
    let view = View { older_than: Some(std::time::Duration::from_secs(2)), ..VIEW };
    let values = after(&inputs, view).0.stacks().samples[0].values;
    assert_eq!(values, Values { live_count: 1, live_bytes: 100, allocs: 2, alloc_bytes: 1000 });
}

#[test]
fn names_that_only_a_file_wants_are_told_once_a_tick_shows_the_site() {
    let mut inputs = start();
    inputs.push(events(&[
        stack(0, 11, &[0x1010]),
        stack(0, 22, &[0x3030]),
        allocation(0, 100, 0xa000, 100, 11),
        allocation(0, 100, 0xb000, 300, 22),
    ]));
    let (pipeline, _) = after(&inputs, VIEW);
    assert_eq!(pipeline.unnamed_for_stacks(0, 9), [(2, vec![0x3030]), (1, vec![0x1010])]);
    assert_eq!(pipeline.unnamed_for_stacks(0, 1).len(), 1);
    assert_eq!(pipeline.unnamed_for_stacks(7, 9), []);
    for site in [1, 2] {
        inputs.push(Input::Fact(Fact::Symbols {
            site,
            frames: fixture::stack(),
            culprit: None,
            quiet: true,
        }));
    }
    inputs.push(Input::Fact(Fact::Tick(tick(1.0, &[]))));
    inputs.push(events(&[free(0, 1_100, 0xb000)]));
    inputs.extend([2.0, 3.0].map(|t| Input::Fact(Fact::Tick(tick(t, &[])))));
    let (pipeline, records) = after(&inputs, View { top: 1, ..VIEW });
    let told: Vec<_> = records
        .iter()
        .filter_map(|record| if let Record::Site(site) = record { Some((site.site, site.t)) } else { None })
        .collect();
    assert_eq!(told, [(2, 1.0), (1, 2.0)]);
    assert_eq!(pipeline.unnamed_for_stacks(0, 9), []);
}
