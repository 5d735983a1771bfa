//! `leaktrace classify` as users run it: files, standard input, terminals, pipes, exit codes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use rstest::rstest;
use serde_json::Value;
use tempfile::TempDir;

const USAGE: i32 = 2;
const OUTPUT_FAILED: i32 = 7;
const LEAK_FOUND: i32 = 10;

/// A directory with a leak (`line.csv`), a constant (`flat.csv`) and a broken file (`bad.csv`).
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
    write("line.csv", series(|t| 50_000_000 + t * 1_000_000));
    write("flat.csv", series(|_| 50_000_000));
    write("bad.csv", "t,bytes\n0,1\n1,many\n".to_owned());
    directory
}

/// A minute of values, one a second.
fn series(bytes: impl Fn(u64) -> u64) -> String {
    let rows: Vec<_> = (0..60).map(|t| format!("{t},{}\n", bytes(t))).collect();
    format!("t,bytes\n{}", rows.concat())
}

fn classify(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("leaktrace"));
    command
        .current_dir(directory)
        .arg("classify")
        .args(arguments)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

fn run(directory: &TempDir, arguments: &[&str]) -> Output {
    classify(directory, arguments).output().unwrap()
}

fn run_with_stdin(directory: &TempDir, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = classify(directory, arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A child that refuses its input early closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn records(output: &Output) -> Vec<Value> {
    let lines = std::str::from_utf8(&output.stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_file_has_one_record_of_the_schema() {
    let output = run(&directory(), &["line.csv", "flat.csv"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), vec![]));
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schema/leaktrace-1.json");
    let schema = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let [line, flat] = records(&output).try_into().unwrap();
    for record in [&line, &flat] {
        assert!(validator.is_valid(record), "{record}");
    }
    assert_eq!(
        (&line["file"], &line["verdict"], &line["pattern"]),
        (&"line.csv".into(), &"leak".into(), &"linear".into())
    );
    assert_eq!(
        (&flat["file"], &flat["verdict"], &flat["pattern"]),
        (&"flat.csv".into(), &"bounded".into(), &"steady".into())
    );
    let rate = line["growth_bytes_per_s"].as_f64().unwrap();
    assert!((rate - 1e6).abs() < 1e4, "{rate}");
    for field in ["pid", "live_count", "allocs", "frees", "stack", "eta_to_limit_s"] {
        assert_eq!(line.get(field), Some(&Value::Null), "{field}");
    }
}

#[rstest]
#[case::bare(&[])]
#[case::dash(&["-"])]
fn standard_input_is_a_file_named_dash(#[case] arguments: &[&str]) {
    let directory = directory();
    let input = fs::read(directory.path().join("line.csv")).unwrap();
    let output = run_with_stdin(&directory, arguments, &input);
    let mut expected = records(&run(&directory, &["line.csv"]));
    expected[0]["file"] = "-".into();
    assert_eq!((output.status.code(), records(&output)), (Some(0), expected));
}

#[test]
fn bad_files_among_good_ones_are_told_and_the_good_ones_judged() {
    let directory = directory();
    let output = run(&directory, &["bad.csv", "line.csv", "missing.csv", ".", "flat.csv"]);
    assert_eq!(output.status.code(), Some(USAGE));
    let judged: Vec<_> = records(&output).iter().map(|record| record["file"].clone()).collect();
    assert_eq!(judged, ["line.csv", "flat.csv"]);
    assert_eq!(
        stderr(&output),
        [
            "leaktrace: bad.csv:3: bytes is 'many', which is no number: write it as 1234, 12.5 or 1.2e9",
            "leaktrace: missing.csv: there is no such file: check its name",
            "leaktrace: .: is a directory: name the files in it",
            "leaktrace: 3 of 5 files could not be judged, see above",
        ]
    );
}

#[rstest]
#[case::nothing(b"")]
#[case::line_feeds(b"\n\n\n")]
#[case::header_only(b"t,bytes\n")]
#[case::no_header(b"1,2\n2,3\n")]
#[case::program(b"\x7fELF\x02\x01\x01\0\0\0\0")]
#[case::utf_16(b"\xff\xfet\0,\0b\0y\0t\0e\0s\0\n\0")]
#[case::not_a_number(b"t,bytes\n1,NaN\n")]
#[case::infinite(b"t,bytes\n1,inf\n")]
#[case::negative(b"t,bytes\n1,-1\n")]
#[case::unsorted(b"t,bytes\n2,1\n1,1\n")]
#[case::short(b"t,bytes\n2\n")]
#[case::json(b"{\"type\":\"tick\",\"t\":1.0}\n")]
fn input_that_cannot_be_judged_is_one_line_and_exit_code_2(#[case] input: &[u8]) {
    let directory = directory();
    let output = run_with_stdin(&directory, &[], input);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(USAGE), &b""[..]));
    let [line] = stderr(&output).try_into().unwrap();
    assert!(line.starts_with("leaktrace: standard input:"), "{line}");
    fs::write(directory.path().join("input.csv"), input).unwrap();
    let [from_file] = stderr(&run(&directory, &["input.csv"])).try_into().unwrap();
    assert_eq!(from_file, line.replace("standard input", "input.csv"));
}

#[test]
fn repeated_times_are_told() {
    let output = run_with_stdin(&directory(), &[], b"t,bytes\n1,1\n1,7\n");
    assert_eq!((output.status.code(), &records(&output)[0]["live_bytes"]), (Some(0), &7.into()));
    let told = "leaktrace: warning: standard input:3: 1 row repeats the time before, here first; the last value of a time counts";
    assert_eq!(stderr(&output), [told]);
}

#[test]
fn a_leak_fails_where_that_was_asked() {
    let directory = directory();
    let confidence = records(&run(&directory, &["line.csv"]))[0]["confidence"].as_f64().unwrap();
    let code = |arguments: &[&str]| run(&directory, arguments).status.code();
    assert_eq!(code(&["line.csv"]), Some(0));
    assert_eq!(code(&["flat.csv", "line.csv", &format!("--fail-on-leak={confidence}")]), Some(LEAK_FOUND));
    let by_default = if confidence >= 0.9 { LEAK_FOUND } else { 0 };
    assert_eq!(code(&["line.csv", "--fail-on-leak"]), Some(by_default));
    if confidence < 1.0 {
        assert_eq!(code(&["line.csv", "--fail-on-leak=1"]), Some(0));
    }
    assert_eq!(code(&["flat.csv", "--fail-on-leak=0"]), Some(0));
    // What could not be judged may be a leak too: that comes first.
    assert_eq!(code(&["line.csv", "bad.csv", "--fail-on-leak=0"]), Some(USAGE));
    let [told] = stderr(&run(&directory, &["line.csv", "--fail-on-leak=0"])).try_into().unwrap();
    assert_eq!(told, format!("leaktrace: line.csv is a leak, with confidence {confidence}"));
}

#[rstest]
#[case::quiet(&["-", "line.csv"], 0, "")]
#[case::but_a_leak_is_one(&["-", "--fail-on-leak=0"], LEAK_FOUND, "leaktrace: standard input is a leak")]
fn a_closed_pipe_is_no_failure(#[case] arguments: &[&str], #[case] code: i32, #[case] told: &str) {
    let directory = directory();
    let mut command = classify(&directory, arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The reader is gone before there is anything to read.
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(series(|t| 50_000_000 + t * 1_000_000).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(code));
    let stderr = stderr(&output).join("\n");
    assert!(stderr.starts_with(told) && stderr.is_empty() == told.is_empty(), "{stderr}");
}

#[test]
fn a_full_disk_is_one() {
    let directory = directory();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = classify(&directory, &["line.csv"]).stdout(full).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).len()), (Some(OUTPUT_FAILED), 1));
}

