//! The records of the output stream, schema 1: one JSON object a line, told apart by `type`.
//!
//! Bytes are integers, addresses hex strings (JSON readers lose integers above 2^53), names snake_case.
//! New fields may appear; none changes its meaning within a schema number.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::memory_record::{BeforeAttach, Fragmentation, Mapped, MemoryLimit, RssSplit};

use super::heap_record::{HeapConstructor, HeapGrowth, HeapObject, HeapSnapshot};
use super::v8_record::{Gc, V8, V8Heap};
use super::verdict::VerdictRecord;
use super::walk_record::{HeapWalkRecord, RssParts};
use crate::symbol::Frame;
use crate::verdict::{Pattern, Verdict};

/// The number of the output schema.
pub const SCHEMA: u32 = 1;

/// One line of the output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// The first line: what is traced, and how.
    Header(Header),
    /// Once an interval, for each process: totals and the largest sites.
    Tick(Tick),
    /// A call site that a tick named for the first time, or whose names became known.
    Site(Site),
    /// What a series is: a leak, perhaps one, bounded, or too short to say.
    Verdict(VerdictRecord),
    /// V8 collected garbage.
    Gc(Gc),
    /// Something that the reader should know: losses, refusals, new allocators, exec.
    Notice(Notice),
    /// The last line: totals, largest sites with their stacks, and why the trace ended.
    Summary(Summary),
    /// `leaktrace heap`: what a snapshot holds in all.
    HeapSnapshot(HeapSnapshot),
    /// `leaktrace heap`: the objects of one constructor.
    HeapConstructor(HeapConstructor),
    /// `leaktrace heap`: a place that holds more in each snapshot.
    HeapGrowth(HeapGrowth),
    /// `leaktrace heap --retainers`: an object, and what keeps it alive.
    HeapObject(HeapObject),
    /// `leaktrace heapwalk`, `--heap-walk`: where the memory of a process is, and the heap of the C library.
    HeapWalk(Box<HeapWalkRecord>),
}

/// What is traced, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Seconds since attach.
    pub t: f64,
    /// Number of the output schema.
    pub schema: u32,
    /// Version of leaktrace.
    pub version: String,
    /// Wall time of the attach, RFC 3339, UTC.
    pub wall_time: String,
    /// Process id.
    pub pid: u32,
    /// Name of the process, as the kernel keeps it (15 bytes).
    pub comm: String,
    /// Path of its executable, in its own mount namespace.
    pub exe: Option<String>,
    /// Kernel release.
    pub kernel: String,
    /// How allocations are captured.
    pub capture: Capture,
    /// The allocators found, and where.
    pub allocators: Vec<Allocator>,
    /// V8, where the process contains it.
    pub v8: Option<V8>,
    /// Runtimes with a heap of their own, and what of it stays invisible.
    pub runtimes: Vec<Runtime>,
    /// The probes attached.
    pub probes: Vec<Probe>,
    /// The files of code that were mapped at the attach, and whether stacks can be followed through them by frame
    /// pointers.
    #[serde(default)]
    pub code: Vec<CodeFile>,
}

/// How allocations are captured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Capture {
    /// `return_probes`, or `plain_probes` where return probes could hurt the target.
    pub mode: String,
    /// Why, where the mode is not the usual one.
    pub why: Option<String>,
    /// Kind of kernel link that holds the probes.
    pub links: String,
    /// How stacks are taken.
    pub stacks: String,
    /// Smaller allocations are not seen, nor their frees matched; 0 where all are.
    pub min_size: u64,
    /// Samples are taken, one in so many bytes on average (`--sample`); 0 where everything is traced.
    #[serde(default)]
    pub sample_bytes: u64,
    /// The share of one CPU that tracing may take from the target (`--max-overhead`), 0..1; null without a limit.
    #[serde(default)]
    pub max_overhead: Option<f64>,
    /// Size of the ring buffers together, in bytes.
    pub ring_bytes: u64,
    /// How many ring buffers there are; 1 in recordings of versions that did not tell.
    #[serde(default = "one_ring")]
    pub rings: u32,
    /// Children are followed.
    pub children: bool,
    /// Mappings are traced too (`--mmap`).
    #[serde(default)]
    pub mappings: bool,
    /// Only V8's heap is watched, no allocation is traced (`--only v8`): counts of blocks stay 0.
    #[serde(default)]
    pub v8_only: bool,
    /// What a hit of a probe costs the thread that it stops; null in recordings of versions that did not tell.
    #[serde(default)]
    pub hit_ns: Option<HitNs>,
}

