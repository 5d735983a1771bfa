//! A hostile recording replayed: no panic, whatever it tells, and every record can be printed.
#![no_main]

use leaktrace::cli::Sort;
use leaktrace::heap::Limits;
use leaktrace::session::{Input, Pipeline, View};
use leaktrace::trace_file::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { max_blocks: 1000, max_sites: 100, max_frames: 1000, max_mappings: 1000 };
    let view = View { top: 5, sort: Sort::Growth, older_than: None };
    let mut pipeline = Pipeline::new(view, limits);
    if let Ok(mut reader) = Reader::new(bytes) {
        while let Ok(Some((kind, payload))) = reader.next() {
            step(&mut pipeline, kind, payload);
        }
    }
    // Checksums keep most inputs from getting that far: the same bytes as bare frames, too.
    let mut rest = bytes;
    while let Some(([kind, low, high], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(behind.len());
        let (payload, behind) = behind.split_at(length);
        step(&mut pipeline, kind % 4, payload.to_vec());
        rest = behind;
    }
    pipeline.for_each_block(|_, _, _, _| ());
});

fn step(pipeline: &mut Pipeline, kind: u8, payload: Vec<u8>) {
    let Ok(Some(input)) = Input::from_frame(kind, payload) else { return };
    let mut records = Vec::new();
    pipeline.step(&input, &mut records);
    pipeline.unnamed_sites();
    for record in records {
        serde_json::to_vec(&record).expect("records can be printed");
    }
}
