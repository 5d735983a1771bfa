//! The functions that hand out and take back memory: name, role, and which argument holds what.

use std::sync::LazyLock;

use leaktrace_common::{Argument, Role};
use rustc_hash::FxHashMap;

use Argument::{First, Fourth, Second, Third};
use Family::{C, Cxx, Jemalloc, Linker, Mapping, Mimalloc, Tcmalloc, V8};
use Role::{
    Allocate, CollectStep, Free, Map, Measure, New, ObjectsChanged, Protect, Reallocate, Remap, StoreResult,
    Unmap,
};

/// Which functions belong together: a family counts only where its central pair is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// malloc and its relatives. Any allocator may define them, also with a prefix.
    C,
    /// `operator new` and `operator delete`, mangled.
    Cxx,
    /// jemalloc's functions with flags; they share the prefix of its C family.
    Jemalloc,
    /// mimalloc's own names.
    Mimalloc,
    /// gperftools' own names for the C++ operators (`tc_malloc` and the like are the C family with a prefix).
    Tcmalloc,
    /// Mappings, traced on request.
    Mapping,
    /// The dynamic linker's announcement.
    Linker,
    /// V8's garbage collector; its functions are found by `target::v8`, whose mangled names differ by version.
    V8,
}

/// A function and the meaning of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// The symbol, without prefix.
    pub name: &'static str,
    /// What it does.
    pub role: Role,
    /// The argument that holds the size in bytes.
    pub size: Argument,
    /// The argument that the size is to be multiplied by.
    pub count: Argument,
    /// The argument that holds a block, or where the result is stored.
    pub pointer: Argument,
    /// It may end by a C++ exception: it must never get a return probe.
    pub throws: bool,
    /// The functions it belongs to.
    pub family: Family,
}

const fn spec(
    family: Family,
    role: Role,
    name: &'static str,
    pointer: Argument,
    count: Argument,
    size: Argument,
) -> FunctionSpec {
    FunctionSpec { name, role, size, count, pointer, throws: matches!(role, New), family }
}

const fn sized(family: Family, name: &'static str, size: Argument) -> FunctionSpec {
    spec(family, Allocate, name, Argument::None, Argument::None, size)
}

const fn counted(family: Family, name: &'static str, count: Argument, size: Argument) -> FunctionSpec {
    spec(family, Allocate, name, Argument::None, count, size)
}

const fn resized(family: Family, name: &'static str, pointer: Argument, size: Argument) -> FunctionSpec {
    spec(family, Reallocate, name, pointer, Argument::None, size)
}

const fn resized_array(
    family: Family,
    name: &'static str,
    pointer: Argument,
    count: Argument,
    size: Argument,
) -> FunctionSpec {
    spec(family, Reallocate, name, pointer, count, size)
}

const fn stored(family: Family, name: &'static str) -> FunctionSpec {
    spec(family, StoreResult, name, First, Argument::None, Third)
}

const fn new(family: Family, name: &'static str) -> FunctionSpec {
    spec(family, New, name, Argument::None, Argument::None, First)
}

const fn freed(family: Family, name: &'static str) -> FunctionSpec {
    spec(family, Free, name, First, Argument::None, Argument::None)
}

const fn collects(name: &'static str) -> FunctionSpec {
    spec(V8, CollectStep, name, First, Argument::None, Argument::None)
}

const fn measures(name: &'static str) -> FunctionSpec {
    spec(V8, Measure, name, First, Argument::None, Argument::None)
}

const fn throwing(function: FunctionSpec) -> FunctionSpec {
    FunctionSpec { throws: true, ..function }
}

