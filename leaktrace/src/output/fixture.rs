//! Records for tests: one of each kind with every field filled in, and a small leaking service.

pub(crate) mod heap;

use std::collections::BTreeMap;

use super::record::{
    Allocator, Capture, CaptureMode, CodeFile, EndReason, Fragmentation, Header, HitNs, Level, Losses,
    Mapped, MemoryLimit, Notice, Overhead, Probe, ProcessSummary, Record, RssSplit, Runtime, SCHEMA, Site,
    SiteKind, SiteSummary, SiteTick, Summary, Tick, VerdictCounts,
};
use super::v8_record::{Gc, GcKind, IsolateTick, V8, V8Heap, V8Rss};
use super::verdict::{Subject, SubjectKind, VerdictRecord};
use crate::symbol::Frame;
use crate::verdict::{Evidence, Pattern, Verdict};

pub(crate) const PID: u32 = 4711;

pub(crate) fn header() -> Header {
    Header {
        t: 0.0,
        schema: SCHEMA,
        version: "0.1.0".into(),
        wall_time: "2026-01-02T03:04:05Z".into(),
        pid: PID,
        comm: "redis-server".into(),
        exe: Some("/usr/bin/redis-server".into()),
        kernel: "6.18.5".into(),
        capture: Capture {
            mode: "plain_probes".into(),
            why: Some("the process has a shadow stack".into()),
            links: "perf".into(),
            stacks: "frame_pointers".into(),
            min_size: 0,
            sample_bytes: 0,
            max_overhead: Some(0.2),
            ring_bytes: 64 << 20,
            rings: 1,
            children: false,
            mappings: false,
            v8_only: false,
            hit_ns: Some(HitNs {
                calibrated: true,
                nop5: 290,
                emulated: 610,
                single_step: 2900,
                return_extra: 720,
                ret_extra: 480,
                passed_free_extra: None,
                passed_leaf_extra: None,
                passed_inner_extra: None,
            }),
        },
        allocators: vec![Allocator {
            name: "jemalloc".into(),
            path: "/usr/lib/libjemalloc.so.2".into(),
            build_id: Some("00ff".into()),
            functions: vec!["malloc".into(), "free".into()],
            why: "the first malloc that the dynamic linker finds".into(),
        }],
        v8: Some(V8 {
            path: "/usr/bin/node".into(),
            build_id: Some("00ff".into()),
            version: Some("11.3.244.8-node.38".into()),
            found_by: "symbols".into(),
            functions: vec!["v8::Heap::SizeOfObjects".into()],
        }),
        runtimes: vec![Runtime {
            name: "lua".into(),
            visible: "what it asks from malloc".into(),
            not_visible: "its own objects".into(),
        }],
        probes: vec![Probe {
            module: "/usr/lib/libjemalloc.so.2".into(),
            build_id: None,
            function: "malloc".into(),
            offset: 4,
            kind: "entry".into(),
            cost_class: "emulated".into(),
        }],
        code: vec![
            CodeFile {
                module: "/srv/shop".into(),
                build_id: Some("c0ffee".into()),
                frame_pointers: Some("kept".into()),
            },
            CodeFile {
                module: "/usr/lib/libjemalloc.so.2".into(),
                build_id: None,
                frame_pointers: Some("missing".into()),
            },
        ],
    }
}

pub(crate) fn gc() -> Gc {
    Gc {
        t: 1.25,
        pid: PID,
        isolate: 1,
        kind: GcKind::MarkCompact,
        reason: Some("allocation limit".into()),
        pause_ms: 12.5,
        before_bytes: Some(80 << 20),
        after_bytes: Some(60 << 20),
        committed_bytes: Some(90 << 20),
    }
}

pub(crate) fn v8_heap() -> V8Heap {
    let isolate = IsolateTick {
        isolate: 1,
        heap: "0xcb95010".into(),
        used_bytes: 60 << 20,
        baseline_bytes: Some(58 << 20),
        committed_bytes: Some(90 << 20),
        limit_bytes: Some(4 << 30),
        limit_source: Some("v8".into()),
        collections: 40,
        mark_compacts: 3,
        pause_s: 0.25,
        collections_per_s: 1.5,
        pause_share: 0.012,
        allocated_bytes_per_s: Some(2e6),
        survival: Some(0.75),
    };
    let rss = V8Rss {
        v8_used_bytes: 60 << 20,
        v8_unused_bytes: Some(30 << 20),
        external_bytes: 1 << 20,
        native_live_bytes: 2 << 20,
        allocator_slack_bytes: Some(3 << 20),
        stack_bytes: 1 << 17,
        file_bytes: 40 << 20,
        other_bytes: 5 << 20,
    };
    V8Heap { used_bytes: Some(58 << 20), isolates: vec![isolate], rss: Some(rss) }
}

