//! A trace by hand: inputs in, records out, and the same again from a recording.

mod before;
mod js;
mod mappings;
mod stacks;
mod verdicts;

use bytes::Bytes;
use leaktrace_common::{
    AllocationRecord, FreeRecord, Header as RecordHeader, Kind, LifecycleRecord, Loss, MAX_FRAMES,
    StackRecord,
};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::input::{Fact, Input, ProcessUsage, Tick};
use super::pipeline::Pipeline;
use super::ranking::View;
use super::recorder::Recorder;
use super::replay::Replay;
use crate::cli::{Sort, StackOptions};
use crate::event::BatchWriter;
use crate::heap::Limits;
use crate::output::fixture;
use crate::output::record::{EndReason, Level, Notice, Record, RssSplit};
use crate::output::sink::{Sink, SinkError};
use crate::output::thread::OutputThread;
use crate::trace_file::{Reader, Writer};

const START: u64 = 1_000_000_000_000;
const PID: u32 = fixture::PID;
const VIEW: View = View { top: 10, sort: Sort::Live, older_than: None };

fn header(kind: Kind, process: u16, ms: u64) -> RecordHeader {
    RecordHeader { kind: kind as u8, function: 1, process, tid: PID, time_ns: START + ms * 1_000_000 }
}

fn allocation(process: u16, ms: u64, address: u64, size: u64, stack: u64) -> Vec<u8> {
    let header = header(Kind::Allocation, process, ms);
    AllocationRecord { header, address, size, stack }.as_bytes().to_vec()
}

fn free(process: u16, ms: u64, address: u64) -> Vec<u8> {
    FreeRecord { header: header(Kind::Free, process, ms), address }.as_bytes().to_vec()
}

fn stack(process: u16, hash: u64, addresses: &[u64]) -> Vec<u8> {
    let mut frames = [0; MAX_FRAMES];
    frames[..addresses.len()].copy_from_slice(addresses);
    let depth = addresses.len() as u32;
    let header = header(Kind::Stack, process, 0);
    StackRecord { header, hash, depth, truncated: 0, frames }.as_bytes().to_vec()
}

fn exec(process: u16, ms: u64) -> Vec<u8> {
    LifecycleRecord { header: header(Kind::Exec, process, ms), pid: PID, tid: PID }.as_bytes().to_vec()
}

fn events(records: &[Vec<u8>]) -> Input {
    let mut batch = BatchWriter::default();
    for record in records {
        batch.push(record);
    }
    Input::Events(batch.take())
}

fn start() -> Vec<Input> {
    let header = Box::new(fixture::header());
    let facts = [
        Fact::Start { header, start_ns: START },
        Fact::Process { process: 0, pid: PID, comm: "victim".to_owned(), is_waiting: false },
        Fact::Code { process: 0, ranges: vec![(0x1000, 0x9000)] },
        Fact::Costs { ns: vec![(1, 2_000)], passed_ns: Vec::new() },
    ];
    facts.map(Input::Fact).into()
}

fn usage(rss_bytes: u64) -> ProcessUsage {
    ProcessUsage {
        process: 0,
        rss_bytes,
        split: RssSplit { anon_bytes: rss_bytes, ..RssSplit::default() },
        limit: None,
        pages: None,
        untraced_children: Vec::new(),
    }
}

fn tick(t: f64, losses: &[u64]) -> Tick {
    let processes = vec![usage(5 << 20)];
    Tick {
        t,
        losses: losses.to_vec(),
        passed: Vec::new(),
        processes,
        own_cpu_share: 0.01,
        own_rss_bytes: 1 << 20,
    }
}

fn end(t: f64, losses: &[u64]) -> Input {
    let tick = tick(t, losses);
    Input::Fact(Fact::End { tick, reason: EndReason::Duration, own_cpu_s: 0.25, own_peak_rss_bytes: 2 << 20 })
}

