//! Threads' caches of freed blocks (tcache). Their blocks are not marked as free, so they are looked for: a cache is a block of
//! one size in the heap, and what stands in it must fit together.

use rustc_hash::FxHashSet;

use super::layout::{ADDRESSES, ALIGNMENT, BLOCK, CacheLayout, FLAGS, HEADER, IS_MAPPED, Layout, MIN_CHUNK};
use super::lists::revealed;
use super::memory::{HeapMemory, Words};

/// Attempts at a cache that moves.
const ATTEMPTS: u32 = 8;

/// Freed blocks that threads keep for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caches {
    /// Caches that hold a block at least.
    pub caches: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Bytes of these blocks' chunks.
    pub bytes: u64,
    /// Where these blocks begin.
    pub addresses: FxHashSet<u64>,
}

/// A list: its length and its first block.
struct List {
    count: u64,
    first: u64,
}

/// Why a block is not taken for a cache.
enum Unfit {
    /// It is something else.
    Other,
    /// It looks like one, but its lists do not hold together: it may be in use at this moment.
    Moved,
}

/// The size of a chunk that is as large as a cache wants it.
pub(super) fn chunk_size(layout: &CacheLayout) -> u64 {
    (layout.bytes + HEADER).next_multiple_of(ALIGNMENT)
}

impl Caches {
    /// Looks whether the block of a chunk is a cache, and takes its blocks in.
    pub(super) fn look(&mut self, memory: &mut dyn HeapMemory, layout: &Layout, chunk: u64) {
        let mut attempt = || match read(memory, layout, chunk + BLOCK) {
            Ok(blocks) => Some(blocks),
            Err(Unfit::Other) => Some(Vec::new()),
            Err(Unfit::Moved) => None,
        };
        let blocks = (0..ATTEMPTS).find_map(|_| attempt()).unwrap_or_default();
        self.caches += u64::from(!blocks.is_empty());
        for (address, size) in blocks {
            if self.addresses.insert(address) {
                self.blocks += 1;
                self.bytes += size;
            }
        }
    }
}

/// Blocks of the cache at an address, with the sizes of their chunks.
fn read(memory: &mut dyn HeapMemory, layout: &Layout, cache: u64) -> Result<Vec<(u64, u64)>, Unfit> {
    let lists = lists(memory, &layout.cache, cache).ok_or(Unfit::Other)?;
    let mut blocks = Vec::new();
    // All blocks of all caches carry the same key.
    let mut key = None;
    for (bin, List { count, first }) in lists.into_iter().enumerate() {
        let size = MIN_CHUNK + bin as u64 * ALIGNMENT;
        let mut at = first;
        for _ in 0..count {
            let (next, its_key) = entry(memory, layout, at, size).ok_or(Unfit::Moved)?;
            if *key.get_or_insert(its_key) != its_key {
                return Err(Unfit::Moved);
            }
            blocks.push((at, size));
            at = next;
        }
        if at != 0 {
            return Err(Unfit::Moved);
        }
    }
    Ok(blocks)
}

/// All lists of a cache, if each could be one.
fn lists(memory: &mut dyn HeapMemory, layout: &CacheLayout, cache: u64) -> Option<Vec<List>> {
    let words = Words::read(memory, cache, layout.bytes as usize)?;
    let list = |bin: usize| {
        let count = u64::from(words.u16(bin * 2)?);
        let first = words.u64(layout.entries + bin * 8)?;
        let is_plausible =
            (count == 0) == (first == 0) && first.is_multiple_of(ALIGNMENT) && first < ADDRESSES;
        is_plausible.then_some(List { count, first })
    };
    (0..layout.bins).map(list).collect()
}

/// The block behind a block in its list, and its key.
fn entry(memory: &mut dyn HeapMemory, layout: &Layout, block: u64, size: u64) -> Option<(u64, u64)> {
    if block == 0 || !block.is_multiple_of(ALIGNMENT) {
        return None;
    }
    let words = Words::read(memory, block.checked_sub(BLOCK)?, 32)?;
    let header = words.u64(8)?;
    let is_entry = header & !FLAGS == size && header & IS_MAPPED == 0;
    is_entry.then_some((revealed(layout, block, words.u64(16)?), words.u64(24)?))
}
