//! The parts of a tick that tell of the memory of a process beyond its traced blocks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::walk_record::HeapSize;

/// Memory that a process mapped directly, outside of its allocation functions: not part of the counts beside it.
/// Anonymous mappings only; sizes in whole pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mapped {
    /// Bytes mapped since attach (or since exec), with access, and not unmapped.
    pub live_bytes: u64,
    /// Mappings made since attach (or since exec) of which something is left, with or without access.
    pub live_count: u64,
    /// The largest live bytes seen.
    pub peak_live_bytes: u64,
    /// Bytes of these mappings that may not be accessed (`PROT_NONE`): address space, not memory.
    pub reserved_bytes: u64,
    /// Mappings made since attach; a remap that succeeded is one.
    pub maps: u64,
    /// Mappings that are gone to their last byte.
    pub unmaps: u64,
    /// Bytes that came with access, or were given it, since attach.
    pub mapped_bytes: u64,
    /// Bytes that were unmapped, replaced or lost their access since attach.
    pub unmapped_bytes: u64,
    /// Unmaps and remaps of ranges that are not known: files, older than the trace, or an allocator's own.
    pub unknown_unmaps: u64,
}

impl Mapped {
    /// The figures of two processes together; the peaks need not have been at the same time.
    pub(super) fn plus(&self, other: &Self) -> Self {
        Self {
            live_bytes: self.live_bytes.saturating_add(other.live_bytes),
            live_count: self.live_count.saturating_add(other.live_count),
            peak_live_bytes: self.peak_live_bytes.saturating_add(other.peak_live_bytes),
            reserved_bytes: self.reserved_bytes.saturating_add(other.reserved_bytes),
            maps: self.maps.saturating_add(other.maps),
            unmaps: self.unmaps.saturating_add(other.unmaps),
            mapped_bytes: self.mapped_bytes.saturating_add(other.mapped_bytes),
            unmapped_bytes: self.unmapped_bytes.saturating_add(other.unmapped_bytes),
            unknown_unmaps: self.unknown_unmaps.saturating_add(other.unknown_unmaps),
        }
    }
}

/// The resident set by kind of page, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RssSplit {
    /// Anonymous pages: heaps, stacks.
    pub anon_bytes: u64,
    /// Pages of files.
    pub file_bytes: u64,
    /// Shared memory.
    pub shmem_bytes: u64,
    /// Swapped out (not part of the resident set).
    pub swap_bytes: u64,
}

/// A limit on the memory of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryLimit {
    /// What sets it: `memory.max`, `memory.high` or `memory.limit_in_bytes` of a control group, `RLIMIT_AS`, `RLIMIT_DATA`.
    pub name: String,
    /// The limit in bytes.
    pub limit_bytes: u64,
    /// Bytes that may still come before it is reached; of a control group after file pages that are not in use are
    /// given up.
    pub headroom_bytes: u64,
}

/// Blocks that are older than the trace, as the first walk through the heap found them (`--heap-walk`). They are part of
/// the live blocks, at a site of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BeforeAttach {
    /// Id of their site.
    pub site: u32,
    /// Bytes that were found: what may be used of the blocks, which is a little more than what was asked for.
    pub found_bytes: u64,
    /// Blocks that were found.
    pub found_count: u64,
    /// Bytes of those that are left.
    pub live_bytes: u64,
    /// Those that are left.
    pub live_count: u64,
    /// Those that are left, by size.
    pub sizes: Vec<HeapSize>,
}

/// How the heap of the C library is used, by the last walk through it (`--heap-walk`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Fragmentation {
    /// When that was, in seconds since attach.
    #[serde(default)]
    pub t: f64,
    /// Which part of the arenas' pages in memory is handed out; null where nothing is in memory.
    pub utilisation: Option<f64>,
    /// 1 − largest free chunk ÷ all free bytes; null where nothing is free.
    #[serde(default)]
    pub external: Option<f64>,
    /// Bytes of the arenas' pages that are in memory.
    #[serde(default)]
    pub resident_bytes: u64,
    /// Free bytes of the arenas, in memory or not.
    #[serde(default)]
    pub free_bytes: u64,
    /// Bytes that would go back to the kernel if what is handed out stood side by side.
    #[serde(default)]
    pub compaction_bytes: u64,
    /// Bytes that `malloc_trim(0)` would give back.
    #[serde(default)]
    pub trimmable_bytes: u64,
    /// Which part of the arenas was understood, from 0 to 1.
    #[serde(default)]
    pub coverage: f64,
}
