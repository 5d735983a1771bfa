//! What the command line accepts and refuses.

use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use proptest::prelude::*;
use rstest::rstest;

use super::values;
use super::{Cli, Command, Format, Sort};

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once(&"leaktrace").chain(arguments))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn defaults_are_the_documented_ones() {
    let cli = parse(&["--pid", "42"]).unwrap();
    assert!(cli.command.is_none());
    let trace = cli.trace;
    assert_eq!(trace.target.pid, Some(42));
    assert_eq!(trace.capture.interval, Duration::from_secs(1));
    assert_eq!(trace.capture.duration, None);
    assert_eq!(trace.capture.min_size, 0);
    assert!(!trace.capture.children);
    assert_eq!((trace.view.format, trace.view.sort, trace.view.top), (Format::Auto, Sort::Live, 10));
    assert_eq!(trace.recording.record_limit, 1 << 30);
    assert_eq!(trace.tuning.ring_size, 32 << 20);
    assert_eq!(trace.tuning.max_stacks, 131_072);
    assert_eq!(cli.general.verbose, 0);
}

#[test]
fn a_command_keeps_its_own_options() {
    let cli = parse(&["--children", "--", "doctor", "--pid", "7"]).unwrap();
    assert!(cli.command.is_none());
    assert!(cli.trace.capture.children);
    assert_eq!(cli.trace.target.run, ["doctor", "--pid", "7"]);
}

#[test]
fn mappings_are_traced_on_request() {
    assert!(!parse(&["--pid", "7"]).unwrap().trace.capture.mmap);
    assert!(parse(&["--mmap", "--", "true"]).unwrap().trace.capture.mmap);
}

#[test]
fn subcommands_have_their_options() {
    let Some(Command::Doctor(doctor)) = parse(&["doctor", "--pid", "7", "-vv"]).unwrap().command else {
        panic!("not doctor");
    };
    assert_eq!((doctor.pid, doctor.format), (Some(7), Format::Auto));

    let cli = parse(&["replay", "a.leaktrace", "--top", "3", "--sort", "age", "--no-color"]).unwrap();
    assert!(cli.general.no_color);
    let Some(Command::Replay(replay)) = cli.command else { panic!("not replay") };
    assert_eq!(replay.file.to_str(), Some("a.leaktrace"));
    assert_eq!((replay.view.top, replay.view.sort), (3, Sort::Age));
}

#[test]
fn failing_on_leaks_has_a_usual_confidence() {
    let asked = |argument: &str| parse(&["--pid", "1", argument]).unwrap().trace.verdicts.fail_on_leak;
    assert_eq!(asked("--no-color"), None);
    assert_eq!(asked("--fail-on-leak"), Some(0.9));
    assert_eq!(asked("--fail-on-leak=0.5"), Some(0.5));
    let replay = parse(&["replay", "--fail-on-leak", "a.leaktrace"]).unwrap();
    let Some(Command::Replay(replay)) = replay.command else { panic!("not replay") };
    assert_eq!(replay.verdicts.fail_on_leak, Some(0.9));
}

#[test]
fn classify_takes_files_and_its_confidence_only_behind_an_equals_sign() {
    let classify = |arguments: &[&str]| match parse(arguments).unwrap().command {
        Some(Command::Classify(options)) => options,
        other => panic!("not classify: {other:?}"),
    };
    let bare = classify(&["classify"]);
    assert!(bare.files.is_empty());
    assert_eq!((bare.limit, bare.fail_on_leak, bare.format), (None, None, Format::Auto));
    let options = classify(&["classify", "--fail-on-leak", "a.csv", "-", "--limit", "2GiB"]);
    assert_eq!((options.fail_on_leak, options.limit), (Some(0.9), Some(2 << 30)));
    assert_eq!(options.files.iter().filter_map(|file| file.to_str()).collect::<Vec<_>>(), ["a.csv", "-"]);
    assert_eq!(classify(&["classify", "--fail-on-leak=0.75", "a.csv"]).fail_on_leak, Some(0.75));
}