/// Two sites, a child whose records come too early, a loss, an exec.
fn trace() -> Vec<Input> {
    let mut inputs = start();
    inputs.extend([
        events(&[
            stack(0, 11, &[0x1010, 0x2020]),
            stack(0, 22, &[0x3030, 0x2020, 0xdead_0000]),
            allocation(0, 100, 0xa000, 100, 11),
            allocation(0, 200, 0xb000, 300, 22),
            allocation(0, 300, 0xc000, 50, 22),
            free(0, 400, 0xc000),
            free(0, 500, 0xd000),
            allocation(7, 600, 0xa000, 1, 11),
            vec![99, 1, 2],
        ]),
        Input::Fact(Fact::Symbols { site: 2, frames: fixture::stack(), culprit: Some(2), quiet: false }),
        Input::Fact(Fact::Symbols { site: 77, frames: fixture::stack(), culprit: None, quiet: false }),
        Input::Fact(Fact::Tick(tick(1.0, &[0, 3]))),
        Input::Fact(Fact::Tick(tick(2.000_001, &[0, 4]))),
        Input::Fact(Fact::Notice(Notice {
            t: 2.5,
            pid: PID,
            level: Level::Info,
            code: "child_followed".to_owned(),
            message: "a child".to_owned(),
        })),
        events(&[exec(0, 2_600), allocation(0, 2_700, 0xa000, 8, 11)]),
        Input::Fact(Fact::Tick(tick(3.0, &[0, 40]))),
        events(&[allocation(0, 3_100, 0xe000, 16, 0)]),
        end(3.5, &[0, 40]),
    ]);
    inputs
}

fn run(inputs: &[Input], view: View) -> Vec<Record> {
    let mut pipeline = Pipeline::new(view, Limits::default());
    let mut records = Vec::new();
    for input in inputs {
        pipeline.step(input, &mut records);
    }
    records
}

fn ticks(records: &[Record]) -> Vec<&crate::output::record::Tick> {
    records
        .iter()
        .filter_map(|record| if let Record::Tick(tick) = record { Some(tick) } else { None })
        .collect()
}

fn notices(records: &[Record]) -> Vec<(&str, f64)> {
    let notices = records.iter().filter_map(|record| match record {
        Record::Notice(notice) => Some((notice.code.as_str(), notice.t)),
        _ => None,
    });
    notices.collect()
}

