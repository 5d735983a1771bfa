//! Verdicts of whole traces by hand: when they come, what they carry, and what stands at the end.

use std::collections::BTreeMap;

use super::*;
use crate::{
    error::ExitCode,
    output::{
        record::{MemoryLimit, Summary},
        verdict::{SubjectKind, VerdictRecord},
    },
    session::fail_on_leak,
    verdict::{Pattern, Verdict},
};

/// Allocations a second of each site.
const RATE: u64 = 10;

/// A trace that goes on second by second, with the names that the pipeline asks for, or without.
struct Run {
    pipeline: Pipeline,
    inputs: Vec<Input>,
    records: Vec<Record>,
    second: u64,
    address: u64,
    with_names: bool,
    rss_bytes: u64,
    headroom_bytes: Option<u64>,
    losses: Vec<u64>,
}

impl Run {
    fn new() -> Self {
        let mut run = Self {
            pipeline: Pipeline::new(VIEW, Limits::default()),
            inputs: Vec::new(),
            records: Vec::new(),
            second: 0,
            address: 0x1_0000,
            with_names: true,
            rss_bytes: 5 << 20,
            headroom_bytes: None,
            losses: Vec::new(),
        };
        for input in start() {
            run.step(input);
        }
        run
    }

    fn step(&mut self, input: Input) {
        self.pipeline.step(&input, &mut self.records);
        self.inputs.push(input);
    }

    /// Call paths with these hashes, so that sites 1 and up have stacks.
    fn stacks(&mut self, hashes: std::ops::Range<u64>) {
        let records: Vec<_> =
            hashes.map(|hash| stack(0, hash, &[0x1000 + hash * 8, 0x8000 + hash % 0x100])).collect();
        self.step(events(&records));
    }

    /// A second in which each of the sites allocates so many bytes and frees nothing, then a tick.
    fn second(&mut self, sites: impl IntoIterator<Item = (u64, u64)>) {
        let mut records = Vec::new();
        for (hash, bytes) in sites {
            for step in 0..RATE {
                self.address += 0x100;
                let ms = self.second * 1000 + 100 + step * 50;
                records.push(allocation(0, ms, self.address, bytes / RATE, hash));
            }
        }
        self.step(events(&records));
        self.second += 1;
        self.tick();
    }

    fn tick(&mut self) {
        let limit = self.headroom_bytes.map(|headroom_bytes| MemoryLimit {
            name: "memory.max".to_owned(),
            limit_bytes: 1 << 40,
            headroom_bytes,
        });
        let processes = vec![ProcessUsage { limit, ..usage(self.rss_bytes) }];
        let tick = Tick { processes, ..tick(self.second as f64, &self.losses) };
        self.step(Input::Fact(Fact::Tick(tick)));
        if self.with_names {
            self.name_sites();
        }
    }

    fn name_sites(&mut self) {
        for (_, site, _) in self.pipeline.unnamed_sites() {
            self.step(Input::Fact(Fact::Symbols {
                site,
                frames: fixture::stack(),
                culprit: Some(2),
                quiet: false,
            }));
        }
    }

    fn verdicts(&self, kind: SubjectKind) -> Vec<&VerdictRecord> {
        let verdicts = self.records.iter().filter_map(|record| match record {
            Record::Verdict(verdict) => Some(verdict),
            _ => None,
        });
        verdicts.filter(|verdict| verdict.subject.kind == kind).collect()
    }

    fn end(&mut self) -> Summary {
        let losses = self.losses.clone();
        self.step(end(self.second as f64, &losses));
        match self.records.last() {
            Some(Record::Summary(summary)) => summary.clone(),
            other => panic!("no summary: {other:?}"),
        }
    }
}

const MEGABYTE: u64 = 1_000_000;

fn leak_for(seconds: u64) -> Run {
    let mut run = Run::new();
    run.stacks(1..2);
    (0..seconds).for_each(|_| run.second([(1, MEGABYTE)]));
    run
}