#[rstest]
#[case::nothing(&[], ErrorKind::MissingRequiredArgument)]
#[case::options_only(&["--top", "3"], ErrorKind::MissingRequiredArgument)]
#[case::two_targets(&["--pid", "1", "--comm", "redis"], ErrorKind::ArgumentConflict)]
#[case::target_and_command(&["--pid", "1", "--", "true"], ErrorKind::ArgumentConflict)]
#[case::pid_zero(&["--pid", "0"], ErrorKind::ValueValidation)]
#[case::pid_name(&["--pid", "redis"], ErrorKind::ValueValidation)]
#[case::short_interval(&["--pid", "1", "--interval", "99ms"], ErrorKind::ValueValidation)]
#[case::top_zero(&["--pid", "1", "--top", "0"], ErrorKind::ValueValidation)]
#[case::sort(&["--pid", "1", "--sort", "size"], ErrorKind::InvalidValue)]
#[case::bare_word(&["redis"], ErrorKind::UnknownArgument)]
#[case::limit_alone(&["--pid", "1", "--record-limit", "1M"], ErrorKind::MissingRequiredArgument)]
#[case::too_sure(&["--pid", "1", "--fail-on-leak=1.1"], ErrorKind::ValueValidation)]
#[case::sure_of_nan(&["--pid", "1", "--fail-on-leak=nan"], ErrorKind::ValueValidation)]
#[case::replay_nothing(&["replay"], ErrorKind::MissingRequiredArgument)]
#[case::classify_confidence(&["classify", "--fail-on-leak=1.01"], ErrorKind::ValueValidation)]
#[case::classify_no_confidence(&["classify", "--fail-on-leak=NaN"], ErrorKind::ValueValidation)]
#[case::ring_odd(&["--pid", "1", "--ring-size", "5000"], ErrorKind::ValueValidation)]
fn what_cannot_be_used_exits_2(#[case] arguments: &[&str], #[case] kind: ErrorKind) {
    let error = parse(arguments).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[rstest]
#[case("500ms", 500)]
#[case("10s", 10_000)]
#[case("2m", 120_000)]
#[case("2min", 120_000)]
#[case("1h", 3_600_000)]
#[case("1d", 86_400_000)]
#[case("1h30m", 5_400_000)]
#[case("1.5s", 1_500)]
#[case("10", 10_000)]
#[case("0.25", 250)]
fn durations(#[case] text: &str, #[case] millis: u64) {
    assert_eq!(values::duration(text), Ok(Duration::from_millis(millis)));
}

#[rstest]
#[case("")]
#[case("0")]
#[case("0s")]
#[case("-1s")]
#[case("s")]
#[case("10 s")]
#[case("1.2.3s")]
#[case("10x")]
#[case("1h30")]
#[case("999999999999999999999d")]
#[case("inf")]
#[case("nan")]
fn no_durations(#[case] text: &str) {
    assert!(values::duration(text).is_err());
}

#[rstest]
#[case("0", 0)]
#[case("4096", 4096)]
#[case("512b", 512)]
#[case("4K", 4096)]
#[case("4kib", 4096)]
#[case("4KB", 4000)]
#[case("1.5M", 1_572_864)]
#[case("1GiB", 1 << 30)]
#[case("2TB", 2_000_000_000_000)]
#[case("18446744073709551615", u64::MAX)]
fn sizes(#[case] text: &str, #[case] bytes: u64) {
    assert_eq!(values::size(text), Ok(bytes));
}

#[rstest]
#[case("")]
#[case("K")]
#[case("-1")]
#[case("1 K")]
#[case("1X")]
#[case("18446744073709551616")]
#[case("17179869184G")]
#[case(".")]
#[case("1e3")]
fn no_sizes(#[case] text: &str) {
    assert!(values::size(text).is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,24}|[0-9.]{1,30}[kKmMgGtT]?[iI]?[bB]?|[0-9.]{1,9}(ms|s|m|h|d)") {
        let _ = values::size(&text);
        let _ = values::symbol_prefix(&text);
        let _ = values::confidence(&text);
        if let Ok(duration) = values::duration(&text) {
            prop_assert!(duration > Duration::ZERO || text.starts_with("0."));
        }
    }
}

#[test]
fn no_color_counts_only_when_not_empty() {
    let cli = parse(&["--pid", "1"]).unwrap();
    assert!(cli.general.colour(None));
    assert!(cli.general.colour(Some("".as_ref())));
    assert!(!cli.general.colour(Some("1".as_ref())));
    assert!(!parse(&["--pid", "1", "--no-color"]).unwrap().general.colour(None));
}

#[test]
fn the_short_help_stays_as_it_is() {
    insta::assert_snapshot!("help_short", Cli::command().term_width(80).render_help());
}

#[test]
fn the_long_help_stays_as_it_is() {
    insta::assert_snapshot!("help_long", Cli::command().term_width(80).render_long_help());
}