#[test]
fn a_trace_by_hand_has_its_records_in_order() {
    let records = run(&trace(), VIEW);
    let kinds: Vec<&str> = records
        .iter()
        .map(|record| match record {
            Record::Header(_) => "header",
            Record::Tick(_) => "tick",
            Record::Site(_) => "site",
            Record::Notice(notice) => notice.code.as_str(),
            Record::Verdict(_) => "verdict",
            Record::Gc(_) => "gc",
            Record::Summary(_) => "summary",
            Record::HeapSnapshot(_)
            | Record::HeapConstructor(_)
            | Record::HeapGrowth(_)
            | Record::HeapObject(_) => "heap",
            Record::HeapWalk(_) => "heap_walk",
        })
        .collect();
    let expected = [
        "header",
        "site",
        "lost_events",
        "tick",
        "tick",
        "child_followed",
        "target_exec",
        "lost_events",
        "tick",
        "summary",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(notices(&records)[2], ("target_exec", 2.6));
}

#[test]
fn ticks_tell_heap_sites_and_losses() {
    let records = run(&trace(), VIEW);
    let ticks = ticks(&records);
    let first = ticks[0];
    assert_eq!((first.t, first.pid, first.live_bytes, first.live_count), (1.0, PID, 400, 2));
    assert_eq!((first.allocs, first.frees, first.unknown_frees), (3, 1, 1));
    assert_eq!((first.alloc_bytes, first.free_bytes), (450, 50));
    assert_eq!(first.rss_bytes, Some(5 << 20));
    let sites: Vec<_> =
        first.sites.iter().map(|site| (site.site, site.live_bytes, site.allocs, site.frees)).collect();
    assert_eq!(sites, [(2, 300, 2, 1), (1, 100, 1, 0)]);
    assert_eq!(first.sites[0].function.as_deref(), Some("createStringObject"));
    assert_eq!((first.sites[0].age_s, first.sites[1].function.as_deref()), (0.8, None));
    let causes: Vec<_> = first.losses.causes.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(causes, [("decode_errors", 1), ("ring_full_frees", 3), ("unknown_process", 1)]);
    assert_eq!(first.losses.total, 5);
    // Two stacks, four allocations, two frees; each costs the target 2 µs.
    assert_eq!((first.overhead.events_per_s, first.overhead.own_cpu_share), (8.0, 0.01));
    assert_eq!(ticks[1].overhead.events_per_s.to_bits(), 0);
    // Exec: what was live is gone, what was counted stays.
    assert_eq!((ticks[2].live_bytes, ticks[2].live_count, ticks[2].allocs), (8, 1, 4));
}

#[test]
fn the_summary_counts_everything() {
    let records = run(&trace(), VIEW);
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    assert_eq!((summary.t, summary.ended, summary.events), (3.5, EndReason::Duration, 11));
    let process = &summary.processes[0];
    assert_eq!((process.pid, process.comm.as_str()), (PID, "victim"));
    assert_eq!((process.live_bytes, process.allocs, process.peak_live_bytes), (24, 5, 450));
    assert_eq!(summary.losses.causes.get(Loss::RingFullFree.name()), Some(&40));
    assert_eq!((summary.own_cpu_s, summary.own_peak_rss_bytes), (0.25, 2 << 20));
    let stacks: Vec<_> =
        summary.sites.iter().map(|site| (site.figures.live_bytes, site.stack.len())).collect();
    assert_eq!(stacks[0], (16, 0));
}

#[test]
fn names_are_wanted_for_sites_without_any_and_cut_at_what_is_no_code() {
    let mut pipeline = Pipeline::new(VIEW, Limits::default());
    for input in &trace()[..5] {
        pipeline.step(input, &mut Vec::new());
    }
    assert_eq!(pipeline.unnamed_sites(), [(0, 2, vec![0x3030, 0x2020]), (0, 1, vec![0x1010, 0x2020])]);
    assert!(pipeline.knows_code(0, 0x1000) && !pipeline.knows_code(0, 0x9000));
    let mut blocks = Vec::new();
    pipeline.for_each_block(|pid, _, _, block| blocks.push((pid, block.address, block.size)));
    blocks.sort_unstable();
    assert_eq!(blocks, [(PID, 0xa000, 100), (PID, 0xb000, 300)]);
}

#[test]
fn only_old_blocks_count_where_asked() {
    let mut inputs = start();
    inputs.push(events(&[allocation(0, 100, 0xa000, 100, 0), allocation(0, 4_500, 0xb000, 900, 0)]));
    inputs.push(Input::Fact(Fact::Tick(tick(5.0, &[]))));
    let records = run(&inputs, View { older_than: Some(std::time::Duration::from_secs(2)), ..VIEW });
    let sites = &ticks(&records)[0].sites;
    assert_eq!((sites.len(), sites[0].live_bytes, sites[0].live_count), (1, 100, 1));
}

#[test]
fn processes_that_are_gone_have_a_last_tick_and_stand_in_the_summary() {
    let mut inputs = start();
    inputs.push(Input::Fact(Fact::Process {
        process: 1,
        pid: 9,
        comm: "child".to_owned(),
        is_waiting: false,
    }));
    inputs.push(events(&[allocation(1, 1, 0xa000, 100, 0)]));
    inputs.push(Input::Fact(Fact::Gone { process: 1, t: 1.5 }));
    inputs.push(Input::Fact(Fact::Tick(tick(1.0, &[]))));
    inputs.push(end(2.0, &[]));
    let records = run(&inputs, VIEW);
    let told: Vec<_> =
        ticks(&records).iter().map(|tick| (tick.pid, tick.t, tick.rss_bytes.is_some())).collect();
    assert_eq!(told, [(9, 1.5, false), (PID, 1.0, true)]);
    let Some(Record::Summary(summary)) = records.last() else { panic!("no summary") };
    let processes: Vec<_> =
        summary.processes.iter().map(|one| (one.pid, one.live_bytes, one.rss_bytes)).collect();
    assert_eq!(processes, [(PID, 0, Some(5 << 20)), (9, 100, None)]);
}

/// Hands what comes to a channel.
struct Collector(std::sync::mpsc::Sender<Record>);

impl Sink for Collector {
    fn record(&mut self, record: &Record) -> Result<(), SinkError> {
        self.0.send(record.clone()).map_err(|_| SinkError::Closed)
    }
}

/// What `leaktrace replay` would print of a recording.
fn replayed(path: &std::path::Path) -> Vec<Record> {
    let (sender, records) = std::sync::mpsc::channel();
    let output = OutputThread::spawn(Box::new(Collector(sender)), || {}).unwrap();
    let (_wishes, wanted) = tokio::sync::mpsc::unbounded_channel();
    let mut replay = Replay::new(VIEW, output, wanted, false);
    replay.play(&mut Reader::open(path).unwrap()).unwrap();
    replay.finish(None, &StackOptions::default(), None, Ok(())).unwrap();
    records.iter().collect()
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

#[test]
fn a_replay_prints_what_the_run_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut recorder = Recorder::create(&path, u64::MAX).unwrap();
    let mut inputs = trace();
    let live = run(&inputs, VIEW);
    let last = inputs.pop().unwrap();
    for input in inputs {
        assert_eq!(recorder.keep(input), None);
    }
    recorder.finish(last).unwrap();
    assert_eq!(lines(&replayed(&path)), lines(&live));
}

#[test]
fn a_replay_of_a_cut_recording_says_so_and_sums_up_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut writer = Writer::create(&path, u64::MAX).unwrap();
    let mut inputs = trace();
    inputs.pop();
    for input in &inputs {
        let (kind, payload) = input.to_frame().unwrap();
        writer.frame(kind, &payload).unwrap();
    }
    writer.flush().unwrap();
    drop(writer);
    let records = replayed(&path);
    let live = run(&inputs, VIEW);
    assert_eq!(lines(&records[..live.len()]), lines(&live));
    let [Record::Notice(notice), Record::Summary(summary)] = &records[live.len()..] else {
        panic!("{records:?}")
    };
    assert_eq!(notice.code, "recording_cut");
    assert_eq!((summary.ended, summary.t, summary.events), (EndReason::RecordingCut, 3.0, 11));
    assert_eq!(summary.losses.causes.get(Loss::RingFullFree.name()), Some(&40));
}