#[test]
fn a_leak_is_out_within_ten_seconds_and_called_so_within_a_minute() {
    let run = leak_for(65);
    let told = run.verdicts(SubjectKind::Site);
    let first = told.first().unwrap();
    assert!(first.t <= 10.0, "{first:?}");
    let leak = told.iter().find(|record| record.verdict == Verdict::Leak).unwrap();
    assert!(leak.t <= 60.0, "{leak:?}");
    for record in told {
        let culprit = record.culprit.as_ref().unwrap();
        assert_eq!((culprit.function.as_deref(), culprit.line), (Some("createStringObject"), Some(123)));
        assert_eq!((record.stack.as_deref(), record.pid), (Some(fixture::stack().as_slice()), Some(PID)));
        let rate = record.growth_bytes_per_s.unwrap();
        assert!((rate - 1e6).abs() < 5e4, "{rate}");
        assert!(record.live_bytes >= (record.t as u64 - 1) * MEGABYTE, "{record:?}");
        assert_eq!((record.live_count, record.frees), (record.allocs, Some(0)));
    }
    let process = run.verdicts(SubjectKind::Process);
    assert_eq!(process.last().unwrap().verdict, Verdict::Leak);
    assert!(process.iter().all(|record| record.subject.id == Some(u64::from(PID)) && record.stack.is_none()));
}

#[test]
fn a_leak_that_goes_on_at_another_site_is_named_as_soon_as_the_process_is() {
    let mut run = Run::new();
    run.stacks(1..4);
    (0..25).for_each(|_| run.second([(1, MEGABYTE)]));
    // The code was compiled anew. Beside it something is filled that was not there before.
    (0..35).for_each(|_| run.second([(2, MEGABYTE), (3, MEGABYTE / 10)]));
    let leak = |kind| run.verdicts(kind).into_iter().find(|record| record.verdict == Verdict::Leak);
    let (process, site) = (leak(SubjectKind::Process).unwrap(), leak(SubjectKind::Site).unwrap());
    assert_eq!(site.subject.id, Some(2));
    assert!(process.t <= site.t && site.t <= process.t + 5.0, "{} {}", process.t, site.t);
    assert!(site.confidence <= process.confidence, "{} {}", process.confidence, site.confidence);
    let others = run.verdicts(SubjectKind::Site).into_iter().filter(|record| record.subject.id != Some(2));
    assert!(others.into_iter().all(|record| record.verdict != Verdict::Leak));
}

#[test]
fn without_names_a_verdict_waits_and_comes_again_with_them() {
    let mut run = Run { with_names: false, ..leak_for(0) };
    let mut seconds = 0;
    while run.verdicts(SubjectKind::Site).is_empty() {
        run.second([(1, MEGABYTE)]);
        seconds += 1;
        assert!(seconds < 15, "no verdict");
    }
    let process_s = run.verdicts(SubjectKind::Process)[0].t;
    let by_address = run.verdicts(SubjectKind::Site)[0].clone();
    assert!(by_address.t - process_s >= 1.0 && by_address.t - process_s <= 3.0, "{by_address:?}");
    let stack = by_address.stack.unwrap();
    assert_eq!((stack[0].address.as_str(), &stack[0].function, by_address.culprit), ("0x1008", &None, None));
    let before = run.records.len();
    run.name_sites();
    let [Record::Site(_), Record::Verdict(named)] = &run.records[before..] else {
        panic!("{:?}", &run.records[before..])
    };
    assert_eq!(named.stack.as_deref(), Some(fixture::stack().as_slice()));
    // Names that come once more are no news.
    run.step(Input::Fact(Fact::Symbols {
        site: 1,
        frames: fixture::stack(),
        culprit: Some(2),
        quiet: false,
    }));
    assert!(matches!(run.records.last(), Some(Record::Site(_))));
}

#[test]
fn a_verdict_that_waits_for_names_is_out_at_the_end() {
    let mut run = Run { with_names: false, ..leak_for(0) };
    while run.verdicts(SubjectKind::Process).is_empty() {
        run.second([(1, MEGABYTE)]);
    }
    assert!(run.verdicts(SubjectKind::Site).is_empty());
    let summary = run.end();
    assert_eq!(run.verdicts(SubjectKind::Site).len(), 1);
    assert_eq!(summary.leaks[0].subject.kind, SubjectKind::Site);
}

#[test]
fn what_is_in_order_from_the_start_is_no_news_of_a_site() {
    let mut run = Run::new();
    run.stacks(1..3);
    run.second([(1, 64_000), (2, 9_000)]);
    (0..80).for_each(|_| run.second([]));
    assert!(run.verdicts(SubjectKind::Site).is_empty(), "{:?}", run.verdicts(SubjectKind::Site));
    for kind in [SubjectKind::Process, SubjectKind::Rss] {
        let told = run.verdicts(kind);
        assert!(told.iter().all(|record| record.verdict == Verdict::Bounded) && !told.is_empty(), "{told:?}");
    }
    let summary = run.end();
    assert_eq!((summary.leaks.len(), summary.verdicts.bounded), (0, 2));
    assert!(summary.sites.iter().all(|site| site.verdict.is_none()));
}