/// What a hit of a probe costs the thread that it stops, in nanoseconds. From these and the hits comes
/// `overhead.target_cpu_share`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HitNs {
    /// Measured on this machine when the trace began, in a child of leaktrace; else estimates.
    pub calibrated: bool,
    /// A hit with a record, on the five-byte nop.
    pub nop5: u32,
    /// The same on an instruction that the kernel emulates.
    pub emulated: u32,
    /// The same on an instruction that it single-steps.
    pub single_step: u32,
    /// What an allocation adds to the hit at its entry: the way back through a return probe, the stack, a larger record.
    pub return_extra: i32,
    /// What the stack and the record of an allocation add to a hit on a `ret` (plain probes).
    pub ret_extra: i32,
    /// What a free without a record adds to a hit with one, mostly less than 0; null where all calls have records, or
    /// where it was not measured.
    pub passed_free_extra: Option<i32>,
    /// The same of an allocation whose return need not be seen.
    pub passed_leaf_extra: Option<i32>,
    /// The same of an allocation that is followed to its return.
    pub passed_inner_extra: Option<i32>,
}

/// A file of code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CodeFile {
    /// Its path, in the target's mount namespace.
    pub module: String,
    /// GNU build-id, in hex.
    pub build_id: Option<String>,
    /// Whether its functions keep frame pointers: `kept`, `in_part` or `missing`; null where that cannot be told, because
    /// it has no unwind tables or only few functions.
    pub frame_pointers: Option<String>,
}

/// An allocator found in the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Allocator {
    /// `glibc`, `musl`, `jemalloc`, `tcmalloc`, `mimalloc` or `other`.
    pub name: String,
    /// Path of the object that contains it, in the target's mount namespace.
    pub path: String,
    /// GNU build-id, in hex.
    pub build_id: Option<String>,
    /// Names of the functions probed.
    pub functions: Vec<String>,
    /// Why it was chosen.
    pub why: String,
}

/// A runtime with a heap of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Runtime {
    /// Name of the runtime.
    pub name: String,
    /// What the trace shows of it.
    pub visible: String,
    /// What it cannot show.
    pub not_visible: String,
}

/// One probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// Path of the object.
    pub module: String,
    /// GNU build-id of the object, in hex.
    pub build_id: Option<String>,
    /// Symbol of the function.
    pub function: String,
    /// Offset of the probed instruction from the function's start; negative in a part split off before it.
    pub offset: i64,
    /// `entry`, `return`, or `ret` for a plain probe on a return instruction.
    pub kind: String,
    /// What a hit costs: `nop5`, `emulated` or `single_step`.
    pub cost_class: String,
}

/// The state of one process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tick {
    /// Seconds since attach.
    pub t: f64,
    /// Process id.
    pub pid: u32,
    /// Bytes allocated since attach (or since exec) and not freed; with `--heap-walk` also those from before.
    pub live_bytes: u64,
    /// Blocks allocated since attach (or since exec) and not freed; with `--heap-walk` also those from before.
    pub live_count: u64,
    /// Allocations since attach.
    pub allocs: u64,
    /// Frees of blocks allocated since attach; with `--heap-walk` also of those from before.
    pub frees: u64,
    /// Frees of blocks that were there before the trace, or whose allocation was lost or filtered out.
    pub unknown_frees: u64,
    /// Bytes allocated since attach.
    pub alloc_bytes: u64,
    /// Bytes freed since attach.
    pub free_bytes: u64,
    /// Resident set; null once the process is gone.
    pub rss_bytes: Option<u64>,
    /// The resident set by kind of page; null once the process is gone.
    pub rss_split: Option<RssSplit>,
    /// Memory mapped directly; null unless it is traced (`--mmap`).
    pub mapped: Option<Mapped>,
    /// The limit on memory that the process will reach first; null without one, and once the process is gone.
    pub memory_limit: Option<MemoryLimit>,
    /// How the heap is used; null where it is not read (`--heap-walk`).
    pub fragmentation: Option<Fragmentation>,
    /// Bytes that the allocator gave beyond what was asked for, of the live blocks allocated since attach, by its rule; null
    /// where that is not known (glibc and jemalloc are).
    #[serde(default)]
    pub internal_bytes: Option<u64>,
    /// Live blocks that were seen, where samples are taken or the trace looks in slices (see [`CaptureMode`]): counts and
    /// bytes are estimates from these then; else null.
    #[serde(default)]
    pub samples: Option<u64>,
    /// An interval that holds the true live bytes 19 times of 20, where they are estimated; else null.
    #[serde(default)]
    pub live_bytes_ci95: Option<(u64, u64)>,
    /// Blocks from before the trace, which are part of the live ones; null where they are not known (`--heap-walk`).
    #[serde(default)]
    pub before_attach: Option<Box<BeforeAttach>>,
    /// The resident set by what it is used for; null where it is not looked at (`--heap-walk`).
    #[serde(default)]
    pub rss_parts: Option<Box<RssParts>>,
    /// The JavaScript heap; null where there is none, or where it is not read.
    pub v8: Option<V8Heap>,
    /// Everything that was lost, by cause, since attach.
    pub losses: Losses,
    /// What tracing costs.
    pub overhead: Overhead,
    /// The largest sites, in the asked order.
    pub sites: Vec<SiteTick>,
}

