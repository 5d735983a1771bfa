//! `leaktrace heap` on snapshots that a real node wrote: `tests/victims/heap.js`, and as users run it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use assert_cmd::cargo::cargo_bin;
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const USAGE: i32 = 2;
const LEAK_FOUND: i32 = 10;

/// The snapshots of one kind of leak, at three points of time.
fn snapshots(kind: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let victim = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/victims/heap.js");
    let mut node = Command::new("node");
    node.arg(victim).arg(kind).arg(directory.path().join("s")).stdin(Stdio::null());
    let output = node.output().expect("node is installed (cargo xtask test --install)");
    assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
    directory
}

/// Those of the Map cache, for all that does not depend on the kind.
fn of_a_map() -> &'static Path {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    MADE.get_or_init(|| snapshots("map")).path()
}

fn heap(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("leaktrace"));
    command.current_dir(directory).arg("heap").args(arguments).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

fn records(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const FILES: [&str; 3] = ["s.1.heapsnapshot", "s.2.heapsnapshot", "s.3.heapsnapshot"];

/// What grew from file to file.
fn growths(directory: &Path, files: &[&str]) -> Vec<Value> {
    let records = records(&heap(directory, files).output().unwrap());
    records.into_iter().filter(|record| record["type"] == "heap_growth").collect()
}

#[rstest]
#[case("listener", "event_listeners", "listeners", Some("data"))]
#[case("event_target", "event_listeners", "listeners", None)]
#[case("closure_chain", "closure", "variable", Some("newest"))]
#[case("closures", "closure", "array", Some("callbacks"))]
#[case("global", "global_variable", "array", Some("leaked"))]
#[case("module_array", "global_variable", "array", Some("collected"))]
#[case("numbers", "global_variable", "array", Some("readings"))]
#[case("map", "unbounded_collection", "map", Some("cache"))]
#[case("private_map", "unbounded_collection", "map", Some("#entries"))]
#[case("object", "unbounded_collection", "object", Some("table"))]
#[case("interval", "timers", "timer_list", None)]
#[case("timeout", "timers", "timer_list", None)]
#[case("buffer", "external_memory", "array", Some("chunks"))]
#[case("circular", "global_variable", "array", Some("pairs"))]
#[case("linked_list", "global_variable", "variable", Some("list"))]
#[case("worker", "unbounded_collection", "map", Some("cache"))]
fn the_cause_is_the_true_one(
    #[case] kind: &str,
    #[case] cause: &str,
    #[case] container: &str,
    #[case] name: Option<&str>,
) {
    let directory = snapshots(kind);
    // The first `console.log` loads half of node between the first two; that is for the next test.
    let growths = growths(directory.path(), &FILES[1..]);
    let [growth] = growths.as_slice() else { panic!("{kind}: one place grows, not {growths:#?}") };
    let found = (growth["cause"].as_str().unwrap(), growth["container"]["kind"].as_str().unwrap());
    assert_eq!(found, (cause, container), "{growth:#}");
    if name.is_some() {
        assert_eq!(growth["name"].as_str(), name, "{growth:#}");
    }
    assert!(growth["bytes"].as_u64().unwrap() > 250_000, "{growth:#}");
    assert!(!growth["path"].as_array().unwrap().is_empty(), "{growth:#}");
    if kind == "circular" {
        assert_eq!(growth["circular"], true, "{growth:#}");
    }
}

#[test]
fn three_snapshots_tell_a_leak_from_what_comes_at_once() {
    let growths = growths(of_a_map(), &FILES);
    let causes: Vec<_> = growths.iter().map(|growth| growth["name"].as_str()).collect();
    assert_eq!(causes, [Some("cache")], "{growths:#?}");
}

#[rstest]
fn what_is_bounded_gives_no_alarm(#[values("lru", "steady")] kind: &str) {
    let directory = snapshots(kind);
    let growths = growths(directory.path(), &FILES);
    assert!(growths.is_empty(), "{growths:#?}");
}

#[test]
fn a_pipe_gets_records_of_the_schema() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schema/leaktrace-1.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut kinds = Vec::new();
    for arguments in [vec![FILES[1], FILES[2], "--top", "5"], vec![FILES[0], "--top=2", "--retainers", "Map"]]
    {
        for record in records(&heap(of_a_map(), &arguments).output().unwrap()) {
            assert!(validator.is_valid(&record), "{record:#}");
            kinds.push(record["type"].as_str().unwrap().to_owned());
        }
    }
    let count = |kind: &str| kinds.iter().filter(|known| *known == kind).count();
    let counts = ["heap_snapshot", "heap_constructor", "heap_growth", "heap_object"].map(count);
    assert_eq!(counts, [3, 5, 1, 2], "{kinds:?}");
}