#[test]
fn messages_that_cannot_be_written_do_not_change_the_exit_code() {
    let directory = directory();
    for files in [&["bad.csv"][..], &["bad.csv", "line.csv"]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = classify(&directory, files).stderr(full).output().unwrap();
        assert_eq!((output.status.code(), records(&output).len()), (Some(USAGE), files.len() - 1));
    }
}

#[test]
fn a_table_in_a_pipe_has_a_plot_and_no_colours() {
    let output = run(&directory(), &["line.csv", "flat.csv", "--format", "table", "--limit", "1GiB"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("line.csv: LEAK, linear; "), "{text}");
    assert!(text.contains("\n\nflat.csv: bounded, steady; "), "{text}");
    assert!(
        text.contains('└') && text.contains("MiB/s") | text.contains("KiB/s") && !text.contains('\x1b'),
        "{text}"
    );
    assert!(text.contains("  limit       reached in "), "{text}");
}

/// What classify shows on a terminal of so many columns (util-linux's `script` makes one).
fn on_terminal(directory: &TempDir, columns: usize, arguments: &str) -> (Option<i32>, String) {
    let program: PathBuf = cargo_bin!("leaktrace").into();
    let command = format!("stty cols {columns}; '{}' classify {arguments}", program.display());
    let mut script = Command::new("script");
    script
        .current_dir(directory)
        .args(["-qec", &command, "/dev/null"])
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    let output = script.output().expect("util-linux's script runs");
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn on_a_terminal_there_is_a_text_as_wide_as_it() {
    let directory = directory();
    let (code, coloured) = on_terminal(&directory, 60, "line.csv");
    assert_eq!(code, Some(0));
    assert!(coloured.contains("\x1b[1;31mLEAK\x1b[0m") && coloured.contains("\x1b[36m"), "{coloured}");
    let (_, plain) = on_terminal(&directory, 60, "line.csv --no-color");
    assert!(plain.starts_with("line.csv: LEAK, linear") && !plain.contains('\x1b'), "{plain}");
    let widest = plain.lines().map(|line| line.trim_end().chars().count()).max();
    assert!(widest.is_some_and(|columns| (55..=60).contains(&columns)), "{plain}");
    let (_, json) = on_terminal(&directory, 60, "line.csv --format ndjson");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["type"], "verdict");
}

#[test]
fn a_terminal_is_not_read_unasked() {
    let (code, told) = on_terminal(&directory(), 80, "");
    assert_eq!(code, Some(USAGE));
    assert!(told.starts_with("leaktrace: nothing to judge: name CSV files, or pipe one in"), "{told}");
}