#[test]
fn one_small_block_that_stays_is_no_news_and_a_large_one_is() {
    for (bytes, is_news) in [(30_000, false), (8 * MEGABYTE, true)] {
        let mut run = leak_for(0);
        (0..10).for_each(|_| run.second([]));
        run.second([(1, bytes)]);
        (0..30).for_each(|_| run.second([]));
        let told = run.verdicts(SubjectKind::Site);
        assert_eq!(!told.is_empty(), is_news, "{bytes}: {told:?}");
        assert!(told.iter().all(|record| record.pattern == Some(Pattern::Spike)), "{told:?}");
    }
}

#[test]
fn growth_that_no_block_explains_makes_the_process_a_suspect() {
    let mut run = leak_for(0);
    run.second([(1, 64_000)]);
    (0..60).for_each(|_| {
        run.rss_bytes += MEGABYTE;
        run.second([]);
    });
    let process = run.verdicts(SubjectKind::Process);
    assert_eq!(process.last().unwrap().verdict, Verdict::Suspect, "{process:?}");
    // Nobody is known to hold it: it may be fragmentation, or a heap that is not traced.
    let resident = run.verdicts(SubjectKind::Rss);
    assert!(resident.iter().all(|record| record.verdict == Verdict::Suspect), "{resident:?}");
    let last = resident.last().unwrap();
    assert_eq!(last.pattern, Some(Pattern::Linear), "{last:?}");
    assert!(last.evidence.iter().any(|evidence| evidence.name == "accounted"), "{last:?}");
    assert!(run.verdicts(SubjectKind::Site).is_empty());
}

#[test]
fn a_site_that_stops_growing_is_told_to_be_bounded() {
    let mut run = leak_for(30);
    (0..90).for_each(|_| run.second([]));
    let told: Vec<_> = run.verdicts(SubjectKind::Site).iter().map(|record| record.verdict).collect();
    assert!(is_alarm(told[0]) && told.last() == Some(&Verdict::Bounded), "{told:?}");
    let summary = run.end();
    let site = &summary.sites[0];
    assert_eq!((site.figures.site, site.verdict), (1, Some(Verdict::Bounded)));
    assert!(summary.leaks.iter().all(|record| record.subject.kind != SubjectKind::Site));
}

fn is_alarm(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Leak | Verdict::Suspect)
}

#[test]
fn the_summary_ranks_what_stands_and_a_leak_fails_where_asked() {
    let mut run = Run::new();
    run.stacks(1..4);
    (0..70).for_each(|_| run.second([(1, 10_000), (2, MEGABYTE)]));
    let summary = run.end();
    let leaks: Vec<_> =
        summary.leaks.iter().map(|record| (record.verdict, record.subject.kind, record.subject.id)).collect();
    let process = (Verdict::Leak, SubjectKind::Process, Some(u64::from(PID)));
    let site = |id| (Verdict::Leak, SubjectKind::Site, Some(id));
    assert_eq!(leaks, [site(2), site(1), process]);
    assert_eq!((summary.verdicts.leak, summary.verdicts.suspect), (3, 0));
    assert!(summary.leaks.iter().take(2).all(|record| record.culprit.is_some() && record.stack.is_some()));
    let site = &summary.sites[0];
    assert_eq!((site.verdict, site.confidence.is_some()), (Some(Verdict::Leak), true));

    let sure = summary.leaks.iter().map(|record| record.confidence).fold(0.0, f64::max);
    let asked = |confidence| fail_on_leak::check(&run.pipeline, confidence).map_err(|failure| failure.code);
    assert_eq!(asked(Some(sure)), Err(ExitCode::LeakFound));
    assert_eq!((asked(None), asked(Some(sure + 0.001))), (Ok(()), Ok(())));
}

#[test]
fn a_near_limit_is_told_with_the_time_that_is_left() {
    let mut run = Run { headroom_bytes: Some(600 * MEGABYTE), ..leak_for(0) };
    (0..20).for_each(|_| run.second([(1, MEGABYTE)]));
    let told = run.verdicts(SubjectKind::Site);
    let eta = told.last().unwrap().eta_to_limit_s.unwrap();
    assert!((eta - 600.0).abs() < 60.0, "{eta}");
    assert_eq!(ticks(&run.records)[3].memory_limit.as_ref().unwrap().headroom_bytes, 600 * MEGABYTE);
}

