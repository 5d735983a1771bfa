//! The allocator's own lists of freed chunks.

use rustc_hash::FxHashSet;

use super::arena::Arena;
use super::layout::{ALIGNMENT, FLAGS, Layout, MIN_CHUNK};
use super::memory::{HeapMemory, Words, word_at};

/// Entries of one list.
const MAX_ENTRIES: usize = 1 << 22;
/// Attempts at a list that moves.
const ATTEMPTS: u32 = 6;
/// Where a chunk's pointer to the next of its list stands.
const NEXT: u64 = 16;

/// Chunks in fastbins: freed, and not marked as free.
#[derive(Debug, Default)]
pub(super) struct FastChunks {
    pub(super) addresses: FxHashSet<u64>,
    pub(super) bytes: u64,
    /// Lists that made no sense to their end.
    pub(super) broken: u64,
}

impl FastChunks {
    pub(super) fn read(memory: &mut dyn HeapMemory, layout: &Layout, arena: &Arena) -> Self {
        let mut all = Self::default();
        for bin in 0..layout.arena.fastbin_count {
            let size = MIN_CHUNK + bin as u64 * ALIGNMENT;
            let head = arena.address + (layout.arena.fastbins + bin * 8) as u64;
            let mut list = FxHashSet::default();
            let is_whole = (0..ATTEMPTS).any(|_| {
                list.clear();
                fast_list(memory, layout, arena, head, size, &mut list)
            });
            all.broken += u64::from(!is_whole);
            all.bytes += size * list.len() as u64;
            all.addresses.extend(list);
        }
        all
    }
}

/// Follows a fastbin; false where it does not end as it should. What was found until then stands in `list`.
fn fast_list(
    memory: &mut dyn HeapMemory,
    layout: &Layout,
    arena: &Arena,
    head: u64,
    size: u64,
    list: &mut FxHashSet<u64>,
) -> bool {
    let Some(mut at) = word_at(memory, head) else { return false };
    while at != 0 {
        let is_chunk = at.is_multiple_of(ALIGNMENT) && arena.holds(at);
        if !is_chunk || list.len() >= MAX_ENTRIES {
            return false;
        }
        let Some(words) = Words::read(memory, at, 24) else { return false };
        let (Some(header), Some(next)) = (words.u64(8), words.u64(16)) else { return false };
        if header & !FLAGS != size || !list.insert(at) {
            return false;
        }
        at = revealed(layout, at + NEXT, next);
    }
    true
}

/// A pointer of a list as it was before it was mangled by where it stands.
pub(super) fn revealed(layout: &Layout, place: u64, pointer: u64) -> u64 {
    if layout.is_mangled { (place >> 12) ^ pointer } else { pointer }
}

/// Chunks in the bins, as far as the lists can be followed: places where a walk can begin anew.
pub(super) fn binned(memory: &mut dyn HeapMemory, layout: &Layout, arena: &Arena) -> Vec<u64> {
    /// Bins 1 to 126: unsorted, small, large.
    const BINS: usize = 127;
    let mut found = FxHashSet::default();
    for bin in 0..BINS {
        // A bin poses as a chunk whose list pointers are its two words.
        let place = arena.address + (layout.arena.bins + bin * 16) as u64;
        let bin = place - NEXT;
        let Some(mut at) = word_at(memory, place) else { continue };
        while at != bin && found.len() < MAX_ENTRIES {
            if !at.is_multiple_of(ALIGNMENT) || !arena.holds(at) || !found.insert(at) {
                break;
            }
            let Some(next) = word_at(memory, at + NEXT) else { break };
            at = next;
        }
    }
    found.into_iter().collect()
}
