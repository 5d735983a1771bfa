//! The allocators that the distribution ships, read from its files.
//!
//! A missing library fails the test, unless LEAKTRACE_SKIP_MISSING=1 is set: then it is printed as skipped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use leaktrace_common::Argument;
use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, SectionKind};

use super::{POINTER, SIZE};
use crate::probe::placement::{
    Code, LiveText, Need, Placement, ReturnsError, compare_live, forwards_to, place_entry, return_sites,
    stub_slot,
};

const GLIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";
const MUSL: &str = "/usr/lib/x86_64-linux-musl/libc.so";
const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";
const MIMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2";
const TCMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4";

/// What a function's probe needs, by the function's name.
fn need_of(name: &str) -> Option<Need<'static>> {
    use Argument::{First, Second, Third};
    let arguments: &[Argument] = match name {
        "malloc" | "valloc" | "pvalloc" => &[First],
        "calloc" | "realloc" | "memalign" | "aligned_alloc" => &[First, Second],
        "reallocarray" | "posix_memalign" => &[First, Second, Third],
        "free" | "cfree" | "sdallocx" => return Some(POINTER),
        _ if name.starts_with("_Zdl") || name.starts_with("_Zda") => return Some(POINTER),
        _ if name.starts_with("_Znw") || name.starts_with("_Zna") => &[First],
        _ => return None,
    };
    Some(Need { arguments, ..SIZE })
}

struct Library {
    build_id: String,
    /// Address and bytes of the executable sections.
    sections: Vec<(u64, Vec<u8>)>,
    /// Name, address and size.
    symbols: Vec<(String, u64, u64)>,
    /// Address and size of all functions and cold parts, as the unwind tables have them.
    unwound: Vec<(u64, u64)>,
    /// Slots of the PLT, with the function of this object that each is bound to.
    slots: BTreeMap<u64, u64>,
}

impl Library {
    fn open(path: &str) -> Option<Self> {
        let data = match std::fs::read(path) {
            Ok(data) => data,
            Err(error) if std::env::var_os("LEAKTRACE_SKIP_MISSING").is_some_and(|value| value == "1") => {
                println!("SKIPPED: {path}: {error}");
                return None;
            }
            Err(error) => {
                panic!("{path}: {error}; LEAKTRACE_SKIP_MISSING=1 skips libraries that are missing")
            }
        };
        let file = object::File::parse(&*data).unwrap();
        let sections = file.sections().filter(|section| section.kind() == SectionKind::Text);
        let symbols = file.dynamic_symbols().filter(ObjectSymbol::is_definition);
        Some(Self {
            build_id: file.build_id().unwrap().unwrap_or_default().iter().fold(
                String::new(),
                |mut text, byte| {
                    write!(text, "{byte:02x}").unwrap();
                    text
                },
            ),
            sections: sections.map(|one| (one.address(), one.data().unwrap().to_vec())).collect(),
            symbols: symbols.map(|one| (one.name().unwrap().to_owned(), one.address(), one.size())).collect(),
            unwound: unwound(&file),
            slots: slots(&file),
        })
    }

    fn bytes_from(&self, address: u64) -> Option<&[u8]> {
        self.sections.iter().find_map(|(start, bytes)| bytes.get(address.checked_sub(*start)? as usize..))
    }

    fn code(&self, address: u64, size: u64) -> Option<Code<'_>> {
        let bytes = self.bytes_from(address)?.get(..size as usize)?;
        Some(Code { address, bytes, size_known: true })
    }

    /// The code around an address, or behind a stub that is bound to this object.
    fn lookup(&self, address: u64) -> Option<Code<'_>> {
        let around = |&&(start, size): &&(u64, u64)| address.wrapping_sub(start) < size;
        let bytes = self.bytes_from(address)?;
        let window = Code { address, bytes: &bytes[..bytes.len().min(16)], size_known: false };
        if let Some(slot) = stub_slot(&window) {
            return self.lookup(*self.slots.get(&slot)?);
        }
        self.unwound.iter().find(around).and_then(|(start, size)| self.code(*start, *size))
    }

    /// The allocation functions, each with what it needs.
    fn allocation_functions(&self) -> Vec<(&str, Code<'_>, Need<'static>)> {
        let mut found: Vec<_> = self
            .symbols
            .iter()
            .filter_map(|(name, address, size)| {
                Some((name.as_str(), self.code(*address, *size)?, need_of(name)?))
            })
            .collect();
        found.sort_by_key(|(name, ..)| *name);
        found.dedup_by_key(|(name, ..)| *name);
        found
    }
}

