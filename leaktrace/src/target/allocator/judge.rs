//! Decides which of an object's functions make an allocator, and which one it is.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use leaktrace_common::Role;

use super::scan::{Hit, Scan};
use super::table::{self, Family, FunctionSpec};
use super::{AllocatorKind, DiscoverOptions, FoundFunction};
use crate::target::elf::{Object, ObjectKind};

/// So much of an `operator new` is decoded where its size is unknown.
const CODE_WITHOUT_SIZE: u64 = 512;
/// No function of an allocator is longer; what a symbol claims beyond is not decoded.
const MAX_CODE: u64 = 16 << 10;

/// The functions of one allocator within one object.
#[derive(Debug)]
pub(super) struct Judgement {
    pub(super) kind: AllocatorKind,
    pub(super) name: String,
    pub(super) functions: Vec<FoundFunction>,
    pub(super) why: String,
    pub(super) notices: Vec<String>,
}

/// The allocators that an object defines: one without prefix (or with `tc_` and `mi_` names), one a prefix.
pub(super) fn allocators(
    object: &Object,
    scan: &Scan,
    options: &DiscoverOptions,
    forced: bool,
) -> Vec<Judgement> {
    let asked = options.symbols_prefix.as_deref();
    let prefixed = scan.prefixes.iter().map(String::as_str).filter(|prefix| !prefix.is_empty());
    let mut found: Vec<Judgement> =
        prefixed.filter_map(|prefix| with_prefix(object, scan, prefix, asked == Some(prefix))).collect();
    found.extend(without_prefix(object, scan, options, forced));
    found
}

fn with_prefix(object: &Object, scan: &Scan, prefix: &str, asked: bool) -> Option<Judgement> {
    let group = || scan.hits.iter().filter(|hit| hit.prefix == prefix);
    let defines = |name: &str| group().any(|hit| spec_of(hit).is_some_and(|spec| spec.name == name));
    let jemalloc = defines("mallocx");
    // A program that jemalloc is linked into holds only what it calls; Rust's never calls free, but sdallocx.
    let frees = ["free", "dallocx", "sdallocx"].into_iter().any(&defines);
    if !(jemalloc && frees || asked && defines("malloc") && defines("free")) {
        return None;
    }
    let kind = if jemalloc { AllocatorKind::Jemalloc } else { AllocatorKind::Other };
    let mut notices = Vec::new();
    let functions = gather(object, group(), &mut notices);
    let why = if jemalloc {
        format!("defines {prefix}mallocx and what frees its blocks")
    } else {
        format!("defines {prefix}malloc and {prefix}free, and the prefix was asked for")
    };
    let name = format!("{} ({prefix})", kind.name());
    (!functions.is_empty()).then_some(Judgement { kind, name, functions, why, notices })
}

fn without_prefix(
    object: &Object,
    scan: &Scan,
    options: &DiscoverOptions,
    forced: bool,
) -> Option<Judgement> {
    let names: BTreeSet<&str> = scan.hits.iter().map(|hit| hit.symbol.as_str()).collect();
    let pair = |first: &str, second: &str| names.contains(first) && names.contains(second);
    // An old glibc's dynamic linker exports the malloc it starts up with; nobody uses it later.
    let is_linker = object.kind == ObjectKind::Shared
        && names.contains("_dl_debug_state")
        && !scan.has_mark("__libc_start_main");
    if is_linker && !forced {
        return None;
    }
    // A static program holds only what it calls: one that never frees has no free.
    let c = pair("malloc", "free") || (object.is_static() && names.contains("malloc"));
    let (tc, mi) = (pair("tc_malloc", "tc_free"), pair("mi_malloc", "mi_free"));
    if !(c || tc || mi || forced) {
        return None;
    }
    let kind = kind_of(&names, scan, c);
    let is_libc = matches!(kind, AllocatorKind::Glibc | AllocatorKind::Musl) || object.is_static();
    let taken = |hit: &&Hit| {
        let Some(spec) = spec_of(hit) else { return false };
        match spec.family {
            Family::C if hit.prefix == "tc_" => tc,
            Family::C | Family::Jemalloc => hit.prefix.is_empty() && (c || forced),
            Family::Tcmalloc => tc,
            Family::Mimalloc => mi || forced,
            Family::Cxx => c || tc || mi || forced,
            Family::Mapping => options.mappings && is_libc,
            Family::Linker | Family::V8 => false,
        }
    };
    let mut notices = Vec::new();
    let all = gather(object, scan.hits.iter().filter(taken), &mut notices);
    let functions = without_wrappers(object, all);
    let source = scan.hits.iter().find(|hit| taken(hit)).map_or("", |hit| hit.source.name());
    let central = if c {
        if names.contains("free") { "malloc and free" } else { "malloc" }
    } else if mi {
        "mi_malloc and mi_free"
    } else {
        "tc_malloc and tc_free"
    };
    let why = if c || tc || mi {
        format!("defines {central} in {source}")
    } else {
        String::from("was named, and defines allocation functions")
    };
    (!functions.is_empty()).then(|| Judgement { kind, name: kind.name().to_owned(), functions, why, notices })
}