/// All functions. A function's index is its number in records, 0 being that of records without a function.
/// Where several names share an address, the first of this table is the one that is shown.
pub static FUNCTIONS: &[FunctionSpec] = &[
    spec(Linker, ObjectsChanged, "_dl_debug_state", Argument::None, Argument::None, Argument::None),
    sized(C, "malloc", First),
    counted(C, "calloc", First, Second),
    resized(C, "realloc", First, Second),
    resized_array(C, "reallocarray", First, Second, Third),
    stored(C, "posix_memalign"),
    sized(C, "aligned_alloc", Second),
    sized(C, "memalign", Second),
    sized(C, "valloc", First),
    sized(C, "pvalloc", First),
    // From BSD: frees the old block if it fails, which is read as "lives on"; a failed one is rare enough.
    resized(C, "reallocf", First, Second),
    freed(C, "free"),
    freed(C, "cfree"),
    freed(C, "free_sized"),
    freed(C, "free_aligned_sized"),
    new(Cxx, "_Znwm"),
    new(Cxx, "_Znam"),
    new(Cxx, "_ZnwmSt11align_val_t"),
    new(Cxx, "_ZnamSt11align_val_t"),
    // The nothrow forms are noexcept: an exception inside ends in them, never in their caller.
    sized(Cxx, "_ZnwmRKSt9nothrow_t", First),
    sized(Cxx, "_ZnamRKSt9nothrow_t", First),
    sized(Cxx, "_ZnwmSt11align_val_tRKSt9nothrow_t", First),
    sized(Cxx, "_ZnamSt11align_val_tRKSt9nothrow_t", First),
    freed(Cxx, "_ZdlPv"),
    freed(Cxx, "_ZdaPv"),
    freed(Cxx, "_ZdlPvm"),
    freed(Cxx, "_ZdaPvm"),
    freed(Cxx, "_ZdlPvRKSt9nothrow_t"),
    freed(Cxx, "_ZdaPvRKSt9nothrow_t"),
    freed(Cxx, "_ZdlPvSt11align_val_t"),
    freed(Cxx, "_ZdaPvSt11align_val_t"),
    freed(Cxx, "_ZdlPvmSt11align_val_t"),
    freed(Cxx, "_ZdaPvmSt11align_val_t"),
    freed(Cxx, "_ZdlPvSt11align_val_tRKSt9nothrow_t"),
    freed(Cxx, "_ZdaPvSt11align_val_tRKSt9nothrow_t"),
    // xallocx resizes in place and returns a size, no block.
    sized(Jemalloc, "mallocx", First),
    resized(Jemalloc, "rallocx", First, Second),
    freed(Jemalloc, "dallocx"),
    freed(Jemalloc, "sdallocx"),
    sized(Mimalloc, "mi_malloc", First),
    sized(Mimalloc, "mi_malloc_small", First),
    sized(Mimalloc, "mi_zalloc", First),
    sized(Mimalloc, "mi_zalloc_small", First),
    counted(Mimalloc, "mi_calloc", First, Second),
    counted(Mimalloc, "mi_mallocn", First, Second),
    sized(Mimalloc, "mi_malloc_aligned", First),
    sized(Mimalloc, "mi_malloc_aligned_at", First),
    sized(Mimalloc, "mi_zalloc_aligned", First),
    sized(Mimalloc, "mi_zalloc_aligned_at", First),
    counted(Mimalloc, "mi_calloc_aligned", First, Second),
    counted(Mimalloc, "mi_calloc_aligned_at", First, Second),
    stored(Mimalloc, "mi_posix_memalign"),
    sized(Mimalloc, "mi_memalign", Second),
    sized(Mimalloc, "mi_aligned_alloc", Second),
    sized(Mimalloc, "mi_valloc", First),
    sized(Mimalloc, "mi_pvalloc", First),
    resized(Mimalloc, "mi_realloc", First, Second),
    resized(Mimalloc, "mi_reallocf", First, Second),
    resized_array(Mimalloc, "mi_reallocn", First, Second, Third),
    resized_array(Mimalloc, "mi_reallocarray", First, Second, Third),
    resized(Mimalloc, "mi_realloc_aligned", First, Second),
    resized(Mimalloc, "mi_realloc_aligned_at", First, Second),
    resized(Mimalloc, "mi_rezalloc", First, Second),
    resized(Mimalloc, "mi_rezalloc_aligned", First, Second),
    resized(Mimalloc, "mi_rezalloc_aligned_at", First, Second),
    resized_array(Mimalloc, "mi_recalloc", First, Second, Third),
    resized_array(Mimalloc, "mi_recalloc_aligned", First, Second, Third),
    resized_array(Mimalloc, "mi_recalloc_aligned_at", First, Second, Third),
    // The mi_heap_ forms take the heap first.
    sized(Mimalloc, "mi_heap_malloc", Second),
    sized(Mimalloc, "mi_heap_malloc_small", Second),
    sized(Mimalloc, "mi_heap_zalloc", Second),
    counted(Mimalloc, "mi_heap_calloc", Second, Third),
    counted(Mimalloc, "mi_heap_mallocn", Second, Third),
    sized(Mimalloc, "mi_heap_malloc_aligned", Second),
    sized(Mimalloc, "mi_heap_malloc_aligned_at", Second),
    sized(Mimalloc, "mi_heap_zalloc_aligned", Second),
    sized(Mimalloc, "mi_heap_zalloc_aligned_at", Second),
    counted(Mimalloc, "mi_heap_calloc_aligned", Second, Third),
    counted(Mimalloc, "mi_heap_calloc_aligned_at", Second, Third),
    resized(Mimalloc, "mi_heap_realloc", Second, Third),
    resized(Mimalloc, "mi_heap_reallocf", Second, Third),
    resized_array(Mimalloc, "mi_heap_reallocn", Second, Third, Fourth),
    resized(Mimalloc, "mi_heap_realloc_aligned", Second, Third),
    resized(Mimalloc, "mi_heap_realloc_aligned_at", Second, Third),
    resized(Mimalloc, "mi_heap_rezalloc", Second, Third),
    resized(Mimalloc, "mi_heap_rezalloc_aligned", Second, Third),
    resized(Mimalloc, "mi_heap_rezalloc_aligned_at", Second, Third),
    resized_array(Mimalloc, "mi_heap_recalloc", Second, Third, Fourth),
    resized_array(Mimalloc, "mi_heap_recalloc_aligned", Second, Third, Fourth),
    resized_array(Mimalloc, "mi_heap_recalloc_aligned_at", Second, Third, Fourth),
    new(Mimalloc, "mi_new"),
    new(Mimalloc, "mi_new_aligned"),
    spec(Mimalloc, New, "mi_new_n", Argument::None, First, Second),
    spec(Mimalloc, New, "mi_heap_alloc_new", Argument::None, Argument::None, Second),
    spec(Mimalloc, New, "mi_heap_alloc_new_n", Argument::None, Second, Third),
    sized(Mimalloc, "mi_new_nothrow", First),
    sized(Mimalloc, "mi_new_aligned_nothrow", First),
    throwing(resized(Mimalloc, "mi_new_realloc", First, Second)),
    throwing(resized_array(Mimalloc, "mi_new_reallocn", First, Second, Third)),
    freed(Mimalloc, "mi_free"),
    freed(Mimalloc, "mi_free_size"),
    freed(Mimalloc, "mi_free_aligned"),
    freed(Mimalloc, "mi_free_size_aligned"),
    new(Tcmalloc, "tc_new"),
    new(Tcmalloc, "tc_newarray"),
    new(Tcmalloc, "tc_new_aligned"),
    new(Tcmalloc, "tc_newarray_aligned"),
    sized(Tcmalloc, "tc_new_nothrow", First),
    sized(Tcmalloc, "tc_newarray_nothrow", First),
    sized(Tcmalloc, "tc_new_aligned_nothrow", First),
    sized(Tcmalloc, "tc_newarray_aligned_nothrow", First),
    sized(Tcmalloc, "tc_malloc_skip_new_handler", First),
    freed(Tcmalloc, "tc_delete"),
    freed(Tcmalloc, "tc_deletearray"),
    freed(Tcmalloc, "tc_delete_sized"),
    freed(Tcmalloc, "tc_deletearray_sized"),
    freed(Tcmalloc, "tc_delete_nothrow"),
    freed(Tcmalloc, "tc_deletearray_nothrow"),
    freed(Tcmalloc, "tc_delete_aligned"),
    freed(Tcmalloc, "tc_deletearray_aligned"),
    freed(Tcmalloc, "tc_delete_sized_aligned"),
    freed(Tcmalloc, "tc_deletearray_sized_aligned"),
    freed(Tcmalloc, "tc_delete_aligned_nothrow"),
    freed(Tcmalloc, "tc_deletearray_aligned_nothrow"),
    spec(Mapping, Map, "mmap", Argument::None, Argument::None, Second),
    spec(Mapping, Map, "mmap64", Argument::None, Argument::None, Second),
    spec(Mapping, Unmap, "munmap", First, Argument::None, Second),
    // The old size is its second argument, always: only the new one needs to be named.
    spec(Mapping, Remap, "mremap", First, Argument::None, Third),
    spec(Mapping, Protect, "mprotect", First, Argument::None, Second),
    // V8 is built without exceptions. Its namespace `internal` is left out of the names.
    collects("v8::Heap::CollectGarbage"),
    collects("v8::GCTracer::StartObservablePause"),
    collects("v8::GCTracer::StopObservablePause"),
    collects("v8::GCTracer::StartInSafepoint"),
    collects("v8::GCTracer::StopInSafepoint"),
    collects("v8::Heap::Scavenge"),
    collects("v8::Heap::MarkCompact"),
    collects("v8::Heap::MinorMarkSweep"),
    measures("v8::Heap::SizeOfObjects"),
    measures("v8::Heap::CommittedMemory"),
];