pub(crate) fn losses(lost: u64) -> Losses {
    let causes = BTreeMap::from([("ring_full_frees".to_owned(), lost), ("missed_entries".to_owned(), 1)]);
    if lost == 0 { Losses::default() } else { Losses { total: lost + 1, causes } }
}

pub(crate) fn site_tick(site: u32, function: &str, live_bytes: u64) -> SiteTick {
    SiteTick {
        site,
        kind: SiteKind::Heap,
        function: Some(function.into()),
        live_bytes,
        live_count: live_bytes / 96,
        allocs: live_bytes / 90,
        frees: live_bytes / 90 - live_bytes / 96,
        growth_bytes_per_s: Some(live_bytes as f64 / 192.0),
        age_s: 192.4,
        estimated: false,
        samples: None,
        live_bytes_ci95: None,
        isolate: None,
    }
}

pub(crate) fn tick(t: f64, live_bytes: u64, lost: u64) -> Tick {
    Tick {
        t,
        pid: PID,
        live_bytes,
        live_count: live_bytes / 100,
        allocs: (t * 24_000.0) as u64,
        frees: (t * 23_100.0) as u64,
        unknown_frees: 1234,
        alloc_bytes: live_bytes * 20,
        free_bytes: live_bytes * 19,
        rss_bytes: Some(live_bytes + (90 << 20)),
        rss_split: Some(RssSplit { anon_bytes: 1, file_bytes: 2, shmem_bytes: 3, swap_bytes: 4 }),
        mapped: None,
        memory_limit: Some(MemoryLimit {
            name: "memory.max".into(),
            limit_bytes: 2 << 30,
            headroom_bytes: 1 << 30,
        }),
        fragmentation: Some(Fragmentation {
            t: 3.0,
            utilisation: Some(0.8),
            external: Some(0.5),
            resident_bytes: 10 << 20,
            free_bytes: 2 << 20,
            compaction_bytes: 2 << 20,
            trimmable_bytes: 1 << 20,
            coverage: 1.0,
        }),
        internal_bytes: Some(live_bytes / 50),
        samples: None,
        live_bytes_ci95: None,
        before_attach: Some(Box::new(heap::before_attach())),
        rss_parts: Some(Box::new(heap::rss_parts())),
        v8: Some(V8Heap { used_bytes: Some(5), ..V8Heap::default() }),
        losses: losses(lost),
        overhead: Overhead {
            events_per_s: 47_000.0,
            passed_per_s: 0.0,
            target_cpu_share: 0.038,
            mode: CaptureMode::Everything,
            watched_share: 1.0,
            sample_bytes: None,
            own_cpu_share: 0.012,
            own_rss_bytes: 14 << 20,
        },
        sites: vec![
            site_tick(1, "createStringObject", live_bytes / 4 * 3),
            site_tick(2, PARSER, live_bytes / 8),
            SiteTick { function: None, growth_bytes_per_s: None, ..site_tick(3, "", 64 << 10) },
            SiteTick { growth_bytes_per_s: Some(-900.0), ..site_tick(4, "clientsCron", 4096) },
        ],
    }
}

/// What the little service mapped directly, where that is traced.
pub(crate) fn mapped() -> Mapped {
    Mapped {
        live_bytes: 12 << 20,
        live_count: 3,
        peak_live_bytes: 40 << 20,
        reserved_bytes: 1 << 30,
        maps: 17,
        unmaps: 14,
        mapped_bytes: 90 << 20,
        unmapped_bytes: 78 << 20,
        unknown_unmaps: 5,
    }
}

/// A call site of mappings.
pub(crate) fn mapping_site() -> SiteTick {
    let kind = SiteKind::Mapping;
    SiteTick { kind, live_count: 3, allocs: 17, frees: 14, ..site_tick(5, "grow_pool", 12 << 20) }
}

/// A name as C++ makes them.
pub(crate) const PARSER: &str = "search::query::Parser<std::basic_string<char, std::char_traits<char>, \
     std::allocator<char> >, search::Index>::parse_expression(search::Token const&, unsigned int)";