#[test]
fn figures_are_those_of_the_file() {
    // The same sums, made by the simplest means.
    let text: Value = serde_json::from_slice(&fs::read(of_a_map().join(FILES[2])).unwrap()).unwrap();
    let fields = text["snapshot"]["meta"]["node_fields"].as_array().unwrap();
    let place = |name: &str| fields.iter().position(|field| field == name).unwrap();
    let nodes: Vec<u64> =
        text["nodes"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
    let rows = nodes.chunks(fields.len());
    let bytes: u64 = rows.clone().map(|row| row[place("self_size")]).sum();
    let maps =
        rows.filter(|row| text["strings"][row[place("name")] as usize] == "Map" && row[0] == 3).count();
    let records = records(&heap(of_a_map(), &[FILES[2], "--top", "1000"]).output().unwrap());
    assert_eq!(records[0]["nodes"], nodes.len() as u64 / fields.len() as u64);
    assert_eq!(records[0]["bytes"], bytes);
    let map = records.iter().find(|record| record["constructor"] == "Map").unwrap();
    assert_eq!(map["count"], maps as u64);
    let shallow: u64 = records[1..].iter().map(|record| record["shallow_bytes"].as_u64().unwrap()).sum();
    assert_eq!(shallow, bytes, "every byte belongs to one constructor");
}

#[test]
fn people_get_a_table() {
    let output = heap(of_a_map(), &[FILES[0], FILES[1], "--format", "table"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "s.2.heapsnapshot: ",
        "+RETAINED",
        "GREW +",
        "a collection without limit",
        "Context .cache → Map",
        "LRU",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let output = heap(of_a_map(), &[FILES[0], FILES[0], "--format", "table"]).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("nothing holds notably more"));
}

#[rstest]
#[case("gzip")]
#[case("zstd")]
#[case("plain")]
fn standard_input_and_packed_files_are_read(#[case] how: &str) {
    let text = fs::read(of_a_map().join(FILES[0])).unwrap();
    let packed = match how {
        "gzip" => {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(&text).unwrap();
            packer.finish().unwrap()
        }
        "zstd" => zstd::bulk::compress(&text, 1).unwrap(),
        _ => text,
    };
    let mut command = heap(of_a_map(), &["-", "--top", "1"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&packed).unwrap();
    let records = records(&child.wait_with_output().unwrap());
    assert_eq!((records.len(), records[0]["file"].as_str()), (2, Some("-")));
}

#[test]
fn growth_can_fail_a_test() {
    let fails = |files: &[&str]| {
        let output = heap(of_a_map(), &[&["--fail-on-growth"], files].concat()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, message) = fails(&FILES);
    assert_eq!(code, Some(LEAK_FOUND));
    assert!(message.contains("the Map in the module's variable 'cache' only grows"), "{message}");
    assert_eq!(fails(&[FILES[0], FILES[0]]), (Some(0), String::new()));
    assert_eq!(fails(&[FILES[0]]).0, Some(USAGE));
    let large = heap(of_a_map(), &[&FILES[..], &["--fail-on-growth", "--min-growth", "1GiB"]].concat());
    assert_eq!({ large }.output().unwrap().status.code(), Some(0));
}

#[test]
fn what_cannot_be_read_is_refused_in_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let text = fs::read(of_a_map().join(FILES[0])).unwrap();
    fs::write(path("cut"), &text[..text.len() / 2]).unwrap();
    fs::write(path("empty"), "").unwrap();
    fs::write(path("other"), "{\"a\":1}").unwrap();
    fs::write(path("cut.gz"), b"\x1f\x8b\x08\x00broken").unwrap();
    let whole = of_a_map().join(FILES[0]);
    let whole = whole.to_str().unwrap();
    for (arguments, part) in [
        (vec!["cut"], format!("byte {}", text.len() / 2)),
        (vec!["empty"], "byte 0".to_owned()),
        (vec!["other"], "has no \"nodes\"".to_owned()),
        (vec!["cut.gz"], "could not be read".to_owned()),
        (vec!["missing"], "No such file".to_owned()),
        (vec!["."], "directory".to_owned()),
        (vec!["-", "-"], "only once".to_owned()),
        (vec![whole, "--retainers", "NoSuchThing"], "has no object NoSuchThing".to_owned()),
        (vec![whole, "--retainers", "@4"], "has no object @4".to_owned()),
        (vec![], "required".to_owned()),
    ] {
        let output = heap(directory.path(), &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(USAGE), "{arguments:?}");
        let message = stderr(&output);
        assert!(message.contains(&part), "{arguments:?}: {message}");
        assert!(arguments.is_empty() || message.lines().count() == 1, "{message}");
    }
}

#[test]
fn snapshots_in_the_wrong_order_are_warned_of() {
    let output = heap(of_a_map(), &[FILES[2], FILES[0]]).output().unwrap();
    assert!(stderr(&output).contains("oldest first"), "{}", stderr(&output));
}