#[test]
fn losses_lower_confidence() {
    let exact = leak_for(65);
    let mut lossy = Run { losses: vec![0, 2000], ..leak_for(0) };
    (0..65).for_each(|_| lossy.second([(1, MEGABYTE)]));
    let confidence = |run: &Run| run.verdicts(SubjectKind::Process).last().unwrap().confidence;
    assert!(confidence(&lossy) < confidence(&exact), "{} {}", confidence(&lossy), confidence(&exact));
}

#[test]
fn a_pass_judges_only_so_many_sites_and_yet_finds_them_all() {
    const SITES: u64 = 60;
    let mut run = Run::new();
    run.stacks(1..SITES + 1);
    let mut told = BTreeMap::new();
    for _ in 0..18 {
        let before = run.records.len();
        run.second((1..=SITES).map(|hash| (hash, 100_000)));
        let new = run.records[before..].iter().filter_map(|record| match record {
            Record::Verdict(verdict) if verdict.subject.kind == SubjectKind::Site => verdict.subject.id,
            _ => None,
        });
        let new: Vec<u64> = new.collect();
        assert!(new.len() <= 48, "{} at {} s", new.len(), run.second);
        for id in new {
            *told.entry(id).or_insert(0) += 1;
        }
    }
    assert_eq!(told.len() as u64, SITES);
    assert!(told.values().all(|&times| times <= 5), "{told:?}");
}

#[test]
fn every_process_has_its_turn() {
    const PROCESSES: u16 = 60;
    let mut run = Run::new();
    for process in 1..PROCESSES {
        let pid = PID + u32::from(process);
        let fact = Fact::Process { process, pid, comm: "child".to_owned(), is_waiting: false };
        run.step(Input::Fact(fact));
        run.step(events(&[allocation(process, 1, 0xa000, 100, 0)]));
    }
    (0..20).for_each(|_| run.second([]));
    let told: std::collections::BTreeSet<_> =
        run.verdicts(SubjectKind::Process).iter().map(|record| record.pid).collect();
    assert_eq!(told.len(), usize::from(PROCESSES));
}

#[test]
fn an_exec_ends_what_stood_and_a_process_that_is_gone_keeps_its_alarms() {
    let mut run = leak_for(70);
    run.step(events(&[exec(0, 70_100)]));
    assert!(run.pipeline.alarms().is_empty());

    let mut run = leak_for(70);
    run.step(Input::Fact(Fact::Gone { process: 0, t: 70.5 }));
    let summary = run.end();
    assert!(summary.leaks.iter().any(|record| record.subject.kind == SubjectKind::Site));
    assert_eq!(summary.verdicts.bounded, 0);
}

#[test]
fn a_replay_tells_the_same_verdicts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let mut run = Run::new();
    run.stacks(1..10);
    (0..30).for_each(|second| {
        run.with_names = second % 7 == 0;
        run.second((1..10).map(|hash| (hash, hash * 20_000)));
    });
    run.end();
    let mut writer = Writer::create(&path, u64::MAX).unwrap();
    let mut frames = run.inputs.iter().map(|input| input.to_frame().unwrap());
    let (kind, payload) = frames.next_back().unwrap();
    for (kind, payload) in frames {
        writer.frame(kind, &payload).unwrap();
    }
    writer.finish(Some((kind, payload.as_ref()))).unwrap();
    assert!(run.verdicts(SubjectKind::Site).len() >= 9);
    assert_eq!(lines(&replayed(&path)), lines(&run.records));
}

#[test]
fn recordings_from_before_there_were_limits_are_read() {
    let usage = r#"{"process":0,"rss_bytes":7,"split":{"anon_bytes":1,"file_bytes":2,"shmem_bytes":3,"swap_bytes":4},
                    "untraced_children":[]}"#;
    let tick = format!(
        r#"{{"fact":"tick","t":1.5,"losses":[],"processes":[{usage}],"own_cpu_share":0.0,"own_rss_bytes":1}}"#
    );
    let Some(Input::Fact(Fact::Tick(tick))) = Input::from_frame(2, tick.into_bytes()).unwrap() else {
        panic!("no tick")
    };
    assert_eq!((tick.processes[0].rss_bytes, &tick.processes[0].limit), (7, &None));
}