pub(crate) fn frame(function: &str, file: &str, line: u32) -> Frame {
    Frame {
        function: (!function.is_empty()).then(|| function.into()),
        module: Some("/usr/bin/redis-server".into()),
        file: (!file.is_empty()).then(|| file.into()),
        line: (line > 0).then_some(line),
        column: None,
        address: "0x55d0c0ffee12".into(),
        offset: Some(0x12),
        inlined: false,
    }
}

pub(crate) fn stack() -> Vec<Frame> {
    vec![
        frame("je_malloc_default", "", 0),
        frame("zmalloc", "/build/redis/src/zmalloc.c", 105),
        frame("createStringObject", "/build/redis/src/object.c", 123),
        Frame { inlined: true, ..frame("tryObjectEncoding", "/build/redis/src/object.c", 523) },
        frame("setCommand", "/build/redis/src/t_string.c", 302),
        frame("", "", 0),
        frame("processCommand", "/build/redis/src/server.c", 3912),
        frame("main", "/build/redis/src/server.c", 7012),
    ]
}

pub(crate) fn sites() -> Vec<Site> {
    let site = |site, stack| Site { t: 1.0, pid: PID, site, stack, truncated: site == 2 };
    let parser = vec![
        frame(PARSER, "src/query/parser.hpp", 88),
        frame("search::query::run(search::Index&)", "src/query/run.cc", 14),
        frame("main", "", 0),
    ];
    vec![site(1, stack()), site(2, parser), site(3, Vec::new()), site(4, vec![frame("clientsCron", "", 0)])]
}

pub(crate) fn notice(level: Level, message: &str) -> Notice {
    Notice { t: 12.0, pid: PID, level, code: "lost_events".into(), message: message.into() }
}

pub(crate) fn summary() -> Summary {
    let last = tick(192.0, 432_013_312, 1200);
    Summary {
        t: 192.0,
        ended: EndReason::Interrupted,
        processes: vec![ProcessSummary {
            pid: PID,
            comm: "redis-server".into(),
            live_bytes: last.live_bytes,
            live_count: last.live_count,
            allocs: last.allocs,
            frees: last.frees,
            unknown_frees: last.unknown_frees,
            alloc_bytes: last.alloc_bytes,
            free_bytes: last.free_bytes,
            peak_live_bytes: last.live_bytes + (1 << 20),
            live_bytes_ci95: None,
            found_bytes: None,
            found_count: None,
            rss_bytes: last.rss_bytes,
            mapped: None,
        }],
        sites: last
            .sites
            .iter()
            .zip(sites())
            .map(|(figures, site)| SiteSummary {
                pid: PID,
                figures: figures.clone(),
                verdict: (site.site < 3).then_some(Verdict::Leak),
                pattern: (site.site < 3).then_some(Pattern::Linear),
                confidence: (site.site < 3).then_some(0.97),
                stack: site.stack,
            })
            .collect(),
        leaks: leaks(),
        verdicts: VerdictCounts { leak: 3, suspect: 2, bounded: 1 },
        losses: last.losses,
        events: 9_012_345,
        own_cpu_s: 2.3,
        own_peak_rss_bytes: 14 << 20,
    }
}

/// What stands at the end: a leak, the process that has it, and a suspect without names.
pub(crate) fn leaks() -> Vec<VerdictRecord> {
    let process = VerdictRecord {
        subject: Subject { kind: SubjectKind::Process, id: Some(u64::from(PID)) },
        confidence: 0.91,
        culprit: None,
        stack: None,
        ..verdict()
    };
    let suspect = VerdictRecord {
        subject: Subject { kind: SubjectKind::Site, id: Some(3) },
        verdict: Verdict::Suspect,
        pattern: Some(Pattern::Spike),
        confidence: 0.6,
        growth_bytes_per_s: None,
        growth_ci95: None,
        eta_to_limit_s: None,
        culprit: None,
        stack: Some(Vec::new()),
        ..verdict()
    };
    vec![verdict(), process, suspect]
}

