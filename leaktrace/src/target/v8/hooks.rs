//! V8's functions that are probed: what each tells, and by which names it is found.

use std::sync::LazyLock;

use crate::target::allocator::table::{self, FUNCTIONS};

/// A function of V8 that is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// A heap is to be collected: heap, space and reason.
    Collect,
    /// The pause that the program sees begins.
    PauseBegin,
    /// It ends.
    PauseEnd,
    /// All threads of the isolate stand still: V8 takes the size before.
    SafepointBegin,
    /// They are about to go on: V8 takes the size after.
    SafepointEnd,
    /// The young generation is collected by copying.
    Scavenge,
    /// All of the heap is collected.
    MarkCompact,
    /// The young generation is collected in place.
    MinorMarkSweep,
    /// Bytes in use.
    SizeOfObjects,
    /// Bytes that V8 holds.
    CommittedMemory,
}

/// A hook, its name in the table of functions, and how the mangled names of V8 9.4 to 14.6 begin: up to the arguments
/// that are read. A name with a dot is a part that the compiler split off.
type Entry = (Hook, &'static str, &'static [&'static str]);

const ENTRIES: [Entry; 10] = [
    (
        Hook::Collect,
        "v8::Heap::CollectGarbage",
        &["_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceENS0_23GarbageCollectionReasonE"],
    ),
    (
        Hook::PauseBegin,
        "v8::GCTracer::StartObservablePause",
        &[
            "_ZN2v88internal8GCTracer20StartObservablePauseE",
            "_ZN2v88internal8GCTracer5StartENS0_16GarbageCollectorE",
        ],
    ),
    (
        Hook::PauseEnd,
        "v8::GCTracer::StopObservablePause",
        &[
            "_ZN2v88internal8GCTracer19StopObservablePauseE",
            "_ZN2v88internal8GCTracer4StopENS0_16GarbageCollectorE",
        ],
    ),
    (
        Hook::SafepointBegin,
        "v8::GCTracer::StartInSafepoint",
        &["_ZN2v88internal8GCTracer16StartInSafepointE"],
    ),
    (Hook::SafepointEnd, "v8::GCTracer::StopInSafepoint", &["_ZN2v88internal8GCTracer15StopInSafepointE"]),
    (Hook::Scavenge, "v8::Heap::Scavenge", &["_ZN2v88internal4Heap8ScavengeEv"]),
    (Hook::MarkCompact, "v8::Heap::MarkCompact", &["_ZN2v88internal4Heap11MarkCompactEv"]),
    (
        Hook::MinorMarkSweep,
        "v8::Heap::MinorMarkSweep",
        &["_ZN2v88internal4Heap14MinorMarkSweepEv", "_ZN2v88internal4Heap16MinorMarkCompactEv"],
    ),
    (Hook::SizeOfObjects, "v8::Heap::SizeOfObjects", &[super::SIZE_OF_OBJECTS]),
    (Hook::CommittedMemory, "v8::Heap::CommittedMemory", &["_ZN2v88internal4Heap15CommittedMemoryEv"]),
];

/// The numbers of the hooks in records, in the order of the entries.
static NUMBERS: LazyLock<[Option<u8>; ENTRIES.len()]> =
    LazyLock::new(|| ENTRIES.map(|(_, name, _)| table::number_of(name.as_bytes())));

impl Hook {
    /// The hook behind a mangled name.
    pub(super) fn of_symbol(name: &[u8]) -> Option<Self> {
        if !name.starts_with(b"_ZN2v88internal") || name.contains(&b'.') {
            return None;
        }
        let named = |(_, _, prefixes): &&Entry| prefixes.iter().any(|one| name.starts_with(one.as_bytes()));
        ENTRIES.iter().find(named).map(|(hook, ..)| *hook)
    }

    /// The hook behind a function's number in a record.
    pub fn of_function(function: u8) -> Option<Self> {
        let name = FUNCTIONS.get(usize::from(function))?.name;
        ENTRIES.iter().find(|(_, one, _)| *one == name).map(|(hook, ..)| *hook)
    }

    /// Its number in records.
    pub fn function(self) -> Option<u8> {
        let index = ENTRIES.iter().position(|(hook, ..)| *hook == self)?;
        NUMBERS.get(index).copied().flatten()
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        ENTRIES.iter().find(|(hook, ..)| *hook == self).map_or("", |(_, name, _)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_a_number_and_comes_back_from_it() {
        for (hook, name, _) in ENTRIES {
            let number = hook.function().unwrap();
            assert_eq!(Hook::of_function(number), Some(hook), "{name}");
            assert_eq!(hook.name(), name);
        }
        assert_eq!(Hook::of_function(1), None);
    }

    #[test]
    fn names_of_all_versions_are_known_and_those_of_their_neighbours_are_not() {
        let known: [(&str, Hook); 6] = [
            (
                "_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceENS0_23GarbageCollectionReasonENS_15GCCallbackFlagsE",
                Hook::Collect,
            ),
            (
                "_ZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceENS0_23GarbageCollectionReasonENS_15GCCallbackFlagsENS0_21PerformHeapLimitCheckE",
                Hook::Collect,
            ),
            (
                "_ZN2v88internal8GCTracer5StartENS0_16GarbageCollectorENS0_23GarbageCollectionReasonEPKc",
                Hook::PauseBegin,
            ),
            (
                "_ZN2v88internal8GCTracer19StopObservablePauseENS0_16GarbageCollectorENS_4base9TimeTicksE",
                Hook::PauseEnd,
            ),
            ("_ZN2v88internal8GCTracer16StartInSafepointEv", Hook::SafepointBegin),
            ("_ZN2v88internal4Heap13SizeOfObjectsEv", Hook::SizeOfObjects),
        ];
        for (name, hook) in known {
            assert_eq!(Hook::of_symbol(name.as_bytes()), Some(hook), "{name}");
        }
        for name in [
            "_ZN2v88internal4Heap20CollectGarbageSharedEPNS0_9LocalHeapENS0_23GarbageCollectionReasonE",
            "_ZZN2v88internal4Heap14CollectGarbageENS0_15AllocationSpaceENS0_23GarbageCollectionReasonENS_15GCCallbackFlagsEENKUlvE_clEv",
            "_ZN2v88internal4Heap15CommittedMemoryEv.part.0",
            "_ZN2v88internal4Heap25CommittedMemoryExecutableEv",
            "_ZN2v88internal20MarkCompactCollector14CollectGarbageEv",
            "_ZN2v88internal8GCTracer10StartCycleENS0_16GarbageCollectorE",
        ] {
            assert_eq!(Hook::of_symbol(name.as_bytes()), None, "{name}");
        }
    }
}
