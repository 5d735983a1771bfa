//! Blocks that are mapped by themselves, because they are large. No list names them: each begins a page of memory without a
//! name, with a header that says so.

use super::Roots;
use super::arena::Arena;
use super::layout::{FLAGS, HEAP_MAX, IS_MAPPED, Layout};
use super::memory::{HeapMemory, PAGE, Words};

/// Pages that are looked at in vain: 16 GiB of memory that is not the allocator's.
const MAX_MISSES: u64 = 4 << 20;

/// Blocks with a mapping of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MappedBlocks {
    /// Blocks that were found.
    pub blocks: u64,
    /// Their bytes, as they were mapped.
    pub bytes: u64,
    /// Of these, bytes of pages that are in memory.
    pub resident_bytes: u64,
    /// Blocks by the allocator's own counter; `None` where it was not found.
    pub recorded_blocks: Option<u64>,
    /// Their bytes by the allocator's own counter.
    pub recorded_bytes: Option<u64>,
}

impl MappedBlocks {
    /// Looks for them in memory without a name. Shows address and size of each chunk.
    pub(super) fn find(
        memory: &mut dyn HeapMemory,
        layout: &Layout,
        roots: &Roots,
        arenas: &[Arena],
        visit: &mut dyn FnMut(u64, u64),
    ) -> Self {
        let mut found = Self::recorded(memory, layout, roots);
        let mut misses = 0;
        for range in &roots.anonymous {
            let mut at = range.start.next_multiple_of(PAGE);
            while at < range.end && misses < MAX_MISSES && !found.is_complete() {
                if let Some(heap) = heap_at(arenas, at) {
                    at = heap;
                } else if let Some(size) = chunk_at(memory, at, range.end) {
                    found.blocks += 1;
                    found.bytes += size;
                    found.resident_bytes += memory.resident_pages(at, at + size) * PAGE;
                    visit(at, size);
                    at += size;
                } else {
                    misses += 1;
                    at += PAGE;
                }
            }
        }
        found
    }

    fn recorded(memory: &mut dyn HeapMemory, layout: &Layout, roots: &Roots) -> Self {
        let bytes = layout.parameters.bytes;
        let words = roots.parameters.and_then(|at| Words::read(memory, at, bytes));
        Self {
            recorded_blocks: words
                .as_ref()
                .and_then(|words| words.u32(layout.parameters.n_mmaps))
                .map(u64::from),
            recorded_bytes: words.as_ref().and_then(|words| words.u64(layout.parameters.mmapped_mem)),
            ..Self::default()
        }
    }

    fn is_complete(&self) -> bool {
        self.recorded_blocks.is_some_and(|blocks| self.blocks >= blocks)
            && self.recorded_bytes.is_some_and(|bytes| self.bytes >= bytes)
    }
}

/// The end of the arena's heap that an address lies in.
fn heap_at(arenas: &[Arena], at: u64) -> Option<u64> {
    let of_others = arenas.iter().filter(|arena| !arena.is_main);
    let mut segments = of_others.flat_map(|arena| &arena.segments);
    let heap = segments.find(|segment| (segment.start - segment.head..segment.end).contains(&at))?;
    Some((heap.start - heap.head + HEAP_MAX).min(heap.end))
}

/// The size of the mapped chunk that begins at a page, if one does.
fn chunk_at(memory: &mut dyn HeapMemory, at: u64, end: u64) -> Option<u64> {
    let words = Words::read(memory, at, 16)?;
    let (before, header) = (words.u64(0)?, words.u64(8)?);
    let size = header & !FLAGS;
    let fits = size >= PAGE && size.is_multiple_of(PAGE) && size <= end - at;
    (before == 0 && header & FLAGS == IS_MAPPED && fits).then_some(size)
}
