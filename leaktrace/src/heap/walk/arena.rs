//! Arenas: which there are, and which memory is theirs.

use std::ops::Range;

use super::layout::{ADDRESSES, ALIGNMENT, HEAP_MAX, Layout};
use super::memory::{HeapMemory, Words, word_at};
use super::{Roots, WalkError};

/// More arenas than any machine has CPUs for are a ring that does not close.
const MAX_ARENAS: usize = 1 << 14;
/// Heaps of one arena: a terabyte.
const MAX_HEAPS: usize = 1 << 14;

/// Chunks one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The first chunk.
    pub(super) start: u64,
    /// No chunk reaches beyond.
    pub(super) end: u64,
    /// The arena's last chunk lies in it, and moves while the program runs.
    pub(super) holds_top: bool,
    /// Bytes before the first chunk that are the allocator's own.
    pub(super) head: u64,
}

/// An arena as it was when it was read.
#[derive(Debug)]
pub(super) struct Arena {
    pub(super) address: u64,
    pub(super) is_main: bool,
    pub(super) top: u64,
    pub(super) system_bytes: u64,
    pub(super) max_system_bytes: u64,
    /// By ascending address.
    pub(super) segments: Vec<Segment>,
}

impl Arena {
    /// All arenas, the main one first.
    pub(super) fn all(
        memory: &mut dyn HeapMemory,
        layout: &Layout,
        roots: &Roots,
    ) -> Result<Vec<Self>, WalkError> {
        let mut arenas = Vec::new();
        let mut at = roots.main_arena;
        while arenas.len() < MAX_ARENAS && at < ADDRESSES {
            let words = Words::read(memory, at, layout.arena.bytes).ok_or(WalkError::ArenaUnreadable(at))?;
            let field = |offset| words.u64(offset).ok_or(WalkError::ArenaUnreadable(at));
            let top = field(layout.arena.top)?;
            let mut arena = Self {
                address: at,
                is_main: at == roots.main_arena,
                top,
                system_bytes: field(layout.arena.system_mem)?,
                max_system_bytes: field(layout.arena.max_system_mem)?,
                segments: Vec::new(),
            };
            arena.segments = if arena.is_main {
                main_segments(memory, layout, roots, top)
            } else {
                arena.heaps(memory, layout)
            };
            arenas.push(arena);
            at = field(layout.arena.next)?;
            if at == roots.main_arena {
                return Ok(arenas);
            }
            if at == 0 || !at.is_multiple_of(8) || arenas.iter().any(|arena| arena.address == at) {
                break;
            }
        }
        Err(WalkError::RingOpen)
    }

    /// The heaps of an arena other than the main one: from the last, where its top is, back to the first.
    fn heaps(&self, memory: &mut dyn HeapMemory, layout: &Layout) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut heap = self.top & !(HEAP_MAX - 1);
        while heap != 0 && heap < ADDRESSES && segments.len() < MAX_HEAPS {
            let Some(words) = Words::read(memory, heap, layout.heap.bytes as usize) else { break };
            let (Some(owner), Some(previous), Some(size)) =
                (words.u64(0), words.u64(8), words.u64(layout.heap.size))
            else {
                break;
            };
            if owner != self.address || size > HEAP_MAX {
                break;
            }
            // The arena itself stands in the first.
            let is_first = self.address & !(HEAP_MAX - 1) == heap;
            let head = if is_first {
                (layout.heap.bytes + layout.arena.bytes as u64).next_multiple_of(ALIGNMENT)
            } else {
                layout.heap.bytes
            };
            let holds_top = (heap..heap + size).contains(&self.top);
            segments.push(Segment { start: heap + head, end: heap + size, holds_top, head });
            let is_known = segments.iter().any(|segment| segment.start - segment.head == previous);
            if is_first || is_known || !previous.is_multiple_of(HEAP_MAX) {
                break;
            }
            heap = previous;
        }
        segments.sort_by_key(|segment| segment.start);
        segments
    }

    /// Whether an address lies where this arena has chunks.
    pub(super) fn holds(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| (segment.start..segment.end).contains(&address))
    }
}

/// The main arena's: what it took by brk, and where that failed, a mapping.
fn main_segments(memory: &mut dyn HeapMemory, layout: &Layout, roots: &Roots, top: u64) -> Vec<Segment> {
    let segment = |range: &Range<u64>, start: u64| {
        let start = start.next_multiple_of(ALIGNMENT);
        Segment { start, end: range.end, holds_top: range.contains(&top), head: 0 }
    };
    let mut segments = Vec::new();
    if let Some(brk) = &roots.brk {
        let base = roots.parameters.and_then(|at| word_at(memory, at + layout.parameters.sbrk_base as u64));
        let start = base.filter(|base| brk.contains(base)).unwrap_or(brk.start);
        segments.push(segment(brk, start));
    }
    let elsewhere = roots.anonymous.iter().find(|range| range.contains(&top));
    segments.extend(elsewhere.map(|range| segment(range, range.start)));
    segments
}
