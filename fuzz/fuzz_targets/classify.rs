//! `leaktrace classify` on a file of any bytes: no panic, bounded memory, and every verdict can be printed.
#![no_main]

use leaktrace::output::record::Record;
use leaktrace::output::verdict_text::{Look, render};
use leaktrace::session::series_file::{SeriesFile, read_series};
use leaktrace::session::verdict_of;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Few inputs hit upon the header by themselves: the same bytes behind one, too.
    judge(bytes);
    judge(&[b"t,bytes\n", bytes].concat());
});

fn judge(bytes: &[u8]) {
    let series = match read_series(bytes) {
        Ok(series) => series,
        Err(error) => {
            assert!(!error.in_file("series.csv").contains(['\n', '\x1b']), "one line: {error}");
            return;
        }
    };
    let SeriesFile { samples, .. } = series;
    let record = verdict_of("series.csv", &samples, bytes.first().map(|byte| 1 << (byte % 64)));
    assert!(!render(&record, &samples, Look { columns: 80, colour: false }).is_empty());
    let json = serde_json::to_vec(&Record::Verdict(record)).expect("records can be printed");
    assert!(serde_json::from_slice::<Record>(&json).is_ok(), "{}", String::from_utf8_lossy(&json));
}
