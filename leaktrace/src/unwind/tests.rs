//! Walks over made-up stacks, with and without tables.

use std::process::Command;

use leaktrace_common::{Header, Kind, MAX_FRAMES};
use proptest::prelude::*;
use zerocopy::IntoBytes as _;

use super::*;
use crate::target::{
    elf::Object,
    maps::{FileId, MappedPath},
};

const SP: u64 = 0x7ffc_0000_1000;

fn record(caller: u64, fp: u64, words: &[u64]) -> Vec<u8> {
    let header = Header { kind: Kind::StackCopy as u8, function: 0, process: 0, tid: 1, time_ns: 0 };
    let head = StackCopy {
        header,
        hash: 1,
        caller,
        sp: SP,
        fp,
        length: 8 * words.len() as u32,
        kind: Kind::Stack as u8,
        reason: 0,
        followed: 1,
    };
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    head.as_bytes().iter().copied().chain(bytes).collect()
}

fn walk(process: &mut Process, record: &[u8]) -> (Vec<u64>, End) {
    process.walk(&Copied::read(record).unwrap())
}

/// A program with a function whose frame is found by an expression that goes round for ever, and one that is sane.
fn program(directory: &std::path::Path) -> Object {
    let source = "
        .globl _start, bad
        .text
        _start: .cfi_startproc
        .cfi_undefined rip
        call bad
        hlt
        .cfi_endproc
        bad: .cfi_startproc
        .cfi_escape 0x0f, 0x03, 0x2f, 0xfd, 0xff
        ret
        .cfi_endproc
    ";
    let (input, output) = (directory.join("p.s"), directory.join("p"));
    std::fs::write(&input, source).unwrap();
    let flags = ["-nostdlib", "-static", "-Wl,--eh-frame-hdr", "-o"];
    assert!(Command::new("cc").args(flags).arg(&output).arg(&input).status().unwrap().success());
    let mut object = Object::from_bytes(std::fs::read(&output).unwrap()).unwrap();
    object.identity = FileId { device: (8, 1), inode: 7 };
    object
}

fn mapping(object: &Object, at: u64) -> Mapping {
    let code = object.segments.iter().find(|segment| segment.executable).unwrap();
    Mapping {
        start: at,
        end: at + code.file_size.next_multiple_of(4096),
        offset: code.offset,
        executable: true,
        readable: true,
        writable: false,
        device: object.identity.device,
        inode: object.identity.inode,
        path: MappedPath::File("/p".into()),
        deleted: false,
    }
}

#[test]
fn records_that_are_cut_are_none() {
    let whole = record(0x40_1000, 0, &[1, 2, 3]);
    assert!(Copied::read(&whole).is_some());
    for length in 0..whole.len() {
        assert!(Copied::read(&whole[..length]).is_none(), "{length}");
    }
}

#[test]
fn without_tables_frame_pointers_are_followed() {
    // Two frames, as code that was compiled at run time has them: the frame pointer, then the return address.
    let stack = [9, SP + 24, 0x5000, 0, 0x6000, 0, 0];
    let (frames, end) = walk(&mut Process::default(), &record(0x4000, SP + 8, &stack));
    assert_eq!(frames, [0x4000, 0x5000, 0x6000]);
    assert!(matches!(end, End::Root), "{end:?}");
    // A frame pointer that leads out of the copy.
    let (frames, end) = walk(&mut Process::default(), &record(0x4000, SP + 4096, &stack));
    assert_eq!((frames.as_slice(), end), ([0x4000].as_slice(), End::Cut));
    // One that leads in a circle.
    let (frames, end) = walk(&mut Process::default(), &record(0x4000, SP + 8, &[9, SP + 8, 0x5000]));
    assert!(frames.len() <= 3, "{frames:?}");
    assert_eq!(end, End::Cut);
}

#[test]
fn tables_are_followed_and_those_without_an_end_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let object = program(directory.path());
    let mapping = mapping(&object, 0x7f00_0000_0000);
    let (mut files, mut process) = (Files::default(), Process::default());
    files.add(object);
    process.map(0, std::slice::from_ref(&mapping), &mut files);
    // `_start`, which is the outermost frame by its own word.
    let start = mapping.start + 5;
    let (frames, end) = walk(&mut process, &record(start, 0, &[1, 2, 3]));
    assert_eq!((frames.as_slice(), end), ([start].as_slice(), End::Root));
    // `bad` stands behind `call` and `hlt`.
    let bad = mapping.start + 7;
    let (frames, end) = walk(&mut process, &record(bad, 0, &[start, 2, 3]));
    assert_eq!((frames.as_slice(), end), ([bad].as_slice(), End::Cut));
    // Unmapped again: frame pointers.
    process.map(0, &[], &mut files);
    assert_eq!(walk(&mut process, &record(start, 0, &[1, 2, 3])).0, [start]);
}

proptest! {
    #[test]
    fn any_stack_ends(
        caller in any::<u64>(),
        fp in prop_oneof![any::<u64>(), (0..64_u64).prop_map(|at| SP + 8 * at)],
        words in proptest::collection::vec(
            prop_oneof![any::<u64>(), (0..64_u64).prop_map(|at| SP + 8 * at), Just(0x40_1000)],
            0..64,
        ),
    ) {
        let (frames, _) = walk(&mut Process::default(), &record(caller, fp, &words));
        prop_assert!(!frames.is_empty() && frames.len() <= MAX_FRAMES);
    }
}