/// No name of the table is longer.
pub(super) const LONGEST_NAME: usize = 48;

static NUMBERS: LazyLock<FxHashMap<&'static [u8], u8>> = LazyLock::new(|| {
    (0_u8..=u8::MAX).zip(FUNCTIONS).map(|(number, function)| (function.name.as_bytes(), number)).collect()
});

/// The number of the function with this very name.
pub fn number_of(name: &[u8]) -> Option<u8> {
    if name.len() > LONGEST_NAME { None } else { NUMBERS.get(name).copied() }
}

/// The function with this number.
pub fn function(number: u8) -> Option<&'static FunctionSpec> {
    FUNCTIONS.get(usize::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_number_of_its_own() {
        assert!(FUNCTIONS.len() <= 256);
        for (index, function) in FUNCTIONS.iter().enumerate() {
            assert!(function.name.len() <= LONGEST_NAME, "{}", function.name);
            assert_eq!(
                number_of(function.name.as_bytes()).map(usize::from),
                Some(index),
                "{}",
                function.name
            );
        }
        assert_eq!(FUNCTIONS[0].role, ObjectsChanged);
        assert_eq!(number_of(b"malloc_usable_size"), None);
    }

    #[test]
    fn every_role_names_the_arguments_it_needs() {
        for function in FUNCTIONS {
            let (size, pointer) = (function.size != Argument::None, function.pointer != Argument::None);
            let expected = match function.role {
                Allocate | New | Map => (true, false),
                Reallocate | StoreResult | Unmap | Remap | Protect => (true, true),
                Free | CollectStep | Measure => (false, true),
                ObjectsChanged => (false, false),
            };
            assert_eq!((size, pointer), expected, "{}", function.name);
            assert!(function.role != New || function.throws, "{}", function.name);
        }
    }
}