/// The ranges of `.eh_frame`, by way of the table in `.eh_frame_hdr` (both with the encodings of GNU ld).
fn unwound(file: &object::File<'_>) -> Vec<(u64, u64)> {
    let Some(header) = file.section_by_name(".eh_frame_hdr") else { return Vec::new() };
    let frames = file.section_by_name(".eh_frame").unwrap();
    let word = |section: &object::Section<'_, '_>, at: u64| {
        let bytes = section.data_range(at, 4).unwrap().unwrap();
        i32::from_le_bytes(bytes.try_into().unwrap())
    };
    let table = header.address() + 12..header.address() + header.size();
    let entry = |at: u64| {
        let start = header.address().wrapping_add_signed(word(&header, at).into());
        let frame = header.address().wrapping_add_signed(word(&header, at + 4).into());
        (start, word(&frames, frame + 12) as u64)
    };
    table.step_by(8).map(entry).collect()
}

fn slots(file: &object::File<'_>) -> BTreeMap<u64, u64> {
    let symbols = file.dynamic_symbol_table().unwrap();
    let bound = |(slot, relocation): (u64, object::Relocation)| {
        let object::RelocationTarget::Symbol(index) = relocation.target() else { return None };
        let symbol = symbols.symbol_by_index(index).ok()?;
        symbol.is_definition().then(|| (slot, symbol.address()))
    };
    file.dynamic_relocations().unwrap().filter_map(bound).collect()
}

/// What must hold of a placement, checked on a disassembly in text form and with rules of its own.
fn check(name: &str, code: &Code<'_>, need: &Need<'_>, placed: &Placement) {
    let mut decoder = iced_x86::Decoder::with_ip(64, code.bytes, 0, iced_x86::DecoderOptions::NONE);
    let mut formatter = iced_x86::IntelFormatter::new();
    let mut lines = Vec::new();
    for instruction in &mut decoder {
        let mut text = String::new();
        iced_x86::Formatter::format(&mut formatter, &instruction, &mut text);
        let jump = text.starts_with('j').then(|| instruction.near_branch_target());
        lines.push((instruction.ip(), text, jump));
    }
    let passed = lines.iter().position(|(offset, ..)| *offset == placed.offset);
    let passed = passed.unwrap_or_else(|| panic!("{name}: {placed:?} is no boundary"));
    for (_, text, jump) in &lines {
        let into_entry = jump.is_some_and(|to| to > 0 && to <= placed.offset);
        assert!(!into_entry, "{name}: {placed:?}, but {text} comes back");
    }
    for (index, (_, text, _)) in lines[..passed].iter().enumerate() {
        let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
        if mnemonic == "je" {
            let test = &lines[index - 1].1;
            assert!(placed.skips_null && test == "test rdi,rdi", "{name}: {placed:?} passes {text}");
            continue;
        }
        let reads_only = ["test", "cmp", "endbr64", "nop"].contains(&mnemonic);
        let writes_first =
            ["mov", "movzx", "movsxd", "lea", "add", "sub", "and", "or", "xor", "shr", "shl", "sar"]
                .contains(&mnemonic);
        assert!(reads_only || writes_first, "{name}: {placed:?} passes {text}");
        let written = if reads_only { "" } else { operands.split(',').next().unwrap_or_default() };
        let names = |argument: &Argument| match argument {
            Argument::First => ["rdi", "edi", "di", "dil"],
            Argument::Second => ["rsi", "esi", "si", "sil"],
            Argument::Third => ["rdx", "edx", "dx", "dl"],
            _ => ["rcx", "ecx", "cx", "cl"],
        };
        let spoilt =
            need.arguments.iter().flat_map(names).chain(["rsp", "esp", "dh", "ch"]).any(|one| one == written);
        assert!(!spoilt, "{name}: {placed:?} passes {text}");
    }
}

