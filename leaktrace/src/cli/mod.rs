//! The command line, as clap types only.

mod commands;
mod help;
mod stacks;
mod values;

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

pub use commands::{
    ClassifyOptions, DoctorOptions, HeapOptions, HeapwalkOptions, ReplayOptions, SnapshotOptions,
};
pub use stacks::{DrawnOptions, StackBytes, StackOptions};

/// What holds where an option is not given, as the user would write it.
pub mod defaults {
    /// `--interval`.
    pub const INTERVAL: &str = "1s";
    /// `--top`.
    pub const TOP: &str = "10";
    /// `--min-size`: every allocation.
    pub const MIN_SIZE: &str = "0";
    /// `--record-limit`.
    pub const RECORD_LIMIT: &str = "1GiB";
    /// `--ring-size`: more than a second of two threads that do nothing but allocate and free.
    pub const RING_SIZE: &str = "32MiB";
    /// What tracing may take of one CPU.
    pub const MAX_OVERHEAD: &str = "20%";
    /// `--js-interval`: what V8 takes by itself.
    pub const JS_INTERVAL: &str = "32KiB";
    /// `--max-stacks`.
    pub const MAX_STACKS: &str = "131072";
    /// `--fail-on-leak` without a value.
    pub const FAIL_ON_LEAK: &str = "0.9";
}

/// Finds the memory leak in a process that is already running.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "leaktrace",
    version,
    about = help::ABOUT,
    long_about = help::LONG_ABOUT,
    after_help = help::AFTER_HELP,
    after_long_help = help::AFTER_LONG_HELP,
    override_usage = help::USAGE,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Something else than tracing.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to trace and how; complete where `command` is `None`.
    #[command(flatten)]
    pub trace: TraceOptions,

    /// Options of every command.
    #[command(flatten)]
    pub general: GeneralOptions,
}

/// Something else than tracing.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Check what this machine, and a process, allow, with the remedy for each thing missing
    #[command(long_about = help::DOCTOR, after_help = help::DOCTOR_EXAMPLES)]
    Doctor(DoctorOptions),
    /// Show a recording as if it happened now
    #[command(long_about = help::REPLAY, after_help = help::REPLAY_EXAMPLES)]
    Replay(ReplayOptions),
    /// Take a heap snapshot of a running Node; stops it meanwhile
    #[command(long_about = help::SNAPSHOT, after_help = help::SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotOptions),
    /// Judge a series of bytes over time: a leak or not, in which pattern, how fast, how sure
    #[command(long_about = help::CLASSIFY, after_help = help::CLASSIFY_EXAMPLES)]
    Classify(ClassifyOptions),
    /// Read V8 heap snapshots: who holds the memory, what grew between them, and why
    #[command(long_about = help::HEAP, after_help = help::HEAP_EXAMPLES)]
    Heap(HeapOptions),
    /// Read the heap of a running process: what is handed out, what is free, and how scattered it is
    #[command(long_about = help::HEAPWALK, after_help = help::HEAPWALK_EXAMPLES)]
    Heapwalk(HeapwalkOptions),
}

/// Everything that a trace needs to know.
#[derive(Clone, Debug, Args)]
pub struct TraceOptions {
    /// Which process.
    #[command(flatten)]
    pub target: TargetOptions,
    /// How much of it, and for how long.
    #[command(flatten)]
    pub capture: CaptureOptions,
    /// How it is shown.
    #[command(flatten)]
    pub view: ViewOptions,
    /// What follows from verdicts.
    #[command(flatten)]
    pub verdicts: VerdictOptions,
    /// Writing a recording.
    #[command(flatten)]
    pub recording: RecordingOptions,
    /// For experts and tests.
    #[command(flatten)]
    pub tuning: TuningOptions,
}

