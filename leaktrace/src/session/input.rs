//! Everything that a trace is made of, in the order in which it happened.
//!
//! A live run makes these and may record them; a replay reads them back. Both feed the same [`super::Pipeline`], and
//! nothing else reaches it: that is why a replay prints what the live run printed.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    heap::{FoundBlocks, Rounding},
    output::{
        record::{EndReason, Header, MemoryLimit, Notice, RssSplit},
        walk_record::HeapWalkRecord,
    },
    symbol::Frame,
    target::pages::Pages,
};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Records of the ring, as a batch (see [`crate::event::batch`]).
    Events(Bytes),
    /// Anything else.
    Fact(Fact),
}

/// What is not in the ring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The trace begins.
    Start {
        /// What the output begins with.
        header: Box<Header>,
        /// The kernel's monotonic clock at the attach, nanoseconds: time 0 of the trace.
        start_ns: u64,
    },
    /// A process is traced from now on.
    Process {
        /// Its index in records of the ring.
        process: u16,
        /// Its id.
        pid: u32,
        /// Its name.
        comm: String,
        /// It is leaktrace itself, waiting to become a command: what it allocates before its exec is not the command's.
        is_waiting: bool,
    },
    /// A process has another name, since it replaced its image.
    Renamed {
        /// Index of the process.
        process: u16,
        /// Its name now.
        comm: String,
    },
    /// Where a process has code.
    Code {
        /// Index of the process.
        process: u16,
        /// Start and end of executable mappings, ascending.
        ranges: Vec<(u64, u64)>,
    },
    /// A process contains runtimes with heaps of their own.
    Runtimes {
        /// Index of the process.
        process: u16,
        /// Their names.
        names: Vec<String>,
    },
    /// A process contains V8.
    V8 {
        /// Index of the process.
        process: u16,
        /// V8's version, where it is known.
        version: Option<String>,
        /// Only sizes of its heaps are seen: the names of its other functions were stripped.
        #[serde(default)]
        sizes_only: bool,
    },
    /// The limit of one of V8's heaps.
    HeapLimit {
        /// Index of the process.
        process: u16,
        /// Address of the heap.
        heap: u64,
        /// The limit in bytes.
        limit_bytes: u64,
        /// Where it is known from.
        source: String,
    },
    /// What tracing takes from the target.
    Costs {
        /// Nanoseconds that a record of a function costs, by number of the function.
        ns: Vec<(u8, u32)>,
        /// Nanoseconds that a call costs of which there is no record.
        #[serde(default)]
        passed_ns: Vec<(u8, u32)>,
    },
    /// Names for a site.
    Symbols {
        /// Id of the site.
        site: u32,
        /// Its frames, innermost first.
        frames: Vec<Frame>,
        /// Which of them is the innermost that is not the allocator's own.
        culprit: Option<usize>,
        /// They were looked up for a file of call sites: no record tells of the site until a tick shows it.
        #[serde(default, skip_serializing_if = "is_false")]
        quiet: bool,
    },
    /// A stack of JavaScript that samples will name.
    JsStack {
        /// Index of the process.
        process: u16,
        /// Number of the V8 isolate: 0 is the main thread.
        isolate: u32,
        /// Number of the stack within the isolate.
        stack: u32,
        /// When it was seen first, in seconds since attach.
        t: f64,
        /// Its frames, innermost first.
        frames: Vec<Frame>,
        /// Which of them is the innermost that is the program's own.
        culprit: Option<usize>,
    },
    /// A look at the sampled objects of an isolate.
    JsSamples {
        /// Index of the process.
        process: u16,
        /// Number of the V8 isolate.
        isolate: u32,
        /// When, in seconds since attach.
        t: f64,
        /// Objects that are new since the look before: number, stack, estimated bytes.
        born: Vec<(u64, u32, u64)>,
        /// Numbers of those that were collected.
        gone: Vec<u64>,
    },
    /// An isolate has ended with all that it held.
    JsIsolateEnded {
        /// Index of the process.
        process: u16,
        /// Number of the V8 isolate.
        isolate: u32,
        /// When, in seconds since attach.
        t: f64,
    },
    /// How the allocator of a process rounds up what it is asked for.
    Rounding {
        /// Index of the process.
        process: u16,
        /// The rule; none where it is not known.
        rounding: Option<Rounding>,
    },
    /// The heap of a process is read from now on.
    WalkBegins {
        /// Index of the process.
        process: u16,
    },
    /// Blocks from before the trace that were found there.
    BlocksBefore {
        /// Index of the process.
        process: u16,
        /// When the walk had ended, in seconds since attach.
        t: f64,
        /// The blocks.
        blocks: FoundBlocks,
        /// Whether more follow.
        part: Part,
    },
    /// The heap of a process was read from outside.
    HeapWalk {
        /// Index of the process.
        process: u16,
        /// What was found.
        walk: Box<HeapWalkRecord>,
    },
    /// Calls that were looked at and are not in the records, since attach: by number of the function.
    Passed {
        /// The calls.
        calls: Vec<(u8, u64)>,
    },
    /// Of the blocks only samples are told from soon after now on, or others than before, so that no more is taken from the
    /// target than it may cost. The records have the level at which each was taken.
    Samples {
        /// When, in seconds since attach.
        t: f64,
        /// The interval of level 1, in bytes.
        base: u64,
        /// The level; 0: everything is told.
        level: u8,
    },
    /// The probes on allocations go, so that no more is taken from the target than it may cost.
    LookAway {
        /// When, in seconds since attach.
        t: f64,
    },
    /// They stand again.
    LookAgain {
        /// When, in seconds since attach.
        t: f64,
        /// Until when they count, where they are to go again; they go a little later.
        until: Option<f64>,
    },
    /// An interval has passed.
    Tick(Tick),
    /// Something that the reader should know.
    Notice(Notice),
    /// A process is gone.
    Gone {
        /// Index of the process.
        process: u16,
        /// When, in seconds since attach.
        t: f64,
    },
    /// The trace ends.
    End {
        /// The moment, as for a tick.
        tick: Tick,
        /// Why.
        reason: EndReason,
        /// CPU seconds that leaktrace used.
        own_cpu_s: f64,
        /// Largest resident set of leaktrace, in bytes.
        own_peak_rss_bytes: u64,
    },
}

