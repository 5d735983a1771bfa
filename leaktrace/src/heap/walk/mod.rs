//! The heap of the C library (glibc), read from outside: what is handed out and what is free, also of what was allocated
//! before anybody watched. Pure: the memory is read through [`HeapMemory`].
//!
//! Nothing that is read is trusted: every list, ring and walk has an end, and what could not be read shows in the coverage.

mod arena;
mod cache;
mod chunks;
pub mod layout;
mod lists;
mod mapped;
mod memory;
mod pages;
mod scan;
mod sizes;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use cache::Caches;
pub use layout::{Layout, layout_of};
pub use mapped::MappedBlocks;
pub use memory::{HeapMemory, PAGE};
pub use pages::PageOccupancy;
pub use scan::{find_main_arena, find_parameters};
pub use sizes::{SizeClass, SizeClasses};

use arena::Arena;
use chunks::{Chunk, Covered, State, Walk};
use layout::{ADDRESSES, BLOCK, HEADER};
use lists::FastChunks;
use pages::{PageMeter, Trimmable};

/// Where a walk begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// Address of the main arena.
    pub main_arena: u64,
    /// Address of the allocator's parameters, if known: the start of the main heap and the number of mapped blocks.
    pub parameters: Option<u64>,
    /// What the program took by brk.
    pub brk: Option<Range<u64>>,
    /// Writable private memory without a name, by ascending address.
    pub anonymous: Vec<Range<u64>>,
}

impl Roots {
    /// Without what no program can have.
    fn within_addresses(&self) -> Self {
        let is_possible = |range: &&Range<u64>| range.end <= ADDRESSES;
        Self {
            main_arena: self.main_arena,
            parameters: self.parameters.filter(|parameters| *parameters < ADDRESSES),
            brk: self.brk.as_ref().filter(is_possible).cloned(),
            anonymous: self.anonymous.iter().filter(is_possible).cloned().collect(),
        }
    }

    /// Whether an address lies where a heap may be.
    fn is_heap(&self, address: u64) -> bool {
        self.brk.iter().chain(&self.anonymous).any(|range| range.contains(&address))
    }
}

/// Why there is no walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// An arena cannot be read.
    #[error("the arena at {0:#x} cannot be read")]
    ArenaUnreadable(u64),
    /// The arenas do not form a ring.
    #[error("the arenas do not form a ring")]
    RingOpen,
}

/// A block that is handed out or in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedBlock {
    /// Where it begins: the address that the program was given.
    pub address: u64,
    /// Bytes that the program may use.
    pub usable: u64,
}

/// One arena. Bytes are of chunks, with their headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArenaWalk {
    /// Where its structure stands.
    pub address: u64,
    /// Heaps that it consists of.
    pub heaps: u64,
    /// Bytes that it has from the kernel.
    pub system_bytes: u64,
    /// The most that it ever had.
    pub max_system_bytes: u64,
    /// Free bytes: in fastbins, in bins, and at the end.
    pub free_bytes: u64,
    /// Free chunks, those of fastbins and the one at the end included.
    pub free_chunks: u64,
    /// Of the free bytes, those in fastbins.
    pub fast_bytes: u64,
    /// Chunks in fastbins.
    pub fast_chunks: u64,
    /// The free chunk at the end.
    pub top_bytes: u64,
    /// The largest free chunk.
    pub largest_free_bytes: u64,
    /// Chunks that are handed out or in a thread's cache.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Bytes that the walk understood, of `system_bytes`.
    pub covered_bytes: u64,
    /// Freed bytes in memory that `malloc_trim` would give back.
    pub trimmable_bytes: u64,
}

impl ArenaWalk {
    /// Bytes that are not free, as the library counts: blocks in threads' caches and the arena's own structures, too.
    pub fn in_use_bytes(&self) -> u64 {
        self.system_bytes.saturating_sub(self.free_bytes)
    }
}

/// A whole heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeapWalk {
    /// The main arena first.
    pub arenas: Vec<ArenaWalk>,
    /// Freed blocks that threads keep.
    pub caches: Caches,
    /// Blocks with a mapping of their own.
    pub mapped: MappedBlocks,
    /// Blocks by size, those in threads' caches and mapped ones included.
    pub sizes: SizeClasses,
    /// Pages of the arenas. Blocks in threads' caches count as handed out, as their pages cannot be given back.
    pub pages: PageOccupancy,
    /// Places that were looked at again.
    pub retries: u64,
    /// Places that made no sense all the same, behind which the walk began anew, and lists that did not.
    pub gaps: u64,
}

