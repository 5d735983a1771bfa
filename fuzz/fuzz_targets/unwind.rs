//! A stack and an ELF file with unwind tables, both made up: walks and rules must end, and never panic where nobody
//! catches it.
#![no_main]

use leaktrace::target::elf::Object;
use leaktrace::target::maps::{FileId, MappedPath, Mapping};
use leaktrace::unwind::{Copied, Files, Process};
use leaktrace_common::{Header, Kind, MAX_FRAMES, Reason, StackCopy};
use zerocopy::IntoBytes as _;

/// Where the file's pieces of code are mapped, one after the other.
const BASE: u64 = 0x10_0000;
/// Where the stack lies.
const SP: u64 = 0x7ffc_0000_0000;
/// What comes before the file: two registers and the stack.
const STACK: usize = 1024;

libfuzzer_sys::fuzz_target!(init: leaktrace::panics::silence_caught_panics(), |bytes: &[u8]| {
    let Some((stack, file)) = bytes.split_at_checked(STACK) else { return };
    let Ok(mut object) = Object::from_bytes(file.to_vec()) else { return };
    object.identity = FileId { device: (8, 1), inode: 1 };
    let maps: Vec<Mapping> = object
        .segments
        .iter()
        .filter(|segment| segment.executable)
        .take(4)
        .zip(1_u64..)
        .map(|(segment, at)| mapping(segment.offset, at * BASE))
        .collect();
    let record = record(stack);
    let Some(copied) = Copied::read(&record) else { return };
    let (mut files, mut process) = (Files::default(), Process::default());
    files.add(object);
    process.map(0, &maps, &mut files);
    let (frames, _) = process.walk(&copied);
    assert!(frames.len() <= MAX_FRAMES);
    for frame in frames {
        process.rule(frame);
    }
});

fn mapping(offset: u64, start: u64) -> Mapping {
    Mapping {
        start,
        end: start + BASE,
        offset,
        executable: true,
        readable: true,
        writable: false,
        device: (8, 1),
        inode: 1,
        path: MappedPath::File("/f".into()),
        deleted: false,
    }
}

/// A copy as the programs send it: the first two words are the caller and the frame pointer.
fn record(stack: &[u8]) -> Vec<u8> {
    let word = |at| stack.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes);
    let head = StackCopy {
        header: Header { kind: Kind::StackCopy as u8, function: 0, process: 0, tid: 1, time_ns: 0 },
        hash: 1,
        caller: word(0),
        sp: SP,
        fp: word(8),
        length: STACK as u32 - 16,
        kind: Kind::Stack as u8,
        reason: Reason::New as u8,
        followed: 1,
    };
    [head.as_bytes(), stack.get(16..).unwrap_or_default()].concat()
}