/// Which process is traced: exactly one of these is given.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub struct TargetOptions {
    /// Trace the process with this id
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    #[arg(help_heading = help::TARGET)]
    pub pid: Option<u32>,

    /// Trace the one process of this name
    ///
    /// The name is the kernel's: at most 15 bytes, as `ps -o comm` shows it. Where several processes have it, they are
    /// listed and nothing is traced.
    #[arg(long, value_name = "NAME", help_heading = help::TARGET)]
    pub comm: Option<OsString>,

    /// After --: start this command, trace it from its first allocation
    ///
    /// The command keeps leaktrace's standard input and error; its standard output is leaktrace's standard error where
    /// leaktrace writes data to standard output. leaktrace's exit code does not tell how the command ended: a notice does.
    #[arg(last = true, value_name = "COMMAND", num_args = 1.., value_hint = ValueHint::CommandWithArguments)]
    #[arg(help_heading = help::TARGET)]
    pub run: Vec<OsString>,
}

/// How much is traced, and for how long.
#[derive(Clone, Debug, Args)]
pub struct CaptureOptions {
    /// Follow child processes too, present and future
    ///
    /// Each has its own live blocks, and its own pid in every record. Services such as postgres, nginx or gunicorn do
    /// their work in children.
    #[arg(long, help_heading = help::CAPTURE)]
    pub children: bool,

    /// End the trace after this time [default: until Ctrl-C, or the process exits]
    ///
    /// 500ms, 10s, 2m, 1h, 1d, 1h30m; a plain number is seconds.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = help::CAPTURE)]
    pub duration: Option<Duration>,

    /// Time between two ticks, at least 100ms
    #[arg(long, value_name = "TIME", default_value = defaults::INTERVAL, value_parser = values::interval)]
    #[arg(help_heading = help::CAPTURE)]
    pub interval: Duration,

    /// Ignore smaller allocations
    ///
    /// The probes skip them in the kernel, which makes tracing cheaper. Frees of ignored blocks are counted as unknown
    /// frees. 4096, 4K or 4KiB, 1M, 1GiB are powers of 1024; KB, MB and GB powers of 1000.
    #[arg(long, value_name = "SIZE", default_value = defaults::MIN_SIZE, value_parser = values::size)]
    #[arg(hide_default_value = true, help_heading = help::CAPTURE)]
    pub min_size: u64,

    /// Take samples: one allocation in about so many bytes; 0 traces everything
    ///
    /// Cheaper for the process: what is not a sample costs no return, no stack and no record. Each byte that is allocated
    /// has the same chance, so large blocks are nearly always seen. Bytes and counts are estimates then, each call site's
    /// with an interval that holds the truth 19 times of 20. 512KiB is a good start.
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = values::sample)]
    #[arg(hide_default_value = true, help_heading = help::CAPTURE)]
    pub sample: u64,

    /// What tracing may take from the process: so much of one CPU, or `none` for no limit
    ///
    /// Measured all the time: hits of probes times their price, which is found at the start. As long as it is less,
    /// everything is traced. Once it is more, leaktrace says so and takes samples (see --sample), in longer and longer
    /// intervals; and where the hits alone are too much, it looks in slices: the probes stand for some milliseconds, and are
    /// away until that is paid for. What is freed meanwhile is not seen. Bytes and counts are estimates then, each call site's
    /// with an interval, and a site is only called a leak where its blocks are known not to go. With --mmap nothing is left
    /// out: that more is taken is only told.
    #[arg(long, value_name = "PERCENT", default_value = defaults::MAX_OVERHEAD, value_parser = values::max_overhead)]
    #[arg(help_heading = help::CAPTURE)]
    pub max_overhead: MaxOverhead,

    /// How call stacks are followed
    ///
    /// `fp` follows frame pointers in the kernel: cheapest, but it ends at the first function that was compiled without.
    /// `dwarf` follows the unwind tables that every program has, at about the same price; its first stacks are copied.
    /// `auto` takes `fp` where all files of the process keep frame pointers, else `dwarf`.
    #[arg(long, value_enum, value_name = "HOW", default_value_t, help_heading = help::CAPTURE)]
    pub unwind: Unwind,

    /// Also trace memory mapped directly: mmap, munmap, mremap
    ///
    /// Anonymous memory that the program, or a library other than its allocator, maps by itself: pools, thread stacks,
    /// heaps of some runtimes. It is counted beside the allocations, never among them, and mprotect is traced to tell
    /// memory from address space that is merely reserved. Only calls of the C library's functions are seen, not raw
    /// system calls (Go).
    #[arg(long, help_heading = help::CAPTURE)]
    pub mmap: bool,

    /// Walks through the heap.
    #[command(flatten)]
    pub walks: WalkOptions,

    /// What to watch in a process with V8 (Node.js): allocations, V8's heap, or both
    ///
    /// `v8` traces no allocation: only some twenty probe hits a garbage collection, which no server notices. It tells
    /// whether the JavaScript heap grows, and which part of the resident set does.
    #[arg(long, value_enum, value_name = "WHAT", default_value_t, help_heading = help::CAPTURE)]
    pub only: Only,

    /// Node: also sample where live JavaScript objects were allocated; talks to the process
    ///
    /// Uses the inspector of the process, on its loopback address. Where it is not open already it is opened by
    /// SIGUSR1, which only happens where it is known that Node itself handles that signal, and closed again at the
    /// end; the process writes some lines about that to its standard error. Meanwhile V8 notes the stack of one
    /// allocation in so many bytes, which slows allocation a little, and collects its whole heap before each look; looks
    /// take at most 5 % of the main thread's time. What is seen is what was allocated since the attach and still lives;
    /// the bytes are estimates. Worker threads are sampled too, child processes are not.
    #[arg(long, help_heading = help::CAPTURE)]
    pub js_sites: bool,

    /// Prefix of the allocation functions' names (je_, my_)
    ///
    /// For an allocator that was built with a prefix which leaktrace does not know: with `--symbols-prefix my_` it
    /// looks for my_malloc, my_free and so on, besides the usual names.
    #[arg(long, value_name = "P", value_parser = values::symbol_prefix, help_heading = help::CAPTURE)]
    pub symbols_prefix: Option<String>,

    /// The executable or library that contains the allocator
    ///
    /// As the target sees it in its own mount namespace. Only this object is probed.
    #[arg(long, value_name = "PATH", value_hint = ValueHint::FilePath, help_heading = help::CAPTURE)]
    pub object: Option<PathBuf>,
}