#[test]
fn a_replay_of_a_recording_that_reached_its_limit_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut recorder = Recorder::create(&path, 0).unwrap();
    let mut inputs = trace();
    let last = inputs.pop().unwrap();
    for input in inputs {
        let _stopped = recorder.keep(input);
    }
    recorder.finish(last).unwrap();
    let records = replayed(&path);
    let codes: Vec<&str> = notices(&records).iter().map(|(code, _)| *code).collect();
    assert!(codes.contains(&"recording_full"), "{codes:?}");
    assert!(matches!(records.last(), Some(Record::Summary(_))));
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), -10.0..1e4, Just(f64::NAN), Just(f64::INFINITY), Just(f64::MAX), Just(f64::MIN)]
}

fn a_tick() -> impl Strategy<Value = Tick> {
    let process = (0..4_u16, any::<u64>()).prop_map(|(process, rss_bytes)| ProcessUsage {
        process,
        rss_bytes,
        ..usage(0)
    });
    let processes = prop::collection::vec(process, 0..3);
    (number(), prop::collection::vec(any::<u64>(), 0..20), processes, number(), any::<u64>()).prop_map(
        |(t, losses, processes, own_cpu_share, own_rss_bytes)| Tick {
            t,
            passed: losses.iter().map(|&count| (count as u8, count)).collect(),
            losses,
            processes,
            own_cpu_share,
            own_rss_bytes,
        },
    )
}

fn a_record() -> impl Strategy<Value = Vec<u8>> {
    let header = (0..12_u8, any::<u8>(), 0..4_u16, 0..3_u32, prop_oneof![any::<u64>(), START..START * 2]);
    let size = prop_oneof![any::<u64>(), 0..100_u64];
    (header, 0..6_u64, size, 0..4_u64, 0..60_usize).prop_map(|(header, address, size, stack, cut)| {
        let (kind, function, process, tid, time_ns) = header;
        let header = RecordHeader { kind, function, process, tid, time_ns };
        let mut bytes = AllocationRecord { header, address, size, stack }.as_bytes().to_vec();
        bytes.truncate(cut);
        bytes
    })
}

