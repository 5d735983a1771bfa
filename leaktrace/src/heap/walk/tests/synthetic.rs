//! Heaps made by hand, as glibc 2.36 lays them out. They test the reading, not the layout: that real programs do.

use std::ops::Range;

use crate::heap::walk::layout::{FLAGS, Layout, NOT_MAIN, PREVIOUS_IN_USE, layout_of};
use crate::heap::walk::{HeapMemory, PAGE, Roots};

/// Where the variables of the library are.
pub(super) const DATA: u64 = 0x7f00_0000_0000;
/// Where the main heap is.
pub(super) const HEAP: u64 = 0x5500_0000_0000;
/// The key of blocks in caches.
const KEY: u64 = 0x1234_5678_9abc_def1;

/// Memory in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pieces: Vec<(u64, Vec<u8>)>,
    /// Pages that are not in memory.
    pub(super) away: Vec<Range<u64>>,
}

impl Memory {
    pub(super) fn map(&mut self, start: u64, bytes: u64) {
        self.pieces.push((start, vec![0; bytes as usize]));
    }

    pub(super) fn set(&mut self, address: u64, value: u64) {
        let piece = self
            .pieces
            .iter_mut()
            .find(|(start, bytes)| (*start..*start + bytes.len() as u64).contains(&address));
        let (start, bytes) = piece.expect("mapped");
        let at = (address - *start) as usize;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    pub(super) fn get(&mut self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn bytes_mut(&mut self, index: usize) -> &mut Vec<u8> {
        &mut self.pieces[index].1
    }

    fn is_away(&self, page: u64) -> bool {
        self.away.iter().any(|range| range.contains(&page))
    }
}

impl HeapMemory for Memory {
    fn read(&mut self, address: u64, buffer: &mut [u8]) -> usize {
        let Some((start, bytes)) = self.pieces.iter().find(|(start, bytes)| {
            address.checked_sub(*start).is_some_and(|within| within < bytes.len() as u64)
        }) else {
            return 0;
        };
        let mut until = address;
        let end = (address + buffer.len() as u64).min(start + bytes.len() as u64);
        while until < end && !self.is_away(until - until % PAGE) {
            until = (until - until % PAGE + PAGE).min(end);
        }
        let (from, to) = ((address - start) as usize, (until.max(address) - start) as usize);
        buffer[..to - from].copy_from_slice(&bytes[from..to]);
        to - from
    }

    fn resident_pages(&mut self, start: u64, end: u64) -> u64 {
        let is_mapped = |page: u64| {
            self.pieces.iter().any(|(start, bytes)| (*start..*start + bytes.len() as u64).contains(&page))
        };
        (start..end).step_by(PAGE as usize).filter(|page| is_mapped(*page) && !self.is_away(*page)).count()
            as u64
    }
}

/// What a chunk of a heap is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Used,
    Free,
    Fast,
    Cached,
}

/// A heap with its library.
pub(super) struct Synthetic {
    pub(super) memory: Memory,
    pub(super) roots: Roots,
    pub(super) layout: &'static Layout,
    /// Addresses of the chunks.
    pub(super) chunks: Vec<u64>,
    pub(super) top: u64,
    pub(super) end: u64,
}

impl Synthetic {
    /// A main heap of these chunks, behind the cache of the one thread, which holds those that are cached.
    pub(super) fn main(chunks: &[(u64, Kind)]) -> Self {
        let layout = layout_of((2, 36)).unwrap();
        let mut memory = Memory::default();
        memory.map(DATA, 0x4000);
        let cache_chunk = 0x290;
        let used: u64 = cache_chunk + chunks.iter().map(|(size, _)| size).sum::<u64>();
        let bytes = (used + 0x1000).next_multiple_of(PAGE);
        memory.map(HEAP, bytes);
        let (main_arena, parameters) = (DATA + 0xc60, DATA + 0x340);
        let roots = Roots {
            main_arena,
            parameters: Some(parameters),
            brk: Some(HEAP..HEAP + bytes),
            anonymous: Vec::new(),
        };
        let mut made =
            Self { memory, roots, layout, chunks: Vec::new(), top: HEAP + used, end: HEAP + bytes };
        made.variables(bytes);
        made.memory.set(HEAP + 8, cache_chunk | PREVIOUS_IN_USE);
        let mut at = HEAP + cache_chunk;
        let mut before: Option<(u64, Kind)> = None;
        for &(size, kind) in chunks {
            made.chunk(at, size, kind, before);
            before = Some((size, kind));
            at += size;
        }
        made.chunk(at, made.end - at, Kind::Used, before);
        made.chunks.pop();
        made
    }

