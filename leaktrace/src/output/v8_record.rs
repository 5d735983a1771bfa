//! V8 in the records of a trace: where it is, its heaps at a tick, and its collections.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// V8 inside the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct V8 {
    /// Path of the object that contains it.
    pub path: String,
    /// GNU build-id of the object, in hex.
    #[serde(default)]
    pub build_id: Option<String>,
    /// Its version, as it tells it itself; null where that cannot be read.
    #[serde(default)]
    pub version: Option<String>,
    /// How its functions were found: `symbols`, `call_order` in a stripped object, or `none`: its heap cannot be read.
    #[serde(default)]
    pub found_by: String,
    /// Names of the functions found.
    #[serde(default)]
    pub functions: Vec<String>,
}

/// The JavaScript heap of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct V8Heap {
    /// Bytes in use after the last mark-compact, of all isolates together; null before the first.
    pub used_bytes: Option<u64>,
    /// The isolates that collected since attach: the main thread's, and those of workers; at most 64, the largest.
    #[serde(default)]
    pub isolates: Vec<IsolateTick>,
    /// Where the resident set goes; null once the process is gone.
    #[serde(default)]
    pub rss: Option<V8Rss>,
}

/// One JavaScript heap at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IsolateTick {
    /// Its number within the process, from 1 on, in the order of first collections.
    pub isolate: u32,
    /// Address of its heap within V8, in hex.
    pub heap: String,
    /// Bytes in use when V8 last took the size: at the end of its last collection, or when the program asked.
    pub used_bytes: u64,
    /// Bytes in use after its last mark-compact; null before the first.
    pub baseline_bytes: Option<u64>,
    /// Bytes that V8 holds for it; null where V8 does not tell.
    pub committed_bytes: Option<u64>,
    /// The most bytes it may have before the program ends; null where that is not known.
    pub limit_bytes: Option<u64>,
    /// Where the limit is known from: `v8` (as V8 computes it) or `--max-old-space-size`.
    pub limit_source: Option<String>,
    /// Collections since attach.
    pub collections: u64,
    /// How many of them were mark-compacts.
    pub mark_compacts: u64,
    /// Seconds in pauses since attach.
    pub pause_s: f64,
    /// Collections a second over the last 30 s.
    pub collections_per_s: f64,
    /// Share of the last 30 s that its thread stood still for them, 0..1.
    pub pause_share: f64,
    /// Bytes it allocated a second over the last 30 s; null before its second collection.
    pub allocated_bytes_per_s: Option<f64>,
    /// Share of the bytes in use that survived the collections of the last 30 s, 0..1.
    pub survival: Option<f64>,
}

/// Where the resident set of a process with V8 goes, in bytes. The parts add up to the resident set, as far as their
/// sources agree: live blocks and V8's pages need not be resident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct V8Rss {
    /// In use in V8's heaps.
    pub v8_used_bytes: u64,
    /// Held by V8's heaps, but not in use; null where V8 does not tell.
    pub v8_unused_bytes: Option<u64>,
    /// Live blocks that hold the contents of Buffers and other array buffers, allocated since attach; as far as the
    /// names of their call sites are known.
    pub external_bytes: u64,
    /// Other live blocks allocated since attach.
    pub native_live_bytes: u64,
    /// Resident pages of the allocator beyond the live blocks, at least: its free memory, and blocks that are older than
    /// the trace; null where its pages cannot be told from others.
    pub allocator_slack_bytes: Option<u64>,
    /// Stacks of threads.
    pub stack_bytes: u64,
    /// Pages of files, and shared memory.
    pub file_bytes: u64,
    /// The rest: compiled code, memory mapped directly, what the other parts miss.
    pub other_bytes: u64,
}

/// V8 collected garbage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gc {
    /// Seconds since attach, at the end of the pause.
    pub t: f64,
    /// Process id.
    pub pid: u32,
    /// Number of the isolate within the process, from 1 on.
    pub isolate: u32,
    /// What was collected.
    pub kind: GcKind,
    /// Why, in V8's own words; its number where this version's words are not known, null where it was not seen.
    pub reason: Option<String>,
    /// How long the program stood still, milliseconds.
    pub pause_ms: f64,
    /// Bytes in use before.
    pub before_bytes: Option<u64>,
    /// Bytes in use after.
    pub after_bytes: Option<u64>,
    /// Bytes that V8 holds, after; null where V8 does not tell.
    pub committed_bytes: Option<u64>,
}

/// What a collection collected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GcKind {
    /// The young generation, by copying.
    #[default]
    Scavenge,
    /// The whole heap: what is left is reachable.
    MarkCompact,
    /// The young generation, in place.
    MinorMarkSweep,
    /// Not known.
    Unknown,
}