/// Places probes in every allocation function of a library; the table of what was chosen.
fn chosen(path: &str) -> Option<(Library, Vec<String>)> {
    let library = Library::open(path)?;
    let mut rows = Vec::new();
    for (name, code, need) in library.allocation_functions() {
        let placed = place_entry(&code, &need).unwrap_or_else(|error| panic!("{path}: {name}: {error}"));
        check(name, &code, &need, &placed);
        assert_eq!(compare_live(&code, code.bytes), LiveText::Same, "{name}");
        let mut live = code.bytes.to_vec();
        live[placed.offset as usize] = 0xcc;
        assert_eq!(compare_live(&code, &live), LiveText::OtherProbes(vec![placed.offset]), "{name}");
        let null = if placed.skips_null { " skips_null" } else { "" };
        let forward = if forwards_to(&code).is_some() { " forwards" } else { "" };
        rows.push(format!("{name}+{} {}{null}{forward}", placed.offset, placed.cost.name()));
    }
    println!("{path} ({}):\n  {}", library.build_id, rows.join("\n  "));
    Some((library, rows))
}

/// Holds the choices for a library against what was read off its disassembly, if it is that very build.
fn assert_chosen(path: &str, build_id: &str, expected: &[&str]) {
    let Some((library, rows)) = chosen(path) else { return };
    assert!(!rows.is_empty(), "{path} has no allocation functions");
    if library.build_id != build_id {
        println!("{path} is another build: offsets not compared");
        return;
    }
    for row in expected {
        assert!(rows.iter().any(|one| one == row), "{path}: {row} was expected");
    }
}

/// Holds the returns found for functions of a library against its disassembly, if it is that very build.
fn assert_returns(path: &str, build_id: &str, expected: &[(&str, &[u64])]) {
    let Some(library) = Library::open(path) else { return };
    for (name, code, _) in library.allocation_functions() {
        let found = return_sites(&code, &|at| library.lookup(at), &|_| false);
        let addresses: Result<Vec<_>, _> =
            found.map(|found| found.sites.iter().map(|site| site.address).collect());
        println!("{path}: {name} returns at {addresses:x?}");
        if let (Ok(addresses), true) = (&addresses, name.starts_with("_Zn")) {
            assert!(!addresses.is_empty(), "{path}: {name} never returns");
        }
        let is_same = library.build_id == build_id;
        if let Some((_, expected)) = expected.iter().find(|(one, _)| is_same && *one == name) {
            assert_eq!(addresses.as_deref(), Ok(*expected), "{path}: {name}");
        }
    }
}

const GLIBC_BUILD: &str = "93ac61ec5a8eb1396f9fbd350e3169a558528a40";
const MUSL_BUILD: &str = "54d00df44fce62f541ca62b56bdef5bf31ff077c";
const JEMALLOC_BUILD: &str = "1d5163c246dc9cd2b4d339f2ac42efd95c6e0ae1";
const MIMALLOC_BUILD: &str = "d07f4e7dc9a039fcbe7747f416476bd65cb48e8b";
const TCMALLOC_BUILD: &str = "39dfd4a5855703fa6c2469749282f75b18a1aa66";

#[test]
fn glibc() {
    let expected = [
        "malloc+0 emulated",
        "free+9 emulated skips_null",
        "cfree+9 emulated skips_null",
        "calloc+0 emulated",
        "realloc+0 emulated",
        "reallocarray+0 single_step",
        "memalign+7 emulated",
        "aligned_alloc+7 emulated",
        "posix_memalign+7 emulated",
        "valloc+7 emulated",
        "pvalloc+7 emulated",
    ];
    assert_chosen(GLIBC, GLIBC_BUILD, &expected);
    assert_returns(GLIBC, GLIBC_BUILD, &[("malloc", &[0x98a30, 0x98ab2, 0x98b66])]);
}

