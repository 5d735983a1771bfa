//! `leaktrace replay` with files of call sites: all three formats add up to the summary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use flate2::read::GzDecoder;
use leaktrace::event::BatchWriter;
use leaktrace::session::{Fact, Input, Tick};
use leaktrace::symbol::Frame;
use leaktrace::trace_file::Writer;
use leaktrace_common::{AllocationRecord, FreeRecord, Header as RecordHeader, Kind, MAX_FRAMES, StackRecord};
use serde_json::{Value, json};
use tempfile::TempDir;
use zerocopy::IntoBytes as _;

const USAGE: i32 = 2;
const OUTPUT_FAILED: i32 = 7;
const START: u64 = 1_000_000_000;
const FUNCTIONS: [&str; 3] = ["push(int; std::string)", "serve <request> & reply", "main"];

/// A recording of a server: a call site that keeps a block of 1000 bytes a second, one that frees what it takes.
fn recording(directory: &TempDir) -> PathBuf {
    let path = directory.path().join("trace.leaktrace");
    let mut writer = Writer::create(&path, u64::MAX).unwrap();
    let mut inputs = vec![
        fact(json!({"fact": "start", "header": header(), "start_ns": START})),
        fact(json!({"fact": "process", "process": 0, "pid": 42, "comm": "shop", "is_waiting": false})),
        fact(json!({"fact": "code", "process": 0, "ranges": [[0x1000, 0x9000]]})),
        events(&[stack(11, &[0x1010, 0x2020, 0x3030]), stack(22, &[0x2040, 0x3030])]),
        Input::Fact(Fact::Symbols { site: 1, frames: frames(), culprit: None, quiet: false }),
    ];
    for second in 0..40 {
        let (at, kept, freed) = (second * 1_000_000_000, 0x10_0000 + second * 0x1000, 0xa000);
        inputs.push(events(&[
            allocation(at, kept, 1000, 11),
            allocation(at, freed, 64, 22),
            free(at, freed),
        ]));
        inputs.push(Input::Fact(Fact::Tick(Tick { t: second as f64 + 0.5, ..Tick::default() })));
    }
    let end = Tick { t: 41.0, ..Tick::default() };
    inputs.push(fact(json!({
        "fact": "end", "tick": end, "reason": "duration", "own_cpu_s": 0.1, "own_peak_rss_bytes": 1
    })));
    for input in &inputs {
        let (kind, payload) = input.to_frame().unwrap();
        writer.frame(kind, &payload).unwrap();
    }
    writer.finish(None).unwrap();
    path
}

fn fact(fact: Value) -> Input {
    Input::Fact(serde_json::from_value(fact).unwrap())
}

fn header() -> Value {
    json!({
        "t": 0.0, "schema": 1, "version": "0.1.0", "wall_time": "2026-01-02T03:04:05Z", "pid": 42, "comm": "shop",
        "exe": "/srv/shop", "kernel": "6.18.5", "allocators": [], "v8": null, "runtimes": [], "probes": [],
        "capture": {
            "mode": "return_probes", "why": null, "links": "perf", "stacks": "frame_pointers", "min_size": 0,
            "ring_bytes": 4096, "children": false, "mappings": false
        }
    })
}

fn frames() -> Vec<Frame> {
    let frame = |(function, address): (&str, u64)| {
        serde_json::from_value(json!({
            "function": function, "module": "/srv/shop", "file": "shop.c", "line": 7, "address": format!("{address:#x}"),
            "offset": 16, "inlined": false
        }))
        .unwrap()
    };
    FUNCTIONS.into_iter().zip([0x1010, 0x2020, 0x3030]).map(frame).collect()
}

fn events(records: &[Vec<u8>]) -> Input {
    let mut batch = BatchWriter::default();
    for record in records {
        batch.push(record);
    }
    Input::Events(batch.take())
}

fn record_header(kind: Kind, at_ns: u64) -> RecordHeader {
    RecordHeader { kind: kind as u8, function: 1, process: 0, tid: 42, time_ns: START + at_ns }
}

fn allocation(at_ns: u64, address: u64, size: u64, stack: u64) -> Vec<u8> {
    let header = record_header(Kind::Allocation, at_ns);
    AllocationRecord { header, address, size, stack }.as_bytes().to_vec()
}

fn free(at_ns: u64, address: u64) -> Vec<u8> {
    FreeRecord { header: record_header(Kind::Free, at_ns), address }.as_bytes().to_vec()
}