impl HeapWalk {
    /// Which part of the arenas' bytes was understood.
    pub fn coverage(&self) -> f64 {
        let system = self.total(|arena| arena.system_bytes);
        let covered = self.total(|arena| arena.covered_bytes.min(arena.system_bytes));
        if system == 0 { 1.0 } else { covered as f64 / system as f64 }
    }

    /// Sum of a figure over the arenas.
    pub fn total(&self, figure: impl Fn(&ArenaWalk) -> u64) -> u64 {
        self.arenas.iter().map(figure).fold(0, u64::saturating_add)
    }
}

/// Walks through the heap. Shows each block that is handed out or in a thread's cache to `visit`; which are in a cache is
/// known at the end.
pub fn walk(
    memory: &mut dyn HeapMemory,
    layout: &Layout,
    roots: &Roots,
    visit: &mut dyn FnMut(WalkedBlock),
) -> Result<HeapWalk, WalkError> {
    let roots = &roots.within_addresses();
    let arenas = Arena::all(memory, layout, roots)?;
    let mut found = HeapWalk::default();
    let mut window = Vec::new();
    for arena in &arenas {
        let walked = walk_arena(memory, layout, arena, &mut window, &mut found, visit);
        found.arenas.push(walked);
    }
    let sizes = &mut found.sizes;
    found.mapped = MappedBlocks::find(memory, layout, roots, &arenas, &mut |address, size| {
        let block = WalkedBlock { address: address + BLOCK, usable: size - BLOCK };
        sizes.add(block.usable);
        visit(block);
    });
    Ok(found)
}

fn walk_arena(
    memory: &mut dyn HeapMemory,
    layout: &Layout,
    arena: &Arena,
    window: &mut Vec<u8>,
    found: &mut HeapWalk,
    visit: &mut dyn FnMut(WalkedBlock),
) -> ArenaWalk {
    let fast = FastChunks::read(memory, layout, arena);
    found.gaps += fast.broken;
    let mut walked = ArenaWalk {
        address: arena.address,
        heaps: arena.segments.len() as u64,
        max_system_bytes: arena.max_system_bytes,
        fast_bytes: fast.bytes,
        fast_chunks: fast.addresses.len() as u64,
        free_bytes: fast.bytes,
        free_chunks: fast.addresses.len() as u64,
        ..ArenaWalk::default()
    };
    let cache_size = cache::chunk_size(&layout.cache);
    let (mut meter, mut trimmable) = (PageMeter::default(), Trimmable::default());
    for segment in &arena.segments {
        let mut take = |memory: &mut dyn HeapMemory, chunk: Chunk| {
            let is_fast = chunk.state == State::InUse && fast.addresses.contains(&chunk.address);
            let end = chunk.address + chunk.size;
            let is_live = chunk.state == State::InUse && !is_fast || chunk.state == State::Fence;
            meter.add(memory, chunk.address, end, is_live);
            match chunk.state {
                State::Fence => trimmable.end(memory),
                State::Top => {
                    trimmable.top(memory, chunk.address, end, arena.is_main);
                    walked.top_bytes = chunk.size;
                    walked.free(chunk.size);
                }
                State::Free => {
                    trimmable.free(memory, chunk.address, end);
                    walked.free(chunk.size);
                }
                State::InUse if is_fast => trimmable.free(memory, chunk.address, end),
                State::InUse => {
                    trimmable.end(memory);
                    walked.blocks += 1;
                    walked.block_bytes += chunk.size;
                    found.sizes.add(chunk.size - HEADER);
                    if chunk.size == cache_size {
                        found.caches.look(memory, layout, chunk.address);
                    }
                    visit(WalkedBlock { address: chunk.address + BLOCK, usable: chunk.size - HEADER });
                }
            }
        };
        let head = segment.start - segment.head;
        if segment.head > 0 {
            take(memory, Chunk { address: head, size: segment.head, state: State::Fence });
        }
        let mut known = |memory: &mut dyn HeapMemory| lists::binned(memory, layout, arena);
        let Covered { bytes, retries, gaps } =
            Walk::new(memory, layout, arena, segment, window).run(&mut known, &mut take);
        walked.covered_bytes += bytes;
        found.retries += retries;
        found.gaps += gaps;
    }
    trimmable.end(memory);
    meter.finish(memory);
    // It may have grown or shrunk meanwhile; what was walked is nearer to what it is now.
    let system = memory::word_at(memory, arena.address + layout.arena.system_mem as u64);
    walked.system_bytes = system.unwrap_or(arena.system_bytes);
    walked.trimmable_bytes = trimmable.pages * PAGE;
    found.pages.add(&meter.occupancy);
    walked
}

impl ArenaWalk {
    fn free(&mut self, bytes: u64) {
        self.free_bytes += bytes;
        self.free_chunks += 1;
        self.largest_free_bytes = self.largest_free_bytes.max(bytes);
    }
}
