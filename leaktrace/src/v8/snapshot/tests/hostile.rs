//! Text that is no snapshot, or a damaged one: an error that says where, never a panic.

use proptest::prelude::*;
use rstest::rstest;

use super::made::{Heap, Version};
use crate::v8::snapshot::{GrowthLimits, History, SnapshotError, analyse, read};

fn small() -> String {
    let mut heap = Heap::new();
    let global = heap.held(0, ("shortcut", "1"), ("object", "global", 8));
    let map = heap.held(global, ("property", "cache"), ("object", "Map", 16));
    let table = heap.held(map, ("internal", "table"), ("array", "", 64));
    for index in 0..4 {
        let entry = heap.held(table, ("internal", &format!("{index}")), ("object", "Entry", 24));
        heap.held(entry, ("property", "text"), ("string", "some text", 16));
        heap.edge(entry, "weak", "back", map);
    }
    heap.text(Version::Node16)
}

fn offset(text: &[u8]) -> Option<(u64, String)> {
    match read(text) {
        Ok(_) => None,
        Err(SnapshotError::Malformed { offset, message }) => Some((offset, message)),
        Err(SnapshotError::Io(error)) => panic!("{error}"),
    }
}

#[test]
fn every_cut_is_told_with_its_offset() {
    let text = small();
    let whole = text.trim_end().len();
    assert_eq!(offset(text.as_bytes()), None);
    for length in 0..whole {
        let (at, message) = offset(&text.as_bytes()[..length]).expect("a cut snapshot is none");
        assert!(at <= length as u64, "{at} of {length}: {message}");
        assert!(length == 0 || at + 8192 >= length as u64, "{at} of {length}: {message}");
    }
}

#[rstest]
#[case("", 0, "the file ends")]
#[case("  [1]", 2, "no heap snapshot")]
#[case("{}", 2, "it has no \"nodes\"")]
#[case("{\"nodes\":[1]}", 9, "without \"snapshot\" before it")]
#[case("{\"snapshot\":{\"meta\":{}}}", 22, "no field \"type\"")]
#[case("{\"a\":[[[[}", 9, "")]
#[case("{\"a\":?", 5, "expected a value, found '?'")]
#[case("{\"a\":\"\\q\"", 8, "an escape")]
fn what_is_no_snapshot_is_refused(#[case] text: &str, #[case] at: u64, #[case] says: &str) {
    let (offset, message) = offset(text.as_bytes()).unwrap();
    assert!(message.contains(says), "{message}");
    assert!(offset.abs_diff(at) <= 1, "{offset}: {message}");
}

#[rstest]
#[case("\"nodes\":[9,", "\"nodes\":[99,", "type that was not declared")]
#[case("\"nodes\":[9,1", "\"nodes\":[9,999999", "a name is string 999999")]
#[case("\"nodes\":[9,1", "\"nodes\":[9,4000000000", "number of a string is too large")]
#[case("\"edges\":[", "\"edges\":[1,1,7,", "edges, but")]
#[case("\"edges\":[5,2,7", "\"edges\":[5,2,8", "leads to no node")]
#[case("\"edges\":[5,2,7", "\"edges\":[5,2,7000000000000", "leads to no node")]
#[case("\"nodes\":[9,1,1,0,1,", "\"nodes\":[9,1,1,0,4294967295,", "too many edges")]
#[case("\"nodes\":[9,1,1,0,1,", "\"nodes\":[9,1,1,0,99999999999999999999,", "too large")]
#[case("\"nodes\":[9,1", "\"nodes\":[9 1", "comma is missing")]
#[case("\"nodes\":[9,1", "\"nodes\":[9,,1", "expected a number, found ','")]
#[case("\"nodes\":[9,1", "\"nodes\":[-9,1", "expected a number, found '-'")]
#[case("\"nodes\":[9,1", "\"nodes\":[9.5,1", "expected a digit or ','")]
#[case("\"node_count\":", "\"node_count\":1", "were declared")]
#[case("]}\n", "]}{", "something follows")]
fn damage_is_named(#[case] from: &str, #[case] to: &str, #[case] says: &str) {
    let text = small();
    assert!(text.contains(from), "{from} in {text}");
    let (at, message) = offset(text.replacen(from, to, 1).as_bytes()).unwrap();
    assert!(message.contains(says), "{at}: {message}");
}

fn work_through(text: &[u8]) {
    if let Ok(graph) = read(text) {
        let analysis = analyse(graph);
        let limits = GrowthLimits { min_bytes: 0, min_share: 0.0, top: 100 };
        let mut history = History::begin(&analysis);
        history.advance(&analysis);
        let comparison = history.compare(&analysis, limits);
        assert!(comparison.growths.len() <= limits.top);
        for node in 0..8 {
            analysis.way_to(node);
        }
    }
}

proptest! {
    #[test]
    fn any_change_of_a_byte_is_survived(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = small().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        work_through(&text);
    }

    #[test]
    fn any_digits_are_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), b'0'..=b'9'), 1..20)) {
        let mut text = small().into_bytes();
        let start = text.windows(8).position(|window| window == b"\"nodes\":").unwrap_or_default();
        let digits: Vec<_> = (start..text.len()).filter(|&at| text[at].is_ascii_digit()).collect();
        for (at, digit) in changes {
            text[digits[at.index(digits.len())]] = digit;
        }
        work_through(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        work_through(&bytes);
        work_through(&[b"{\"snapshot\":", bytes.as_slice()].concat());
    }
}