fn stack(hash: u64, addresses: &[u64]) -> Vec<u8> {
    let mut frames = [0; MAX_FRAMES];
    for (frame, address) in frames.iter_mut().zip(addresses) {
        *frame = *address;
    }
    let depth = addresses.len() as u32;
    StackRecord { header: record_header(Kind::Stack, 0), hash, depth, truncated: 0, frames }
        .as_bytes()
        .to_vec()
}

fn replay(directory: &TempDir, arguments: &[&str]) -> Output {
    let recording = recording(directory);
    let mut command = Command::new(cargo_bin!("leaktrace"));
    command.current_dir(directory).arg("replay").arg(recording).args(arguments).output().unwrap()
}

fn replayed(directory: &TempDir, arguments: &[&str]) -> Value {
    let output = replay(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    serde_json::from_str(&last).unwrap()
}

/// Stacks and their bytes.
fn folded(path: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(path).unwrap();
    let line = |line: &str| {
        let (stack, bytes) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), bytes.parse().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn all_formats_add_up_to_the_summary() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--folded", "a.folded", "--flamegraph", "a.svg", "--pprof", "a.pb.gz"];
    let summary = replayed(&directory, &arguments);
    let process = &summary["processes"][0];
    assert_eq!((&process["live_bytes"], &process["alloc_bytes"]), (&json!(40_000), &json!(42_560)));
    let at = |name: &str| directory.path().join(name);
    let live = folded(&at("a.folded"));
    assert_eq!(
        live,
        BTreeMap::from([("main;serve <request> & reply;push(int: std::string)".to_owned(), 40_000)])
    );
    let svg = fs::read_to_string(at("a.svg")).unwrap();
    assert!(
        svg.contains("all (40,000 bytes, 100%)") && svg.contains("serve &lt;request&gt; &amp; reply"),
        "{svg}"
    );
    let mut profile = Vec::new();
    GzDecoder::new(fs::File::open(at("a.pb.gz")).unwrap()).read_to_end(&mut profile).unwrap();
    assert_eq!(sums(&profile), [40, 40_000, 80, 42_560]);
    for name in ["a.folded", "a.svg", "a.pb.gz"] {
        assert_eq!(fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// The samples' values of a profile, added up: field 2 holds samples, whose field 2 holds packed values.
fn sums(profile: &[u8]) -> Vec<u64> {
    let mut sums = vec![0; 4];
    for (_, sample) in fields(profile).into_iter().filter(|(field, _)| *field == 2) {
        for (_, mut packed) in fields(sample).into_iter().filter(|(field, _)| *field == 2) {
            for sum in &mut sums {
                *sum += varint(&mut packed);
            }
            assert!(packed.is_empty());
        }
    }
    sums
}

/// The fields of a protobuf message that have a length, by number.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = varint(&mut message);
        if key & 7 == 2 {
            let (bytes, rest) = message.split_at(value as usize);
            fields.push((key >> 3, bytes));
            message = rest;
        }
    }
    fields
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

#[test]
fn bytes_are_those_that_are_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.folded");
    replayed(&directory, &["--folded", "a.folded", "--bytes", "allocated"]);
    let allocated = folded(&path);
    assert_eq!((allocated.len(), allocated.values().sum::<u64>()), (2, 42_560));
    let summary = replayed(&directory, &["--folded", "a.folded", "--bytes", "leaked"]);
    let leaks = summary["leaks"].as_array().unwrap();
    let is_site = |leak: &&Value| leak["subject"]["kind"] == "site";
    let leaked: u64 = leaks.iter().filter(is_site).filter_map(|leak| leak["live_bytes"].as_u64()).sum();
    assert_eq!((folded(&path).values().sum::<u64>(), leaked), (40_000, 40_000), "{summary}");
}

#[test]
fn files_that_cannot_be_written_are_refused_before_anything_is_read() {
    let directory = tempfile::tempdir().unwrap();
    symlink("elsewhere", directory.path().join("link")).unwrap();
    for (arguments, code, named) in [
        (&["--folded", "link"][..], OUTPUT_FAILED, "link"),
        (&["--pprof", "/dev/null"], OUTPUT_FAILED, "/dev/null"),
        (&["--flamegraph", "no/such/file"], OUTPUT_FAILED, "no/such/file"),
        (&["--folded", "one", "--pprof", "./one"], USAGE, "one"),
        (&["--pprof", "trace.leaktrace"], USAGE, "trace.leaktrace"),
        (&["--bytes", "live"], USAGE, "--folded"),
        (&["--pprof", "one", "--bytes", "live"], USAGE, "--folded"),
    ] {
        let output = replay(&directory, arguments);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{arguments:?}: {message}");
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
    assert!(!directory.path().join("elsewhere").exists());
}