    fn variables(&mut self, bytes: u64) {
        let arena = self.roots.main_arena;
        let fields = &self.layout.arena;
        for bin in 0..127 {
            let place = arena + (fields.bins + bin * 16) as u64;
            self.memory.set(place, place - 16);
            self.memory.set(place + 8, place - 16);
        }
        self.memory.set(arena + fields.top as u64, self.top);
        self.memory.set(arena + fields.next as u64, arena);
        self.memory.set(arena + fields.system_mem as u64, bytes);
        self.memory.set(arena + fields.max_system_mem as u64, bytes);
        let parameters = DATA + 0x340;
        self.memory.set(parameters + self.layout.parameters.sbrk_base as u64, HEAP);
        self.memory.set(parameters + self.layout.parameters.tcache_bins as u64, 64);
    }

    fn chunk(&mut self, at: u64, size: u64, kind: Kind, before: Option<(u64, Kind)>) {
        let follows_free = before.is_some_and(|(_, kind)| kind == Kind::Free);
        if let Some((size, Kind::Free)) = before {
            self.memory.set(at, size);
        }
        self.memory.set(at + 8, size | if follows_free { 0 } else { PREVIOUS_IN_USE });
        match kind {
            Kind::Used => {}
            Kind::Free => self.bin(at),
            Kind::Fast => self.fast(at, size),
            Kind::Cached => self.cached(at, size),
        }
        self.chunks.push(at);
    }

    /// Puts a chunk in front of the unsorted ones.
    fn bin(&mut self, at: u64) {
        let place = self.roots.main_arena + self.layout.arena.bins as u64;
        let first = self.memory.get(place);
        self.memory.set(at + 16, first);
        self.memory.set(at + 24, place - 16);
        self.memory.set(place, at);
        self.memory.set(first + 24, at);
    }

    fn fast(&mut self, at: u64, size: u64) {
        let place = self.roots.main_arena + self.layout.arena.fastbins as u64 + (size - 32) / 16 * 8;
        let first = self.memory.get(place);
        self.memory.set(at + 16, ((at + 16) >> 12) ^ first);
        self.memory.set(place, at);
    }

    fn cached(&mut self, at: u64, size: u64) {
        let (cache, bin) = (HEAP + 16, (size - 32) / 16);
        let place = cache + self.layout.cache.entries as u64 + bin * 8;
        let first = self.memory.get(place);
        let block = at + 16;
        self.memory.set(block, (block >> 12) ^ first);
        self.memory.set(block + 8, KEY);
        self.memory.set(place, block);
        let counter = cache + bin * 2;
        let (word, shift) = (counter & !7, (counter & 7) * 8);
        let counters = self.memory.get(word);
        self.memory.set(word, counters + (1 << shift));
    }

    /// Marks all chunks as not of the main arena.
    pub(super) fn mark_not_main(&mut self) {
        for chunk in self.chunks.clone() {
            let word = self.memory.get(chunk + 8);
            self.memory.set(chunk + 8, word | NOT_MAIN);
        }
    }

    /// The size of a chunk as its header has it.
    pub(super) fn size(&mut self, index: usize) -> u64 {
        self.memory.get(self.chunks[index] + 8) & !FLAGS
    }
}