/// A part of what a walk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// More follow.
    More,
    /// The last one.
    Last,
    /// The heap could not be read: there is none.
    GivenUp,
}

/// What was seen outside the ring at a tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// Seconds since attach.
    pub t: f64,
    /// Loss counters of the BPF programs, in the order of [`leaktrace_common::Loss::ALL`].
    pub losses: Vec<u64>,
    /// Calls that were looked at and are not in the records, since attach: by number of the function.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<(u8, u64)>,
    /// Each process that is still there.
    pub processes: Vec<ProcessUsage>,
    /// Share of one CPU that leaktrace itself used since the last tick.
    pub own_cpu_share: f64,
    /// Resident bytes of leaktrace itself.
    pub own_rss_bytes: u64,
}

/// What a process uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Index of the process.
    pub process: u16,
    /// Resident set in bytes.
    pub rss_bytes: u64,
    /// The same by kind.
    pub split: RssSplit,
    /// The limit on memory that it will reach first. Recordings of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<MemoryLimit>,
    /// Its resident pages by use, where it contains V8 or its heap is read. Recordings of earlier versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// Its children that are not traced: asked for where `--children` was not given.
    pub untraced_children: Vec<Child>,
}

/// A child process that is not traced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its resident set in bytes.
    pub rss_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// Frame kinds of a recording.
const EVENTS: u8 = 1;
const FACT: u8 = 2;

impl Input {
    /// The input as a frame of a recording: kind and payload.
    pub fn to_frame(&self) -> Result<(u8, Cow<'_, [u8]>), serde_json::Error> {
        match self {
            Self::Events(bytes) => Ok((EVENTS, Cow::Borrowed(bytes))),
            Self::Fact(fact) => Ok((FACT, Cow::Owned(serde_json::to_vec(fact)?))),
        }
    }

    /// The input behind a frame of a recording; `None` for a kind that a later version added.
    pub fn from_frame(kind: u8, payload: Vec<u8>) -> Result<Option<Self>, serde_json::Error> {
        match kind {
            EVENTS => Ok(Some(Self::Events(Bytes::from(payload)))),
            FACT => serde_json::from_slice(&payload).map(|fact| Some(Self::Fact(fact))),
            _ => Ok(None),
        }
    }
}