fn kind_of(names: &BTreeSet<&str>, scan: &Scan, defines_malloc: bool) -> AllocatorKind {
    if names.contains("mi_malloc") {
        AllocatorKind::Mimalloc
    } else if names.contains("mallocx") {
        AllocatorKind::Jemalloc
    } else if names.contains("tc_malloc") || scan.has_mark("TCMallocInternalMalloc") {
        AllocatorKind::Tcmalloc
    } else if scan.has_mark("gnu_get_libc_version") || scan.has_mark("_int_malloc") {
        AllocatorKind::Glibc
    } else if ["__libc_malloc_impl", "__malloc_donate", "__malloc_allzerop"]
        .iter()
        .any(|mark| scan.has_mark(mark))
        || (defines_malloc && scan.has_mark("__libc_start_main"))
    {
        AllocatorKind::Musl
    } else {
        AllocatorKind::Other
    }
}

/// One function an address, the others of its names as aliases; only addresses inside the file's code.
fn gather<'a>(
    object: &Object,
    hits: impl Iterator<Item = &'a Hit>,
    notices: &mut Vec<String>,
) -> Vec<FoundFunction> {
    let mut by_address: BTreeMap<u64, Vec<&Hit>> = BTreeMap::new();
    for hit in hits {
        if hit.indirect {
            let notice = format!(
                "{} in {} is chosen when the program is loaded (IFUNC): it is not traced",
                hit.symbol, object.display_path
            );
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        } else if is_code(object, hit.vaddr) {
            by_address.entry(hit.vaddr).or_default().push(hit);
        }
    }
    let found = by_address.into_iter().filter_map(|(vaddr, mut hits)| {
        // Names without prefix come first, then the table's order.
        hits.sort_by_key(|hit| (!hit.prefix.is_empty(), hit.function));
        let first = *hits.first()?;
        let names: BTreeSet<&str> = hits.iter().map(|hit| hit.symbol.as_str()).collect();
        let aliases = names.into_iter().filter(|name| *name != first.symbol).map(str::to_owned).collect();
        let size = hits.iter().map(|hit| hit.size).max().unwrap_or(0);
        Some(FoundFunction { function: first.function, symbol: first.symbol.clone(), aliases, vaddr, size })
    });
    found.collect()
}

fn is_code(object: &Object, vaddr: u64) -> bool {
    object.segments.iter().any(|segment| {
        segment.executable
            && vaddr.checked_sub(segment.vaddr).is_some_and(|within| within < segment.file_size)
    })
}

/// Leaves out the C++ operators that only call the C functions, as libstdc++'s do: in a static program they lie
/// beside the malloc they call, and would count each block twice.
fn without_wrappers(object: &Object, functions: Vec<FoundFunction>) -> Vec<FoundFunction> {
    let (mut operators, mut kept): (Vec<_>, Vec<_>) =
        functions.into_iter().partition(|found| found.spec().is_some_and(|spec| spec.family == Family::Cxx));
    let mut frees: BTreeSet<u64> = addresses(&kept, |role| role == Role::Free);
    let mut allocations: BTreeSet<u64> = addresses(&kept, |role| role != Role::Free && !role.is_mapping());
    // An operator may call another one (`new[]` calls `new`): each that is left out is a target for the rest.
    loop {
        let before = operators.len();
        operators.retain(|found| {
            let is_free = found.spec().is_some_and(|spec| spec.role == Role::Free);
            let targets = if is_free { &mut frees } else { &mut allocations };
            let wraps = function_calls_any(object, found, targets);
            if wraps {
                targets.insert(found.vaddr);
            }
            !wraps
        });
        if operators.len() == before {
            break;
        }
    }
    kept.append(&mut operators);
    kept.sort_by_key(|found| found.vaddr);
    kept
}

fn addresses(functions: &[FoundFunction], wanted: impl Fn(Role) -> bool) -> BTreeSet<u64> {
    let with_role = functions.iter().filter(|found| found.spec().is_some_and(|spec| wanted(spec.role)));
    with_role.map(|found| found.vaddr).collect()
}

fn function_calls_any(object: &Object, found: &FoundFunction, targets: &BTreeSet<u64>) -> bool {
    let size = if found.size == 0 { CODE_WITHOUT_SIZE } else { found.size.min(MAX_CODE) };
    object.code(found.vaddr, size as usize).is_some_and(|code| calls_any(&code, found.vaddr, targets))
}

/// Whether code at `vaddr` calls or jumps to one of `targets` directly.
pub fn calls_any(code: &[u8], vaddr: u64, targets: &BTreeSet<u64>) -> bool {
    Decoder::with_ip(64, code, vaddr, DecoderOptions::NONE).into_iter().any(|instruction| {
        let is_direct =
            matches!(instruction.flow_control(), FlowControl::Call | FlowControl::UnconditionalBranch)
                || instruction.flow_control() == FlowControl::ConditionalBranch;
        is_direct && targets.contains(&instruction.near_branch_target())
    })
}

fn spec_of(hit: &Hit) -> Option<&'static FunctionSpec> {
    table::function(hit.function)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_tail_jumps_are_seen() {
        let targets = BTreeSet::from([0x1100]);
        // call 0x1100; ret
        assert!(calls_any(&[0xe8, 0xfb, 0, 0, 0, 0xc3], 0x1000, &targets));
        // jmp 0x1100
        assert!(calls_any(&[0xe9, 0xfb, 0, 0, 0], 0x1000, &targets));
        // call *(%rip); ret
        assert!(!calls_any(&[0xff, 0x15, 0, 0, 0, 0, 0xc3], 0x1000, &targets));
        assert!(!calls_any(&[], 0x1000, &targets));
    }
}