fn an_input() -> impl Strategy<Value = Input> {
    let process = 0..4_u16;
    let ranges = prop::collection::vec((any::<u64>(), any::<u64>()), 0..4);
    let frames = prop_oneof![Just(fixture::stack()), Just(Vec::new())];
    prop_oneof![
        1 => any::<u64>().prop_map(|start_ns| Input::Fact(Fact::Start { header: Box::new(fixture::header()), start_ns })),
        3 => (process.clone(), any::<u32>(), ".{0,5}")
            .prop_map(|(process, pid, comm)| Input::Fact(Fact::Process { process, pid, comm, is_waiting: false })),
        1 => (process.clone(), ranges).prop_map(|(process, ranges)| Input::Fact(Fact::Code { process, ranges })),
        1 => prop::collection::vec(any::<(u8, u32)>(), 0..300)
            .prop_map(|ns| Input::Fact(Fact::Costs { passed_ns: ns.clone(), ns })),
        2 => (prop_oneof![0..5_u32, any::<u32>()], frames, any::<Option<usize>>(), any::<bool>()).prop_map(
            |(site, frames, culprit, quiet)| Input::Fact(Fact::Symbols { site, frames, culprit, quiet })
        ),
        4 => a_tick().prop_map(|tick| Input::Fact(Fact::Tick(tick))),
        1 => process.prop_map(|process| Input::Fact(Fact::Gone { process, t: 1.0 })),
        1 => (a_tick(), number()).prop_map(|(tick, own_cpu_s)| {
            Input::Fact(Fact::End { tick, reason: EndReason::Interrupted, own_cpu_s, own_peak_rss_bytes: u64::MAX })
        }),
        6 => prop::collection::vec(a_record(), 0..20).prop_map(|records| events(&records)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Input::Events(Bytes::from(bytes))),
    ]
}

fn a_view() -> impl Strategy<Value = View> {
    let sort = prop_oneof![
        Just(Sort::Live),
        Just(Sort::Growth),
        Just(Sort::Count),
        Just(Sort::Allocs),
        Just(Sort::Age)
    ];
    let older_than = prop::option::of(any::<u64>().prop_map(std::time::Duration::from_nanos));
    (0..4_usize, sort, older_than).prop_map(|(top, sort, older_than)| View { top, sort, older_than })
}

proptest! {
    #[test]
    fn any_inputs_are_survived(inputs in prop::collection::vec(an_input(), 0..40), view in a_view()) {
        let mut pipeline = Pipeline::new(view, Limits::default());
        let mut records = Vec::new();
        for input in &inputs {
            pipeline.step(input, &mut records);
            pipeline.unnamed_sites();
            pipeline.for_each_block(|_, age, _, _| assert!(age >= 0.0));
            pipeline.last_tick();
            pipeline.stacks();
        }
        for record in &records {
            prop_assert!(serde_json::to_string(record).is_ok());
        }
    }

    #[test]
    fn inputs_survive_the_recording(inputs in prop::collection::vec(an_input(), 0..20)) {
        for input in inputs {
            let (kind, payload) = input.to_frame().unwrap();
            // JSON has no infinite numbers: where there is one, the frame is refused when it is read.
            match Input::from_frame(kind, payload.to_vec()) {
                Ok(read) => prop_assert_eq!(lossy(read.unwrap()), lossy(input)),
                Err(_) => prop_assert!(payload.windows(5).any(|bytes| bytes == b":null")),
            }
        }
    }

    #[test]
    fn numbers_that_are_finite_stay_so(t in -1e300..1e300_f64, share in any::<f64>()) {
        prop_assume!(share.is_finite());
        let mut inputs = start();
        inputs.push(Input::Fact(Fact::Tick(Tick { own_cpu_share: share, ..tick(t, &[1]) })));
        let records = run(&inputs, VIEW);
        let tick = ticks(&records)[0];
        let overhead = &tick.overhead;
        for number in [tick.t, overhead.own_cpu_share, overhead.events_per_s, overhead.target_cpu_share] {
            prop_assert!(number.is_finite());
        }
        prop_assert!(notices(&records).iter().all(|(_, t)| t.is_finite()));
    }
}

/// Inputs with the numbers that a recording keeps to some 15 digits taken out.
fn lossy(mut input: Input) -> Input {
    let Input::Fact(fact) = &mut input else { return input };
    match fact {
        Fact::Tick(tick) => (tick.t, tick.own_cpu_share) = (0.0, 0.0),
        Fact::End { tick, own_cpu_s, .. } => (tick.t, tick.own_cpu_share, *own_cpu_s) = (0.0, 0.0, 0.0),
        _ => {}
    }
    input
}

#[test]
fn frames_of_later_kinds_are_passed_over() {
    assert_eq!(Input::from_frame(77, vec![1]).unwrap(), None);
    assert!(Input::from_frame(2, b"{}".to_vec()).is_err());
}