#[test]
fn musl() {
    let expected = [
        "malloc+0 emulated forwards",
        "free+0 emulated forwards",
        "calloc+0 emulated",
        "realloc+0 emulated forwards",
        "reallocarray+6 emulated",
        "memalign+0 emulated forwards",
        "aligned_alloc+0 emulated",
        "posix_memalign+0 emulated",
        "valloc+0 single_step",
    ];
    assert_chosen(MUSL, MUSL_BUILD, &expected);
}

#[test]
fn jemalloc() {
    let expected = [
        "malloc+7 emulated",
        "free+48 emulated",
        "calloc+0 emulated",
        "realloc+0 emulated",
        "memalign+0 emulated",
        "posix_memalign+0 emulated",
        "sdallocx+10 emulated",
        "_Znwm+7 emulated",
        "_Znam+0 emulated forwards",
        "_ZdlPv+0 emulated forwards",
        "_ZdlPvm+3 emulated",
        "_ZdlPvmSt11align_val_t+5 emulated skips_null",
    ];
    assert_chosen(JEMALLOC, JEMALLOC_BUILD, &expected);
    let returns: [(&str, &[u64]); 4] = [
        ("_Znwm", &[0xaddda, 0xaddff, 0xadecd]),
        ("_ZnwmRKSt9nothrow_t", &[0xade1f, 0xade2e, 0xadfbd]),
        ("_ZnwmSt11align_val_t", &[0xaddda, 0xae025]),
        ("malloc", &[0x21fe2, 0x239ad]),
    ];
    assert_returns(JEMALLOC, JEMALLOC_BUILD, &returns);
}

#[test]
fn mimalloc() {
    let expected = [
        // The first argument is overwritten before anything cheap comes.
        "malloc+0 single_step",
        "calloc+0 single_step",
        "realloc+0 single_step",
        "free+6 emulated",
        "memalign+0 emulated forwards",
        "posix_memalign+0 emulated forwards",
        "_Znwm+0 emulated",
        "_ZnwmRKSt9nothrow_t+0 emulated forwards",
        "_ZdlPv+6 emulated",
    ];
    assert_chosen(MIMALLOC, MIMALLOC_BUILD, &expected);
    let returns: [(&str, &[u64]); 3] = [
        ("_Znwm", &[0x119b3, 0x119fc, 0x11af4]),
        ("_ZnwmSt11align_val_t", &[0x11d14]),
        ("_ZnwmRKSt9nothrow_t", &[0x119b3, 0x119fc, 0x11caa]),
    ];
    assert_returns(MIMALLOC, MIMALLOC_BUILD, &returns);
}

#[test]
fn tcmalloc() {
    let expected = [
        "malloc+10 emulated",
        "free+10 emulated",
        "calloc+0 emulated",
        "realloc+0 emulated",
        "memalign+10 emulated",
        "posix_memalign+11 emulated",
        "_Znwm+10 emulated",
        "_ZnwmSt11align_val_t+13 emulated",
        "_ZdlPv+10 emulated",
    ];
    assert_chosen(TCMALLOC, TCMALLOC_BUILD, &expected);
    let returns: [(&str, &[u64]); 2] = [
        ("_Znwm", &[0x17f44, 0x1e600, 0x1e67a, 0x1e731]),
        ("_ZnwmSt11align_val_t", &[0x17f44, 0x1cedc, 0x1e600, 0x1e67a, 0x1e828]),
    ];
    assert_returns(TCMALLOC, TCMALLOC_BUILD, &returns);
}

#[test]
fn operator_new_through_an_unknown_stub_is_refused() {
    let Some(library) = Library::open(TCMALLOC) else { return };
    let functions = library.allocation_functions();
    let Some((_, code, _)) = functions.iter().find(|(name, ..)| *name == "_Znwm") else { return };
    let found = return_sites(code, &|_| None, &|_| false);
    assert!(matches!(found, Err(ReturnsError::UnknownTarget { .. })), "{found:?}");
}
