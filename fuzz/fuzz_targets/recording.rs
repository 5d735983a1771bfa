//! A recording of any bytes, down to the events in its frames: no panic, no endless loop, bounded memory.
#![no_main]

use leaktrace::event::Batch;
use leaktrace::trace_file::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for event in Batch::new(bytes) {
        let _ = event;
    }
    let Ok(mut reader) = Reader::new(bytes) else { return };
    while let Ok(Some((_, payload))) = reader.next() {
        for event in Batch::new(&payload) {
            let _ = event;
        }
    }
});
