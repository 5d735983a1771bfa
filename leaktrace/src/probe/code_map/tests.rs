//! The allocators that the distribution ships, files of this machine, and files that lie.

use std::{ops::ControlFlow, path::Path};

use proptest::prelude::*;

use super::*;
use crate::probe::placement::return_sites;

const LIBRARIES: &str = "/usr/lib/x86_64-linux-gnu";

/// A library; one that is missing fails the test, unless LEAKTRACE_SKIP_MISSING=1 is set.
fn library(path: &Path) -> Option<Object> {
    let skips = std::env::var_os("LEAKTRACE_SKIP_MISSING").is_some_and(|value| value == "1");
    match Object::open_path_of(std::process::id(), path) {
        Err(error) if skips => {
            println!("SKIPPED: {}: {error}", path.display());
            None
        }
        opened => Some(opened.unwrap()),
    }
}

fn functions_of(object: &Object) -> BTreeMap<String, (u64, u64)> {
    let mut found = BTreeMap::new();
    object.symbols(|symbol| {
        let name = String::from_utf8_lossy(symbol.name).into_owned();
        found.insert(name, (symbol.vaddr, symbol.size));
        ControlFlow::Continue(())
    });
    found
}

/// Return sites of a function; the symbols tell the map nothing, so the unwind tables must.
fn returns(object: &Object, name: &str) -> Vec<u64> {
    let functions = functions_of(object);
    let map = CodeMap::new(object, &[]);
    let code = map.function(functions[name].0).unwrap();
    assert_eq!((code.address, code.bytes.len() as u64), functions[name], "{name}");
    assert!(code.size_known);
    let found = return_sites(&code, &|at| map.code_at(at), &|_| false).unwrap();
    found.sites.iter().map(|site| site.address).collect()
}

#[test]
fn operator_new_returns_where_its_disassembly_says() {
    type Expected = [(&'static str, &'static [u64])];
    let libraries: [(&str, &str, &Expected); 3] = [
        (
            "libjemalloc.so.2",
            "1d5163c246dc9cd2b4d339f2ac42efd95c6e0ae1",
            &[
                ("_Znwm", &[0xaddda, 0xaddff, 0xadecd]),
                ("_ZnwmRKSt9nothrow_t", &[0xade1f, 0xade2e, 0xadfbd]),
                ("_ZnwmSt11align_val_t", &[0xaddda, 0xae025]),
                ("malloc", &[0x21fe2, 0x239ad]),
            ],
        ),
        (
            "libmimalloc.so.2",
            "d07f4e7dc9a039fcbe7747f416476bd65cb48e8b",
            &[("_Znwm", &[0x119b3, 0x119fc, 0x11af4]), ("_ZnwmSt11align_val_t", &[0x11d14])],
        ),
        (
            "libtcmalloc_minimal.so.4",
            "39dfd4a5855703fa6c2469749282f75b18a1aa66",
            &[
                ("_Znwm", &[0x17f44, 0x1e600, 0x1e67a, 0x1e731]),
                ("_ZnwmSt11align_val_t", &[0x17f44, 0x1cedc, 0x1e600, 0x1e67a, 0x1e828]),
            ],
        ),
    ];
    for (name, build_id, expected) in libraries {
        let Some(object) = library(&Path::new(LIBRARIES).join(name)) else { continue };
        for (function, sites) in expected {
            let found = returns(&object, function);
            println!("{name}: {function} returns at {found:x?}");
            assert!(!found.is_empty());
            if object.build_id.as_deref() == Some(build_id) {
                assert_eq!(found, *sites, "{name}: {function}");
            } else {
                println!("{name} is another build: sites not compared");
            }
        }
    }
}

#[test]
fn unwind_tables_agree_with_the_symbols_of_libc() {
    let Some(object) = library(Path::new("/lib/x86_64-linux-gnu/libc.so.6")) else { return };
    let tables = object.unwind_tables().unwrap();
    for name in ["malloc", "free", "calloc", "realloc", "posix_memalign", "qsort"] {
        let (start, size) = functions_of(&object)[name];
        for address in [start, start + 1, start + size - 1] {
            assert_eq!(tables.extent(address), Some(start..start + size), "{name}");
        }
        assert_ne!(tables.extent(start + size), Some(start..start + size), "{name}");
    }
    assert_eq!((tables.extent(0), tables.extent(u64::MAX)), (None, None));
}

#[test]
fn a_stub_leads_to_the_function_that_its_slot_is_bound_to() {
    let Some(object) = library(&Path::new(LIBRARIES).join("libtcmalloc_minimal.so.4")) else { return };
    let functions = functions_of(&object);
    let slots = object.bound_slots();
    assert!(!slots.is_empty());
    for binding in slots.values() {
        let Binding::Function(target) = binding else { panic!("a resolver is not expected here") };
        assert!(functions.values().any(|(start, _)| start == target), "{target:#x} is no function");
    }
    // All of the text, for stubs that jump through these slots.
    let text = object.segments.iter().find(|segment| segment.executable).unwrap();
    let map = CodeMap::new(&object, &[]);
    let mut stubs = 0;
    for address in (text.vaddr..text.vaddr + text.file_size).step_by(8) {
        let Some(bytes) = object.code(address, STUB) else { continue };
        let Some(slot) = stub_slot(&Code { address, bytes: &bytes, size_known: false }) else { continue };
        let found = map.code_at(address).map(|code| code.address);
        assert_eq!(found.map(Binding::Function), slots.get(&slot).copied(), "the stub at {address:#x}");
        stubs += usize::from(found.is_some());
    }
    assert!(stubs > 0, "no stub leads to a function of the library");
}