/// Everything that was lost or could not be kept, by cause. All counts are since attach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Losses {
    /// Sum of the causes that make the figures inexact.
    pub total: u64,
    /// Count by cause; causes that did not happen are left out. `docs/output.md` explains each.
    pub causes: BTreeMap<String, u64>,
}

/// What tracing costs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overhead {
    /// Probe hits a second that gave a record, over the last interval.
    pub events_per_s: f64,
    /// Probe hits a second that gave no record, over the last interval: calls that are no samples, or too small.
    #[serde(default)]
    pub passed_per_s: f64,
    /// Share of one CPU that the probes take from the target (0..1 per CPU), over the last interval: hits times the price
    /// of each kind (`hit_ns` in the header, and what the programs take longer on this target).
    pub target_cpu_share: f64,
    /// How it is traced at the moment.
    #[serde(default)]
    pub mode: CaptureMode,
    /// Share of the last interval in which the probes on allocations stood; 1 unless the mode is `slices`.
    #[serde(default = "whole")]
    pub watched_share: f64,
    /// Where samples are taken: one in so many bytes at present. It may change where there is a limit on what tracing may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample_bytes: Option<u64>,
    /// Share of one CPU that leaktrace itself used over the last interval.
    pub own_cpu_share: f64,
    /// Resident bytes of leaktrace itself.
    pub own_rss_bytes: u64,
}

const fn whole() -> f64 {
    1.0
}

/// How a process is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CaptureMode {
    /// Every allocation and every free.
    #[default]
    Everything,
    /// Samples by bytes and their frees (`--sample`): bytes and counts are estimates.
    Samples,
    /// Everything, but for slices of time only, because it would cost more than it may (`--max-overhead`): frees between
    /// them are not seen, and bytes and counts are estimates.
    Slices,
}

/// What a call site hands out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiteKind {
    /// Blocks of an allocator.
    #[default]
    Heap,
    /// Mappings: its counts are of mappings, its bytes whole pages that may be accessed.
    Mapping,
    /// Blocks from before the trace (`--heap-walk`): its allocations are the blocks that were found, its bytes what may be
    /// used of them.
    BeforeAttach,
    /// Objects of JavaScript (`--js-sites`): its counts are of sampled objects, its bytes estimates.
    Js,
}

/// One call site at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SiteTick {
    /// Id of the site, unique within the trace; the `site` record with this id has its stack.
    pub site: u32,
    /// What is allocated there.
    #[serde(default)]
    pub kind: SiteKind,
    /// The innermost function that is not the allocator's own, where known.
    pub function: Option<String>,
    /// Bytes allocated there and not freed; with `--older-than` those of old enough blocks only.
    pub live_bytes: u64,
    /// Blocks allocated there and not freed; with `--older-than` old enough ones only.
    pub live_count: u64,
    /// Allocations there since attach.
    pub allocs: u64,
    /// Frees of blocks allocated there since attach.
    pub frees: u64,
    /// Growth of live bytes over the recent past, bytes a second; null until there is enough history.
    pub growth_bytes_per_s: Option<f64>,
    /// Age of its first allocation that was seen, seconds.
    pub age_s: f64,
    /// Its figures are estimated from samples (of `js` sites the bytes only: counts are of samples); absent where they are
    /// exact.
    #[serde(default, skip_serializing_if = "is_false")]
    pub estimated: bool,
    /// Live blocks that were seen, where its figures are estimates from these; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<u64>,
    /// An interval that holds its true live bytes 19 times of 20, where they are estimated; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live_bytes_ci95: Option<(u64, u64)>,
    /// The V8 isolate of a site of JavaScript: 0 is the main thread, others are worker threads; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolate: Option<u32>,
}

