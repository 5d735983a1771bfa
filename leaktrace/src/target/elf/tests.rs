//! ELF files of this machine, files built here, and bytes that are no ELF file.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::target::maps::{self, MappedPath};

fn symbols(object: &Object) -> Vec<(String, u64, SymbolSource)> {
    let mut found = Vec::new();
    object.symbols(|symbol| {
        found.push((String::from_utf8_lossy(symbol.name).into_owned(), symbol.vaddr, symbol.source));
        ControlFlow::Continue(())
    });
    found
}

fn run(command: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(command).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

fn compile(directory: &Path, flags: &[&str]) -> PathBuf {
    std::fs::write(
        directory.join("a.c"),
        "int answer(void) { return 42; }\nint main(void) { return answer(); }\n",
    )
    .unwrap();
    run("gcc", &[&["-O0", "-g", "-Wl,--build-id", "-o", "a", "a.c"], flags].concat(), directory);
    directory.join("a")
}

fn address_of(object: &Object, name: &str) -> Option<(u64, SymbolSource)> {
    symbols(object).into_iter().find(|(found, ..)| found == name).map(|(_, vaddr, source)| (vaddr, source))
}

#[test]
fn our_own_libc_is_opened_through_its_mapping() {
    let ours = std::process::id();
    let maps = maps::read(ours).unwrap();
    let is_libc = |mapping: &&Mapping| {
        mapping.executable && matches!(&mapping.path, MappedPath::File(path) if path.ends_with("libc.so.6"))
    };
    let mapping = maps.iter().find(is_libc).unwrap();
    let object = Object::open(ours, mapping).unwrap();
    assert_eq!(object.kind, ObjectKind::Shared);
    assert_eq!(object.build_id.as_ref().map(String::len), Some(40));
    assert_eq!(object.file_name(), "libc.so.6");
    let (vaddr, source) = address_of(&object, "malloc").unwrap();
    assert_eq!(source, SymbolSource::Dynamic);

    // What the file says of malloc is what runs in this process.
    let address = object.address_of(vaddr, &maps).unwrap();
    assert_eq!(object.vaddr_of(mapping, address), Some(vaddr));
    let code = object.code(vaddr, 16).unwrap();
    let mut live = [0; 16];
    crate::target::memory::read(ours, address, &mut live).unwrap();
    assert_eq!(code, live);
    assert_eq!(
        std::fs::read(&object.open_path).unwrap()[object.file_offset(vaddr).unwrap() as usize..][..16],
        live
    );
}

#[test]
fn a_mapping_begins_before_its_segment() {
    // As lld lays programs out: code begins in the middle of a page of the file whose start is another segment's.
    let mut object = Object::from_bytes(std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
    let segment = |offset, vaddr, file_size, executable| Segment {
        vaddr,
        memory_size: file_size,
        offset,
        file_size,
        executable,
    };
    object.segments = vec![segment(0, 0, 0x1_796c, false), segment(0x1_7970, 0x1_8970, 0x4_7770, true)];
    let text = Mapping {
        start: 0x5000_0000_8000,
        end: 0x5000_0005_0000,
        offset: 0x1_7000,
        executable: true,
        readable: true,
        writable: false,
        device: (8, 1),
        inode: 1,
        path: MappedPath::File("/p".into()),
        deleted: false,
    };
    assert_eq!(object.vaddr_of(&text, text.start), Some(0x1_8000));
    assert_eq!(object.vaddr_of(&text, text.start + 0x970), Some(0x1_8970));
    let data = Mapping { start: 0x5000_0000_0000, offset: 0, executable: false, ..text };
    assert_eq!(object.vaddr_of(&data, data.start + 0x1_7000), Some(0x1_7000));
}

#[test]
fn kinds_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    for (flags, kind) in [
        (&[][..], ObjectKind::Executable),
        (&["-no-pie"][..], ObjectKind::Executable),
        (&["-static"][..], ObjectKind::StaticExecutable),
        (&["-static-pie"][..], ObjectKind::StaticExecutable),
        (&["-shared", "-fPIC"][..], ObjectKind::Shared),
    ] {
        let object = Object::from_bytes(std::fs::read(compile(directory.path(), flags)).unwrap()).unwrap();
        assert_eq!(object.kind, kind, "{flags:?}");
        assert!(address_of(&object, "answer").is_some(), "{flags:?}");
    }
}

#[test]
fn a_stripped_program_finds_its_debug_file_by_link_and_checksum() {
    let directory = tempfile::tempdir().unwrap();
    let program = compile(directory.path(), &[]);
    let whole = address_of(&Object::from_bytes(std::fs::read(&program).unwrap()).unwrap(), "answer").unwrap();
    assert_eq!(whole.1, SymbolSource::Full);
    run("objcopy", &["--only-keep-debug", "a", "a.debug"], directory.path());
    run("strip", &["a"], directory.path());
    run("objcopy", &["--add-gnu-debuglink=a.debug", "a"], directory.path());
    let open = || Object::open_path_of(std::process::id(), &program).unwrap();
    assert_eq!(open().debug_link.as_ref().map(|link| link.name.as_str()), Some("a.debug"));
    assert_eq!(address_of(&open(), "answer"), Some((whole.0, SymbolSource::DebugFile)));
    // A debug file of another build is not believed.
    let mut other = std::fs::read(directory.path().join("a.debug")).unwrap();
    other.push(0);
    std::fs::write(directory.path().join("a.debug"), other).unwrap();
    assert_eq!(address_of(&open(), "answer"), None);
}

#[test]
fn devices_and_directories_are_left_alone() {
    let ours = std::process::id();
    for path in ["/dev/null", "/proc", "/dev/zero"] {
        assert!(matches!(Object::open_path_of(ours, Path::new(path)), Err(ElfError::NotRegular)), "{path}");
    }
    assert!(matches!(Object::open_path_of(ours, Path::new("/proc/self/maps")), Err(ElfError::Malformed(_))));
}

#[test]
fn debug_links_stay_in_their_directories() {
    let parse = |name: &[u8]| {
        let mut section = name.to_vec();
        section.resize((name.len() + 1).next_multiple_of(4), 0);
        section.extend(7_u32.to_le_bytes());
        DebugLink::parse(&section)
    };
    assert_eq!(parse(b"a.debug"), Some(DebugLink { name: "a.debug".into(), crc: 7 }));
    assert_eq!(parse(b"../../etc/shadow"), None);
    assert_eq!(parse(b".."), None);
    assert_eq!(parse(b""), None);
    assert_eq!(DebugLink::parse(b"no end"), None);
    assert_eq!(DebugLink::parse(b"x\0\0\0\x01"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A damaged file may give nonsense, but ends, and never panics.
    #[test]
    fn damaged_files_are_survived(
        damage in proptest::collection::vec((0_usize..4096, any::<u8>()), 1..40),
        from_the_end in any::<bool>(),
        vaddr in any::<u64>(),
    ) {
        let mut bytes = std::fs::read("/bin/true").unwrap();
        for (place, byte) in damage {
            let place = if from_the_end { bytes.len() - 1 - place } else { place % 1024 };
            bytes[place] = byte;
        }
        if let Ok(object) = Object::from_bytes(bytes) {
            let _ = symbols(&object);
            let _ = (object.file_offset(vaddr), object.code(vaddr, usize::MAX), object.address_of(vaddr, &[]));
            for segment in &object.segments {
                let _ = object.code(segment.vaddr, 64);
            }
        }
    }
}
