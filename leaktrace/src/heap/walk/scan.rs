//! Finds the allocator's roots in the C library's variables by what they look like, where no symbols name them.

use std::ops::Range;

use super::Roots;
use super::layout::{ADDRESSES, ALIGNMENT, ArenaLayout, Layout};
use super::memory::{PAGE, word};

/// Bins of an arena.
const BINS: usize = 127;
/// Most bins of any program are empty, and then point to themselves.
const EMPTY_BINS: usize = 48;

/// The main arena, in a copy of variables that stand at `address`. `None` where none is, or two could be, or nothing was
/// allocated yet.
pub fn find_main_arena(data: &[u8], address: u64, layout: &Layout, roots: &Roots) -> Option<u64> {
    let last = data.len().checked_sub(layout.arena.bytes).filter(|_| address < ADDRESSES)?;
    let mut found = (0..=last).step_by(8).filter(|offset| {
        data.get(*offset..)
            .is_some_and(|arena| is_arena(arena, address + *offset as u64, &layout.arena, roots))
    });
    let first = found.next()?;
    found.next().is_none().then_some(address + first as u64)
}

fn is_arena(arena: &[u8], address: u64, layout: &ArenaLayout, roots: &Roots) -> bool {
    let field = |offset| word(arena, offset).unwrap_or(0);
    let (top, next) = (field(layout.top), field(layout.next));
    let (system, most) = (field(layout.system_mem), field(layout.max_system_mem));
    let has_memory = top != 0 && top.is_multiple_of(ALIGNMENT) && roots.is_heap(top);
    if !has_memory || next == 0 || !next.is_multiple_of(8) || system == 0 || system > most {
        return false;
    }
    let bins = (0..BINS).map(|bin| {
        let place = layout.bins + bin * 16;
        let poses_at = address + place as u64 - 16;
        (field(place), field(place + 8), poses_at)
    });
    let (mut empty, mut wrong) = (0, false);
    for (forward, backward, itself) in bins {
        empty += usize::from(forward == itself && backward == itself);
        wrong |= forward == 0 || backward == 0 || (forward == itself) != (backward == itself);
    }
    !wrong && empty >= EMPTY_BINS
}

/// The allocator's parameters, in a copy of variables that stand at `address`.
pub fn find_parameters(data: &[u8], address: u64, layout: &Layout, brk: &Range<u64>) -> Option<u64> {
    let parameters = &layout.parameters;
    let last = data.len().checked_sub(parameters.bytes).filter(|_| address < ADDRESSES)?;
    let is_wanted = |offset: &usize| {
        let Some(candidate) = data.get(*offset..) else { return false };
        let field = |offset| word(candidate, offset).unwrap_or(0);
        let half = |offset| field(offset) & 0xffff_ffff;
        let (count, bytes) = (half(parameters.n_mmaps), field(parameters.mmapped_mem));
        // Counters of how many there are and ever were stand behind each other: now, limit, most.
        let most = half(parameters.n_mmaps + 8);
        brk.contains(&field(parameters.sbrk_base))
            // Tunables make it smaller, but never 0.
            && (1..=layout.cache.bins as u64).contains(&field(parameters.tcache_bins))
            && bytes.is_multiple_of(PAGE)
            && (count == 0) == (bytes == 0)
            && count <= most
    };
    let mut found = (0..=last).step_by(8).filter(is_wanted);
    let first = found.next()?;
    found.next().is_none().then_some(address + first as u64)
}