#[test]
fn slots_in_memory_are_believed_before_symbols() {
    let ours = std::process::id();
    let maps = crate::target::maps::read(ours).unwrap();
    let memory = Memory::open(ours).unwrap();
    let is_libc = |mapping: &&Mapping| {
        mapping.executable
            && matches!(&mapping.path, crate::target::maps::MappedPath::File(path) if path.ends_with("libc.so.6"))
    };
    let object = Object::open(ours, maps.iter().find(is_libc).unwrap()).unwrap();
    let map = CodeMap::new(&object, &[]).in_process(Live { maps: &maps, memory: &memory });
    let slots = object.bound_slots();
    // Functions that libc picks by the processor (memset, …) are known by memory alone.
    let is_picked = |slot: &&u64| slots[slot] == Binding::AtLoad && map.bound_to(**slot).is_some();
    let picked = slots.keys().find(is_picked).unwrap();
    assert_eq!(CodeMap::new(&object, &[]).bound_to(*picked), None);
    let named = slots.iter().find_map(|(slot, binding)| match binding {
        Binding::Function(target) if map.bound_to(*slot) == Some(*target) => Some(*slot),
        _ => None,
    });
    // Had the slot's relocation named another function, memory would contradict it.
    let lying = CodeMap::new(&object, &[]).in_process(Live { maps: &maps, memory: &memory });
    let other = Binding::Function(functions_of(&object)["qsort"].0);
    lying.slots.set(BTreeMap::from([(named.unwrap(), other)])).unwrap();
    assert_eq!(lying.bound_to(named.unwrap()), None);
}

#[test]
fn code_without_tables_is_a_window() {
    let Some(object) = library(Path::new("/usr/lib/x86_64-linux-musl/libc.so")) else { return };
    let (start, size) = functions_of(&object)["qsort"];
    let code_of = |functions: &[FoundFunction]| {
        let map = CodeMap::new(&object, functions);
        let code = map.function(start + 1).unwrap();
        (code.address, code.bytes.len() as u64, code.size_known)
    };
    assert_eq!(code_of(&[]), (start + 1, WINDOW as u64, false));
    let known =
        FoundFunction { function: 1, symbol: "qsort".into(), aliases: Vec::new(), vaddr: start, size };
    assert_eq!(code_of(&[known]), (start, size, true));
    assert!(CodeMap::new(&object, &[]).code_at(0).is_none());
}

#[test]
fn pieces_are_read_once_and_bounded() {
    let Some(object) = library(Path::new("/lib/x86_64-linux-gnu/libc.so.6")) else { return };
    let map = CodeMap::new(&object, &[]);
    let (malloc, size) = functions_of(&object)["malloc"];
    let (first, second) = (map.function(malloc).unwrap(), map.function(malloc + size - 1).unwrap());
    assert!(std::ptr::eq(first.bytes, second.bytes));
    let text = object.segments.iter().find(|segment| segment.executable).unwrap();
    let lent =
        (0..4 * MAX_PIECES as u64).filter(|step| map.piece(text.vaddr + step, 8, false).is_some()).count();
    assert_eq!(lent, MAX_PIECES - 1);
    assert_eq!(map.function(malloc).unwrap().bytes, first.bytes, "what was lent out stays");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Damaged files may give nonsense, but end, and never panic.
    #[test]
    fn damaged_files_are_survived(
        damage in proptest::collection::vec((0_usize..8, any::<usize>(), any::<u8>()), 1..60),
        address in any::<u64>(),
    ) {
        let mut bytes = std::fs::read("/bin/true").unwrap();
        let whole = Object::from_bytes(bytes.clone()).unwrap();
        prop_assert!(whole.unwind_tables().is_some());
        let index = index_offset(&bytes);
        let size = bytes.len();
        // Headers, the unwind tables and their index, the data segment with the dynamic section, and anything.
        for (what, place, byte) in damage {
            let at = match what {
                0 | 1 => place % 1024,
                2..4 => index + place % 2048,
                4 => size - 1 - place % 6144,
                _ => place % size,
            };
            bytes[at] = byte;
        }
        if let Ok(object) = Object::from_bytes(bytes) {
            let map = CodeMap::new(&object, &[]);
            let _ = map.code_at(address).map(|code| code.bytes.len());
            for segment in object.segments.iter().take(16) {
                for step in 0..32 {
                    if let Some(code) = map.code_at(segment.vaddr.wrapping_add(step * 97)) {
                        let _ = return_sites(&code, &|at| map.code_at(at), &|_| false);
                    }
                }
            }
        }
    }
}

/// Where in the file `.eh_frame_hdr` begins; the tables lie behind it.
fn index_offset(file: &[u8]) -> usize {
    use object::{Object as _, ObjectSection as _};
    let file = object::File::parse(file).unwrap();
    file.section_by_name(".eh_frame_hdr").unwrap().file_range().unwrap().0 as usize
}
