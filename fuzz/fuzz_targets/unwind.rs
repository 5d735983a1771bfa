//! A stack and an ELF file with unwind tables, both made up: a walk must end, and never panic where nobody catches it.
#![no_main]

use leaktrace::target::elf::Object;
use leaktrace::target::maps::{FileId, MappedPath, Mapping};
use leaktrace::unwind::{Copied, Files, Process};

/// Where the file is mapped, in pages of code that the stack's words can name.
const BASE: u64 = 0x10_0000;
/// The record with its stack comes first.
const RECORD: usize = 1024;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((record, file)) = bytes.split_at_checked(RECORD) else { return };
    let Some(copied) = Copied::read(record) else { return };
    let Ok(mut object) = Object::from_bytes(file.to_vec()) else { return };
    object.identity = FileId { device: (8, 1), inode: 1 };
    let code = object.segments.iter().filter(|segment| segment.executable);
    let maps: Vec<Mapping> = code
        .take(4)
        .zip(1_u64..)
        .map(|(segment, at)| Mapping {
            start: at * BASE,
            end: at * BASE + BASE,
            offset: segment.offset,
            executable: true,
            readable: true,
            writable: false,
            device: (8, 1),
            inode: 1,
            path: MappedPath::File("/f".into()),
            deleted: false,
        })
        .collect();
    let (mut files, mut process) = (Files::default(), Process::default());
    files.add(object);
    process.map(0, &maps, &mut files);
    let (frames, _) = process.walk(&copied);
    assert!(frames.len() <= leaktrace_common::MAX_FRAMES);
});