/// Whether the heap of the C library is read beside the trace.
#[derive(Clone, Debug, Args)]
pub struct WalkOptions {
    /// Also read the heap of the C library (glibc): at the attach, from time to time, and at the end
    ///
    /// As `leaktrace heapwalk` does, without stopping the process: what of the heap is in use and what is free, also of
    /// what was allocated before the trace. It tells fragmentation from a leak. Walks are at least ten seconds apart, and
    /// a hundred times as far as one takes.
    #[arg(long, help_heading = help::CAPTURE)]
    pub heap_walk: bool,

    /// With --heap-walk: also read versions of glibc (2.30 to 2.41) that were never tested
    #[arg(long, requires = "heap_walk", help_heading = help::CAPTURE)]
    pub heap_walk_untested: bool,
}

/// How a trace is shown, live or replayed.
#[derive(Clone, Debug, Args)]
pub struct ViewOptions {
    /// How to print: table for people, ndjson for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, help_heading = help::VIEW)]
    pub format: Format,

    /// How many call sites to show
    #[arg(long, value_name = "N", default_value = defaults::TOP, value_parser = values::top)]
    #[arg(help_heading = help::VIEW)]
    pub top: usize,

    /// What makes a call site come first
    #[arg(long, value_enum, value_name = "KEY", default_value_t, help_heading = help::VIEW)]
    pub sort: Sort,

    /// Count only blocks that have lived at least this long
    ///
    /// Short-lived blocks are work in progress; what is left is what leaks. Totals still count every block.
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = help::VIEW)]
    pub older_than: Option<Duration>,

    /// At the end, write every live block to this file, as NDJSON
    ///
    /// One line a block: address, size, site, age_s, pid. The file is readable by its owner only.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = help::VIEW)]
    pub dump_live: Option<PathBuf>,

    /// The call sites for other tools.
    #[command(flatten)]
    pub stacks: StackOptions,
}