/// For fields that are left out where they say nothing.
const fn one_ring() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(super) const fn is_false(value: &bool) -> bool {
    !*value
}

/// The stack of a call site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Site {
    /// Seconds since attach.
    pub t: f64,
    /// Process id.
    pub pid: u32,
    /// Id of the site.
    pub site: u32,
    /// Innermost first; empty where the stack could not be taken.
    pub stack: Vec<Frame>,
    /// The stack was cut at its outer end.
    pub truncated: bool,
}

/// How much a notice matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    #[default]
    Info,
    /// The figures are incomplete, or something was refused.
    Warning,
    /// The trace cannot go on as asked.
    Error,
}

/// Something that the reader should know, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// Seconds since attach.
    pub t: f64,
    /// Process id that it is about.
    pub pid: u32,
    /// How much it matters.
    pub level: Level,
    /// A stable name to branch on: `lost_events`, `target_exec`, `allocator_found`, ….
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The target exited.
    TargetExited,
    /// The asked duration passed.
    Duration,
    /// The user ended it.
    #[default]
    Interrupted,
    /// A recording ended without its last frame: the run that wrote it did not end properly.
    RecordingCut,
}

/// The end of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Seconds since attach.
    pub t: f64,
    /// Why it ended.
    pub ended: EndReason,
    /// Totals of each process traced, the target first.
    pub processes: Vec<ProcessSummary>,
    /// The leaks and suspects that stand at the end: leaks first, call sites before what contains them, then by
    /// confidence × rate; at most as many as sites are shown.
    pub leaks: Vec<VerdictRecord>,
    /// How many subjects have which verdict at the end.
    pub verdicts: VerdictCounts,
    /// The largest sites of all processes, in the asked order.
    pub sites: Vec<SiteSummary>,
    /// Everything that was lost, by cause.
    pub losses: Losses,
    /// Records received from the kernel.
    pub events: u64,
    /// CPU seconds that leaktrace itself used.
    pub own_cpu_s: f64,
    /// Largest resident set of leaktrace itself.
    pub own_peak_rss_bytes: u64,
}

/// How many subjects of verdicts have which: call sites that ever were a leak or suspect, and for each process its live
/// bytes and its resident set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictCounts {
    /// Leaks.
    pub leak: u64,
    /// Suspects.
    pub suspect: u64,
    /// Bounded ones.
    pub bounded: u64,
}

/// Totals of one process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSummary {
    /// Process id.
    pub pid: u32,
    /// Name of the process.
    pub comm: String,
    /// See [`Tick::live_bytes`].
    pub live_bytes: u64,
    /// See [`Tick::live_count`].
    pub live_count: u64,
    /// See [`Tick::allocs`].
    pub allocs: u64,
    /// See [`Tick::frees`].
    pub frees: u64,
    /// See [`Tick::unknown_frees`].
    pub unknown_frees: u64,
    /// See [`Tick::alloc_bytes`].
    pub alloc_bytes: u64,
    /// See [`Tick::free_bytes`].
    pub free_bytes: u64,
    /// The largest live bytes seen.
    pub peak_live_bytes: u64,
    /// See [`Tick::live_bytes_ci95`].
    #[serde(default)]
    pub live_bytes_ci95: Option<(u64, u64)>,
    /// See [`BeforeAttach::found_bytes`]; null where that is not known.
    #[serde(default)]
    pub found_bytes: Option<u64>,
    /// See [`BeforeAttach::found_count`].
    #[serde(default)]
    pub found_count: Option<u64>,
    /// The last resident set seen.
    pub rss_bytes: Option<u64>,
    /// See [`Tick::mapped`].
    #[serde(default)]
    pub mapped: Option<Mapped>,
}

/// A site at the end of a trace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SiteSummary {
    /// Process id.
    pub pid: u32,
    /// The site's last figures.
    #[serde(flatten)]
    pub figures: SiteTick,
    /// Its verdict; null where it never was a leak or suspect.
    pub verdict: Option<Verdict>,
    /// The pattern of its series, by its verdict.
    pub pattern: Option<Pattern>,
    /// How likely verdict and pattern are right, 0..1.
    pub confidence: Option<f64>,
    /// Innermost first; empty where the stack could not be taken.
    pub stack: Vec<Frame>,
}