/// The verdict on a call site, with every field filled in.
pub(crate) fn verdict() -> VerdictRecord {
    VerdictRecord {
        t: 192.0,
        pid: Some(PID),
        subject: Subject { kind: SubjectKind::Site, id: Some(1) },
        file: None,
        verdict: Verdict::Leak,
        pattern: Some(Pattern::Linear),
        confidence: 0.97,
        growth_bytes_per_s: Some(1_650_000.0),
        growth_ci95: Some([1_612_000.5, 1_690_120.25]),
        live_bytes: 324_009_984,
        live_count: Some(3_375_104),
        allocs: Some(3_600_111),
        frees: Some(225_007),
        estimated: false,
        since_s: Some(4.0),
        eta_to_limit_s: Some(3600.0),
        culprit: stack().into_iter().nth(2),
        stack: Some(stack()),
        evidence: vec![
            Evidence {
                name: "trend".into(),
                value: 0.999,
                says: "it rises all the time: 99.9 % of all pairs of points do".into(),
            },
            Evidence {
                name: "survival".into(),
                value: 0.98,
                says: "old blocks do not die: 98 % of those born in the first half still live".into(),
            },
        ],
        cause: Some("blocks are allocated here and hardly ever freed".into()),
        advice: Some("find who should free what createStringObject returns".into()),
    }
}

/// A call site of JavaScript.
pub(crate) fn js_site() -> SiteTick {
    let kind = SiteKind::Js;
    SiteTick {
        kind,
        live_count: 120,
        estimated: true,
        isolate: Some(0),
        ..site_tick(6, "onRequest", 4 << 20)
    }
}

/// The verdict on it.
pub(crate) fn verdict_on_js() -> VerdictRecord {
    let place = frame("onRequest", "/srv/app.js", 12);
    let frame = Frame { module: None, column: Some(5), address: String::new(), offset: None, ..place };
    let subject = Subject { kind: SubjectKind::Site, id: Some(6) };
    VerdictRecord {
        subject,
        estimated: true,
        culprit: Some(frame.clone()),
        stack: Some(vec![frame]),
        ..verdict()
    }
}

/// The verdict on a file, as `leaktrace classify` gives it.
pub(crate) fn verdict_of_file() -> VerdictRecord {
    VerdictRecord {
        t: 192.0,
        pid: None,
        subject: Subject::default(),
        file: Some("heap.csv".into()),
        live_count: None,
        allocs: None,
        frees: None,
        culprit: None,
        stack: None,
        cause: Some("something is allocated all the time and never freed".into()),
        advice: Some("trace the process: sudo leaktrace --pid PID".into()),
        ..verdict()
    }
}

/// One record of each kind, with every optional field filled in; [`Level`] and [`EndReason`] in all values.
pub(crate) fn every_record() -> Vec<Record> {
    let first = Tick { v8: Some(v8_heap()), ..tick(2.0, 1 << 20, 7) };
    let mut records = vec![Record::Header(header()), Record::Tick(first)];
    records.extend(sites().into_iter().map(Record::Site));
    records.extend([verdict(), verdict_of_file(), verdict_on_js()].map(Record::Verdict));
    records.push(Record::Tick(Tick { sites: vec![js_site()], ..tick(3.0, 1 << 20, 0) }));
    let kinds = [GcKind::Scavenge, GcKind::MarkCompact, GcKind::MinorMarkSweep, GcKind::Unknown];
    records.extend(kinds.map(|kind| Record::Gc(Gc { kind, ..gc() })));
    for level in [Level::Info, Level::Warning, Level::Error] {
        records.push(Record::Notice(notice(level, "1201 events were lost")));
    }
    let ends =
        [EndReason::TargetExited, EndReason::Duration, EndReason::Interrupted, EndReason::RecordingCut];
    records.extend(ends.map(|ended| Record::Summary(Summary { ended, ..summary() })));
    records.extend(heap::records());
    records
}

/// Three minutes of a service that leaks, as a session would tell them.
pub(crate) fn leaking_service(lost: u64) -> Vec<Record> {
    let mut records = vec![Record::Header(header())];
    records.extend(sites().into_iter().map(Record::Site));
    records.extend(leaks().into_iter().map(Record::Verdict));
    for second in 0..=192_u64 {
        let wave = (second % 12) * (900 << 10);
        let loss = if second > 100 { lost } else { 0 };
        records.push(Record::Tick(tick(second as f64, second * 2_200_000 + wave + 300_000, loss)));
    }
    if lost > 0 {
        let message = "1201 events were lost in the last second: the figures are lower bounds";
        records.push(Record::Notice(notice(Level::Warning, message)));
    }
    records
}
