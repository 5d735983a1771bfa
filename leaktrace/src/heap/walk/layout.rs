//! How glibc's allocator lays out its structures, by version, for x86-64. Offsets and sizes are in bytes.
//!
//! From the C library's malloc/malloc.c and malloc/arena.c. A layout is tested where a heap walk was run on a program with
//! that very version, and its figures were the library's own; see docs/limitations.md.

/// `struct malloc_state`: an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaLayout {
    /// Bytes of the structure.
    pub bytes: usize,
    /// Offset of the heads of the fastbins.
    pub fastbins: usize,
    /// Number of fastbins.
    pub fastbin_count: usize,
    /// Offset of the pointer to the chunk at the end of the heap.
    pub top: usize,
    /// Offset of the heads of the bins, two pointers each.
    pub bins: usize,
    /// Offset of the pointer to the next arena of the ring.
    pub next: usize,
    /// Offset of the bytes that the arena has from the kernel.
    pub system_mem: usize,
    /// Offset of the most bytes that it ever had.
    pub max_system_mem: usize,
}

/// `struct _heap_info`: what stands at the start of each heap of an arena other than the main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapLayout {
    /// Bytes of the structure; multiple of 16.
    pub bytes: u64,
    /// Offset of the bytes of the heap that are in use.
    pub size: usize,
}

/// `struct malloc_par`: what the allocator keeps beside its arenas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParametersLayout {
    /// Bytes of the structure, as far as it is read.
    pub bytes: usize,
    /// Offset of the number of blocks that are mapped by themselves (32 bits).
    pub n_mmaps: usize,
    /// Offset of their bytes.
    pub mmapped_mem: usize,
    /// Offset of the start of the main arena's heap.
    pub sbrk_base: usize,
    /// Offset of the number of lists that a thread's cache has.
    pub tcache_bins: usize,
}

/// `struct tcache_perthread_struct`: a thread's cache of freed blocks; it begins with a counter of 16 bits a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLayout {
    /// Bytes of the structure.
    pub bytes: u64,
    /// Offset of the heads of the lists.
    pub entries: usize,
    /// Number of lists.
    pub bins: usize,
}

/// How one version of the C library lays out its heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Of which version: 2.36 is (2, 36).
    pub version: (u32, u32),
    /// It was run for real, against the library's own figures.
    pub is_tested: bool,
    /// Arenas.
    pub arena: ArenaLayout,
    /// Heaps.
    pub heap: HeapLayout,
    /// Parameters.
    pub parameters: ParametersLayout,
    /// Threads' caches.
    pub cache: CacheLayout,
    /// Pointers of fastbins and caches are mangled by the address at which they stand ("safe linking").
    pub is_mangled: bool,
}

/// Heaps of arenas other than the main one lie at multiples of this, and are never larger.
pub const HEAP_MAX: u64 = 64 << 20;
/// No program has addresses at or beyond: what is read is not trusted to be any, and sums stay numbers.
pub(super) const ADDRESSES: u64 = 1 << 56;
/// The smallest chunk.
pub(super) const MIN_CHUNK: u64 = 32;
/// Chunks begin at multiples of this, and so do blocks.
pub(super) const ALIGNMENT: u64 = 16;
/// What a chunk's header takes of a block of its size.
pub(super) const HEADER: u64 = 8;
/// Where the block of a chunk begins.
pub(super) const BLOCK: u64 = 16;
/// Bits of a chunk's size word: the chunk before it is in use, the chunk is a mapping, it is not of the main arena.
pub(super) const PREVIOUS_IN_USE: u64 = 1;
pub(super) const IS_MAPPED: u64 = 2;
pub(super) const NOT_MAIN: u64 = 4;
pub(super) const FLAGS: u64 = 7;

const ARENA: ArenaLayout = ArenaLayout {
    bytes: 2200,
    fastbins: 16,
    fastbin_count: 10,
    top: 96,
    bins: 112,
    next: 2160,
    system_mem: 2184,
    max_system_mem: 2192,
};
const HEAP: HeapLayout = HeapLayout { bytes: 48, size: 16 };
/// Before huge pages came in 2.35.
const OLD_HEAP: HeapLayout = HeapLayout { bytes: 32, size: 16 };
const PARAMETERS: ParametersLayout =
    ParametersLayout { bytes: 136, n_mmaps: 60, mmapped_mem: 80, sbrk_base: 96, tcache_bins: 104 };
const OLD_PARAMETERS: ParametersLayout =
    ParametersLayout { bytes: 112, n_mmaps: 40, mmapped_mem: 56, sbrk_base: 72, tcache_bins: 80 };
const CACHE: CacheLayout = CacheLayout { bytes: 640, entries: 128, bins: 64 };

const fn new(minor: u32) -> Layout {
    Layout {
        version: (2, minor),
        is_tested: matches!(minor, 31 | 35 | 36 | 39 | 41),
        arena: ARENA,
        heap: if minor >= 35 { HEAP } else { OLD_HEAP },
        parameters: if minor >= 35 { PARAMETERS } else { OLD_PARAMETERS },
        cache: CACHE,
        is_mangled: minor >= 32,
    }
}

/// From the first version with counters of 16 bits, to the last before threads' caches were made anew.
const LAYOUTS: [Layout; 12] = [
    new(30),
    new(31),
    new(32),
    new(33),
    new(34),
    new(35),
    new(36),
    new(37),
    new(38),
    new(39),
    new(40),
    new(41),
];

/// The layout of a version, if one is known.
pub fn layout_of(version: (u32, u32)) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.version == version)
}
