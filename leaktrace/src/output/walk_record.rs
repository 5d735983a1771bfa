//! The record of `leaktrace heapwalk`: where the memory of a process is, and the heap of the C library read from outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the memory of a process is, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapWalkRecord {
    /// Seconds since attach; 0 without a trace.
    pub t: f64,
    /// Process id.
    pub pid: u32,
    /// Name of the process, as the kernel keeps it (15 bytes).
    pub comm: String,
    /// The allocator: `glibc`, `jemalloc`, …
    pub allocator: String,
    /// What is in memory, by what it is used for.
    pub rss: RssParts,
    /// The heap of the C library, as it was read; null where the process allocates by another allocator.
    pub heap: Option<HeapFigures>,
    /// What the figures mean, and what helps; null where nothing is to be said.
    pub advice: Option<String>,
    /// How long it took, in milliseconds.
    pub walk_ms: f64,
}

/// Bytes of pages in memory, by what they are used for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RssParts {
    /// All of them.
    pub rss_bytes: u64,
    /// The allocator's. Of an allocator whose heap cannot be read all memory without a file that is no stack.
    pub heap_bytes: u64,
    /// Stacks of threads.
    pub stack_bytes: u64,
    /// Mapped files, with what the program changed of them.
    pub file_bytes: u64,
    /// Memory without a file that is left, where the process has a runtime with a heap of its own; else null.
    pub runtime_bytes: Option<u64>,
    /// What is left.
    pub other_bytes: u64,
    /// Bytes that are swapped out; not in any of the above.
    pub swap_bytes: u64,
    /// Of the heap's bytes, those of live blocks; null where it is not known what is live.
    #[serde(default)]
    pub live_bytes: Option<u64>,
    /// The rest of the heap's bytes: free, kept for later, or the allocator's own; null where that is not known.
    #[serde(default)]
    pub slack_bytes: Option<u64>,
}

/// A heap of the C library (glibc).
///
/// Bytes of chunks include their headers; `live_bytes` and sizes are what the program may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapFigures {
    /// Version of the library.
    pub version: String,
    /// Reading this version's heap was tested against its own figures.
    pub layout_tested: bool,
    /// How the allocator's variables were found: by `symbols`, or by what they look like in its `data`.
    pub found_by: String,
    /// Which part of `system_bytes` was understood, from 0 to 1: what moved while it was read, or is not in memory, may be
    /// missing.
    pub coverage: f64,
    /// Bytes that the arenas have from the kernel.
    pub system_bytes: u64,
    /// Of these, bytes that are not free as the library counts (`uordblks` of `mallinfo2`): blocks, also those in threads'
    /// caches, and the arenas' own structures.
    pub in_use_bytes: u64,
    /// Of these, bytes that are free as the library counts (`fordblks`).
    pub free_bytes: u64,
    /// Of the free bytes, those in fastbins.
    pub fast_bytes: u64,
    /// Chunks in fastbins.
    pub fast_count: u64,
    /// Of the free bytes, those at the ends of the arenas.
    pub top_bytes: u64,
    /// Free chunks.
    pub free_count: u64,
    /// The largest free chunk.
    pub largest_free_bytes: u64,
    /// Freed blocks that threads keep for themselves: bytes of their chunks.
    pub cached_bytes: u64,
    /// Freed blocks that threads keep for themselves.
    pub cached_count: u64,
    /// Threads' caches that hold a block.
    pub caches: u64,
    /// Bytes of blocks that are handed out, those with a mapping of their own included.
    pub live_bytes: u64,
    /// Blocks that are handed out.
    pub live_count: u64,
    /// Blocks with a mapping of their own that were found.
    pub mapped_count: u64,
    /// Their bytes, as they were mapped.
    pub mapped_bytes: u64,
    /// Of these, bytes that are in memory.
    #[serde(default)]
    pub mapped_resident_bytes: u64,
    /// Such blocks by the allocator's own counter (`hblks`); null where it was not found.
    pub mapped_recorded_count: Option<u64>,
    /// Their bytes by the allocator's own counter (`hblkhd`).
    pub mapped_recorded_bytes: Option<u64>,
    /// How scattered what is handed out is.
    pub fragmentation: HeapFragmentation,
    /// Blocks by size, those in threads' caches included.
    pub sizes: Vec<HeapSize>,
    /// The arenas, the main one first.
    pub arenas: Vec<HeapArena>,
    /// Places that were looked at again, because they moved.
    pub retries: u64,
    /// Places that made no sense all the same.
    pub gaps: u64,
}

/// How scattered what is handed out is, in the arenas. Blocks in threads' caches count as handed out here: their pages
/// cannot be given back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapFragmentation {
    /// Bytes of the arenas' pages that are in memory.
    pub resident_bytes: u64,
    /// Which part of them is handed out; null where nothing is in memory.
    pub utilisation: Option<f64>,
    /// 1 − largest free chunk ÷ all free bytes: near 1 where what is free is in small pieces; null where nothing is free.
    pub external: Option<f64>,
    /// Bytes that would go back to the kernel if what is handed out stood side by side.
    pub compaction_bytes: u64,
    /// Bytes that `malloc_trim(0)` would give back.
    pub trimmable_bytes: u64,
    /// Pages in memory by how much of them is handed out.
    pub pages: PageCounts,
}

/// Pages by how much of them is handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PageCounts {
    /// Nothing.
    pub empty: u64,
    /// Up to a quarter.
    pub to_25: u64,
    /// More, up to half.
    pub to_50: u64,
    /// More, up to three quarters.
    pub to_75: u64,
    /// More, but not all.
    pub below_100: u64,
    /// All.
    pub full: u64,
}

/// Blocks of similar size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeapSize {
    /// The most bytes that a block of the class has: a power of two.
    pub up_to: u64,
    /// Blocks.
    pub count: u64,
    /// Bytes that the program may use of them.
    pub bytes: u64,
}

/// An arena. Threads are spread over several, so that they do not wait for each other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapArena {
    /// Where its structure stands.
    pub address: String,
    /// Heaps that it consists of.
    pub heaps: u64,
    /// Bytes that it has from the kernel.
    pub system_bytes: u64,
    /// The most that it ever had.
    pub max_system_bytes: u64,
    /// Bytes that are not free.
    pub in_use_bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free chunks.
    pub free_count: u64,
    /// Of the free bytes, those in fastbins.
    pub fast_bytes: u64,
    /// Chunks in fastbins.
    pub fast_count: u64,
    /// The free chunk at the end.
    pub top_bytes: u64,
    /// The largest free chunk.
    pub largest_free_bytes: u64,
    /// Which part of its bytes was understood.
    pub coverage: f64,
}
