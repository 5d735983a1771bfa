//! What is asked of the commands that are no trace.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Format, VerdictOptions, ViewOptions, defaults, values};

/// What `leaktrace doctor` is asked.
#[derive(Clone, Debug, Args)]
pub struct DoctorOptions {
    /// Check this process too: its allocators, where probes would go and what they would cost
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: Option<u32>,

    /// How to print: table for people, ndjson for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
}

/// What `leaktrace replay` is asked.
#[derive(Clone, Debug, Args)]
pub struct ReplayOptions {
    /// The recording, as --record wrote it
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// How it is shown.
    #[command(flatten)]
    pub view: ViewOptions,

    /// What follows from verdicts.
    #[command(flatten)]
    pub verdicts: VerdictOptions,
}

/// What `leaktrace snapshot` is asked.
#[derive(Clone, Debug, Args)]
pub struct SnapshotOptions {
    /// The process
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: u32,

    /// The file to write, which must not exist [default: NAME-PID-TIME.heapsnapshot in this directory]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,

    /// Take it even where memory may not suffice
    #[arg(long)]
    pub force: bool,

    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// What `leaktrace classify` is asked.
#[derive(Clone, Debug, Args)]
pub struct ClassifyOptions {
    /// CSV files with the columns t (seconds) and bytes; - or none for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// The limit that the memory grows towards: tells when it will be reached
    ///
    /// For example the memory.max of its cgroup. 4096, 4K or 4KiB, 1M, 1GiB are powers of 1024; KB, MB and GB powers of
    /// 1000.
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub limit: Option<u64>,

    /// Exit with 10 if a leak is found at this confidence or above [default where given: 0.9]
    #[arg(long, value_name = "CONFIDENCE", value_parser = values::confidence)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = defaults::FAIL_ON_LEAK)]
    pub fail_on_leak: Option<f64>,

    /// How to print: table for people, ndjson for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
}

/// What `leaktrace heap` is asked.
#[derive(Clone, Debug, Args)]
pub struct HeapOptions {
    /// Heap snapshots of one process, oldest first; - for standard input
    ///
    /// As node, Chrome's DevTools or leaktrace wrote them (.heapsnapshot); compressed by gzip or zstd, too.
    #[arg(value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,

    /// How many constructors, and how many places that grew, are told
    #[arg(long, value_name = "N", default_value = defaults::TOP, value_parser = values::top)]
    pub top: usize,

    /// Instead: the largest objects of a constructor, or the object with an id, and the path that keeps each alive
    ///
    /// Of the last file. An id is written as @1234.
    #[arg(long, value_name = "CONSTRUCTOR|@ID")]
    pub retainers: Option<String>,

    /// Tell only places that grew by at least this [default: 16KiB, or 0.5 % of the heap where that is more]
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub min_growth: Option<u64>,

    /// Exit with 10 if something grew from each snapshot to the next
    #[arg(long)]
    pub fail_on_growth: bool,

    /// How to print: table for people, ndjson for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
}

/// What `leaktrace heapwalk` is asked.
#[derive(Clone, Debug, Args)]
pub struct HeapwalkOptions {
    /// The process
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub pid: u32,

    /// Also read heaps of versions of glibc (2.30 to 2.41) that were never tested
    ///
    /// Tested are 2.31, 2.35, 2.36, 2.39 and 2.41. The figures of another version may be wrong: compare `system_bytes` and
    /// `coverage` with what you know of the process.
    #[arg(long)]
    pub heap_walk_untested: bool,

    /// How to print: table for people, ndjson for programs
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: Format,
}