/// What follows from verdicts.
#[derive(Clone, Debug, Args)]
pub struct VerdictOptions {
    /// Exit with 10 if a leak stands at the end, this sure or surer [default where given: 0.9]
    ///
    /// What counts are the verdicts that stand when the trace ends, as `summary.leaks` tells them: a leak that was
    /// taken back meanwhile does not. A trace that is shorter than a minute rarely has one.
    #[arg(long, value_name = "CONFIDENCE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = defaults::FAIL_ON_LEAK, value_parser = values::confidence)]
    #[arg(help_heading = help::VIEW)]
    pub fail_on_leak: Option<f64>,
}

/// Writing a recording.
#[derive(Clone, Debug, Args)]
pub struct RecordingOptions {
    /// Also write a recording, for `leaktrace replay`
    ///
    /// Compressed, readable by its owner only, without any of the target's memory. It can be read up to the point where
    /// a crash cut it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = help::RECORDING)]
    pub record: Option<PathBuf>,

    /// Stop recording, not tracing, at this size
    #[arg(long, value_name = "SIZE", default_value = defaults::RECORD_LIMIT, value_parser = values::size)]
    #[arg(requires = "record", help_heading = help::RECORDING)]
    pub record_limit: u64,
}

/// For experts and tests; not in the help.
#[derive(Clone, Debug, Args)]
pub struct TuningOptions {
    /// Size of the ring buffer between the kernel and leaktrace: a power of two
    #[arg(long, value_name = "SIZE", default_value = defaults::RING_SIZE, value_parser = values::ring_size)]
    #[arg(hide = true)]
    pub ring_size: u32,

    /// How many ring buffers share that size
    #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub rings: Option<u32>,

    /// How many distinct call paths are kept
    #[arg(long, value_name = "N", default_value = defaults::MAX_STACKS, hide = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub max_stacks: u32,

    /// With --js-sites: one allocation in about so many bytes is noted
    #[arg(long, value_name = "SIZE", default_value = defaults::JS_INTERVAL, value_parser = values::js_interval)]
    #[arg(hide = true)]
    pub js_interval: u64,

    /// Use no return probes, as on kernels where these could hurt the target
    #[arg(long, hide = true)]
    pub plain_probes: bool,

    /// The kind of kernel link that holds the probes
    #[arg(long, value_enum, value_name = "KIND", default_value_t, hide = true)]
    pub links: Links,
}

/// How call stacks are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Unwind {
    /// By frame pointers where the process keeps them, else by its unwind tables.
    #[default]
    Auto,
    /// By frame pointers.
    Fp,
    /// By unwind tables.
    Dwarf,
}

/// What tracing may take from a process, as a share of one CPU; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxOverhead(pub Option<f64>);

/// The kind of kernel link that holds the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Links {
    /// The best that the kernel has.
    #[default]
    Auto,
    /// uprobe.session: uprobe_multi whose probes see a call and its return.
    Session,
    /// uprobe_multi: one for all places of a program in a file.
    Multi,
    /// A perf event for each probe.
    Perf,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
pub struct GeneralOptions {
    /// No colours; the environment variable NO_COLOR does the same
    #[arg(long, global = true, help_heading = help::VIEW)]
    pub no_color: bool,

    /// Tell more on standard error; twice for the BPF programs' own messages
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl GeneralOptions {
    /// Colours are wanted, given the value of the environment variable `NO_COLOR`: set and not empty means none.
    pub fn colour(&self, no_color: Option<&OsStr>) -> bool {
        !self.no_color && no_color.is_none_or(OsStr::is_empty)
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// Allocations, and V8's heap where there is one
    #[default]
    All,
    /// Allocations only
    Heap,
    /// V8's heap only
    V8,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Table on a terminal, ndjson into a pipe or file
    #[default]
    Auto,
    /// For people: the live view of a trace on a terminal, plain text elsewhere
    Table,
    /// One JSON object a line
    Ndjson,
}

/// What makes a call site come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Sort {
    /// Most live bytes
    #[default]
    Live,
    /// Fastest growth of live bytes
    Growth,
    /// Most live blocks
    Count,
    /// Most allocations since attach
    Allocs,
    /// Longest known
    Age,
}
