//! Arbitrary bytes as an ELF file: headers, symbols and allocator discovery must end and never panic.
#![no_main]

use leaktrace::target::allocator::{self, DiscoverOptions};
use leaktrace::target::elf::Object;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(object) = Object::from_bytes(bytes.to_vec()) else { return };
    for segment in object.segments.clone() {
        let _ = object.code(segment.vaddr, 64);
        let _ = object.file_offset(segment.vaddr);
    }
    let options =
        DiscoverOptions { symbols_prefix: Some("je_".into()), mappings: true, ..Default::default() };
    let _ = allocator::examine(vec![object], &options, None);
});
