//! V8 in the target: in whichever object defines its functions, whatever that is called.
//!
//! The functions are internal ones, so they are known by their mangled names, which have stayed the same from V8 9.4 to
//! 14.6 up to the arguments that are looked at here. Where the names were stripped, the two that matter most are found
//! in the code of an exported function that calls them.

mod evaluate;
mod flags;
mod hooks;
mod stripped;
#[cfg(test)]
mod tests;
mod version;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::allocator::{FoundFunction, Scan};
use super::elf::Object;
use super::maps::Mapping;
use super::memory::Memory;
pub use flags::old_space_limit;
pub use hooks::Hook;

/// `v8::internal::Heap::SizeOfObjects()`.
pub const SIZE_OF_OBJECTS: &str = "_ZN2v88internal4Heap13SizeOfObjectsEv";
/// `v8::Isolate::GetHeapStatistics(v8::HeapStatistics*)`, part of the API and therefore exported.
pub const HEAP_STATISTICS: &str = "_ZN2v87Isolate17GetHeapStatisticsEPNS_14HeapStatisticsE";
/// `v8::V8::GetVersion()`.
const GET_VERSION: &[u8] = b"_ZN2v82V810GetVersionEv";
/// `v8::internal::Heap::MaxReserved()`, const since V8 11.
const MAX_RESERVED: [&[u8]; 2] =
    [b"_ZNK2v88internal4Heap11MaxReservedEv", b"_ZN2v88internal4Heap11MaxReservedEv"];
/// The functions that are evaluated are shorter than this.
const SMALL_FUNCTION: usize = 128;
/// No heap limit that V8 can have is outside these.
const PLAUSIBLE_LIMIT: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 46);

/// How V8's functions were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundBy {
    /// By their names.
    Symbols,
    /// By the order of calls in `GetHeapStatistics`: the names were stripped.
    CallOrder,
    /// Not at all: V8 is there, but its heap cannot be read.
    Nothing,
}

impl FoundBy {
    /// The name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Symbols => "symbols",
            Self::CallOrder => "call_order",
            Self::Nothing => "none",
        }
    }
}

/// V8 within an object of the target.
#[derive(Clone, Debug)]
pub struct V8 {
    /// The object that contains it.
    pub object: Arc<Object>,
    /// The functions to probe, ascending by number.
    pub functions: Vec<FoundFunction>,
    /// How they were found.
    pub found_by: FoundBy,
    get_version: Option<u64>,
    max_reserved: Option<u64>,
}

/// Whether an object contains V8.
pub(super) fn is_in(scan: &Scan) -> bool {
    scan.has_mark(SIZE_OF_OBJECTS) || scan.has_mark(HEAP_STATISTICS)
}

impl V8 {
    /// Finds V8's functions in an object that contains it.
    pub fn find(object: &Arc<Object>) -> Self {
        let mut v8 = Self {
            object: Arc::clone(object),
            functions: Vec::new(),
            found_by: FoundBy::Nothing,
            get_version: None,
            max_reserved: None,
        };
        let mut statistics = None;
        object.symbols(|symbol| {
            if symbol.name.starts_with(b"_ZN") && !symbol.indirect {
                v8.look_at(symbol.name, symbol.vaddr, symbol.size);
                if symbol.name == HEAP_STATISTICS.as_bytes() {
                    statistics.get_or_insert(symbol.vaddr);
                }
            }
            ControlFlow::Continue(())
        });
        v8.functions.sort_by_key(|one| one.function);
        if v8.has(Hook::SizeOfObjects) {
            v8.found_by = FoundBy::Symbols;
        } else if let Some(found) = statistics.and_then(|at| stripped::recover(object, at)) {
            v8.keep(Hook::SizeOfObjects, found.size_of_objects, 0);
            v8.keep(Hook::CommittedMemory, found.committed_memory, 0);
            v8.max_reserved = v8.max_reserved.or(found.max_reserved);
            v8.found_by = FoundBy::CallOrder;
        } else {
            v8.functions.clear();
        }
        v8
    }

    fn look_at(&mut self, name: &[u8], vaddr: u64, size: u64) {
        if name == GET_VERSION {
            self.get_version.get_or_insert(vaddr);
        } else if MAX_RESERVED.contains(&name) {
            self.max_reserved.get_or_insert(vaddr);
        } else if let Some(hook) = Hook::of_symbol(name)
            && !self.has(hook)
        {
            self.keep(hook, vaddr, size);
        }
    }

    fn keep(&mut self, hook: Hook, vaddr: u64, size: u64) {
        let Some(function) = hook.function() else { return };
        let symbol = hook.name().to_owned();
        self.functions.push(FoundFunction { function, symbol, aliases: Vec::new(), vaddr, size });
    }

    /// Whether the function was found.
    pub fn has(&self, hook: Hook) -> bool {
        hook.function().is_some_and(|number| self.functions.iter().any(|one| one.function == number))
    }

    /// V8's version as it tells it itself, such as `11.3.244.8-node.38`: read from the process's memory.
    pub fn version(&self, maps: &[Mapping], memory: &Memory) -> Option<String> {
        let at = self.get_version?;
        let code = self.object.code(at, SMALL_FUNCTION)?;
        let bias = self.bias(at, maps)?;
        version::read(
            &code,
            at,
            &|address, buffer| read(memory, address.wrapping_add(bias), buffer),
            &|address, buffer| read(memory, address, buffer),
        )
    }

    /// The most bytes that the heap at this address may have, as V8 itself would tell: its `MaxReserved` is evaluated,
    /// not called. `None` where its code is not understood.
    pub fn heap_limit(&self, heap: u64, maps: &[Mapping], memory: &Memory) -> Option<u64> {
        let at = self.max_reserved?;
        let code = self.object.code(at, SMALL_FUNCTION)?;
        let bias = self.bias(at, maps)?;
        let limit = evaluate::evaluate(&code, at.wrapping_add(bias), heap, &|address, buffer| {
            read(memory, address, buffer)
        })?;
        PLAUSIBLE_LIMIT.contains(&limit).then_some(limit)
    }

    /// What is to be added to an address of the file for one of the process.
    fn bias(&self, code: u64, maps: &[Mapping]) -> Option<u64> {
        Some(self.object.address_of(code, maps)?.wrapping_sub(code))
    }
}

fn read(memory: &Memory, address: u64, buffer: &mut [u8]) -> bool {
    memory.read(address, buffer).is_ok_and(|count| count == buffer.len())
}
