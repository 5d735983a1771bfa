//! How fast the pipeline is without a kernel, and what a live block costs: batches through the pipeline of a trace.
//!
//! `pipeline LIVE_BLOCKS EVENTS` fills the live map, then frees and allocates blocks at random, and prints one JSON
//! object. Only the pipeline's own work is timed, not the making of the batches.

use bytes::Bytes;
use leaktrace::{
    cli::Sort,
    event::BatchWriter,
    heap::Limits,
    output::record::{Record, Tick as TickRecord},
    session::{Fact, Input, Pipeline, Tick, View},
};
use leaktrace_common::{AllocationRecord, FreeRecord, Header, Kind, MAX_FRAMES, StackRecord};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::IntoBytes as _;

const STACKS: u64 = 5000;
/// As large as a batch from the ring.
const EVENTS_PER_BATCH: u64 = 6000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let &[blocks, events] = arguments.as_slice() else {
        anyhow::bail!("usage: pipeline LIVE_BLOCKS EVENTS");
    };
    let mut timed = Timed::new();
    let mut load = Load::new(blocks);
    load.stacks();
    load.feed(&mut timed, 0);
    let before = resident_bytes()?;
    timed.take_rate();
    for index in 0..blocks as usize {
        load.allocate(index);
        load.feed(&mut timed, EVENTS_PER_BATCH);
    }
    load.feed(&mut timed, 0);
    let grown = resident_bytes()?.saturating_sub(before);
    let fill = timed.take_rate();
    for _ in 0..events / 2 {
        load.churn();
        load.feed(&mut timed, EVENTS_PER_BATCH);
    }
    load.feed(&mut timed, 0);
    let churn = timed.take_rate();
    let churned = resident_bytes()?.saturating_sub(before);
    let tick = timed.tick().ok_or_else(|| anyhow::anyhow!("no tick"))?;
    anyhow::ensure!(tick.live_count == blocks && tick.losses.total == 0, "wrong result: {tick:?}");
    let result = serde_json::json!({
        "live_blocks": blocks,
        "events": events / 2 * 2,
        "fill_events_per_s": fill,
        "churn_events_per_s": churn,
        "bytes_per_live_block_filled": grown as f64 / blocks as f64,
        "bytes_per_live_block_churned": churned as f64 / blocks as f64,
    });
    println!("{result}");
    Ok(())
}

/// The pipeline of a trace, and the CPU time it took.
struct Timed {
    pipeline: Pipeline,
    records: Vec<Record>,
    events: u64,
    cpu_s: f64,
}

impl Timed {
    fn new() -> Self {
        let view = View { top: 10, sort: Sort::Live, older_than: None };
        let pipeline = Pipeline::new(view, Limits::default());
        let mut timed = Self { pipeline, records: Vec::new(), events: 0, cpu_s: 0.0 };
        timed.tell(Fact::Process { process: 0, pid: 1, comm: "load".to_owned(), is_waiting: false });
        timed.tell(Fact::Code { process: 0, ranges: vec![(0, 1 << 47)] });
        timed
    }

    fn tell(&mut self, fact: Fact) {
        self.pipeline.step(&Input::Fact(fact), &mut self.records);
    }

    fn process(&mut self, batch: Bytes, events: u64) {
        let batch = Input::Events(batch);
        let start = cpu_s();
        self.pipeline.step(&batch, &mut self.records);
        self.cpu_s += cpu_s() - start;
        self.events += events;
    }

    /// Events a second of CPU time since the last call: on a busy machine, time that others took does not count.
    fn take_rate(&mut self) -> f64 {
        let rate = (self.events as f64 / self.cpu_s).round();
        (self.events, self.cpu_s) = (0, 0.0);
        rate
    }

    /// The figures of the load's process.
    fn tick(&mut self) -> Option<TickRecord> {
        self.records.clear();
        self.tell(Fact::Tick(Tick { t: 1.0, ..Tick::default() }));
        self.records.drain(..).find_map(|record| match record {
            Record::Tick(tick) => Some(tick),
            _ => None,
        })
    }
}

fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// A program that frees at random what it allocated, its allocator handing out what was freed a while ago.
struct Load {
    writer: BatchWriter,
    addresses: Vec<u64>,
    spare: std::collections::VecDeque<u64>,
    random: u64,
    time_ns: u64,
}

impl Load {
    fn new(blocks: u64) -> Self {
        let addresses = (0..blocks).map(|index| 0x5555_0000_0000 + index * 48).collect();
        let spare = (0..4096).map(|index| 0x7fff_0000_0000 + index * 48).collect();
        Self { writer: BatchWriter::default(), addresses, spare, random: 1, time_ns: 0 }
    }

    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 20
    }

    fn header(&mut self, kind: Kind) -> Header {
        self.time_ns += 300;
        Header {
            kind: kind as u8,
            function: 1,
            process: 0,
            tid: 1000 + (self.time_ns / 300 % 8) as u32,
            time_ns: self.time_ns,
        }
    }

    fn stacks(&mut self) {
        for stack in 1..=STACKS {
            let header = self.header(Kind::Stack);
            let mut frames = [0; MAX_FRAMES];
            for (depth, frame) in frames.iter_mut().take(20).enumerate() {
                *frame = 0x40_0000 + stack * 64 + depth as u64 * 4096;
            }
            let hash = stack.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.writer.push(StackRecord { header, hash, depth: 20, truncated: 0, frames }.as_bytes());
        }
    }

    fn allocate(&mut self, index: usize) {
        let (random, header) = (self.random(), self.header(Kind::Allocation));
        let (address, size) = (self.addresses[index], random % 4096);
        let stack = (1 + random / 4096 % STACKS).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.writer.push(AllocationRecord { header, address, size, stack }.as_bytes());
    }

    /// One free and one allocation.
    fn churn(&mut self) {
        let index = (self.random() % self.addresses.len() as u64) as usize;
        let header = self.header(Kind::Free);
        let address = self.addresses[index];
        self.writer.push(FreeRecord { header, address }.as_bytes());
        self.spare.push_back(address);
        self.addresses[index] = self.spare.pop_front().unwrap_or(address);
        self.allocate(index);
    }

    /// Hands the batch over once it holds this many events.
    fn feed(&mut self, timed: &mut Timed, events: u64) {
        let records = self.writer.records();
        if records >= events {
            timed.process(self.writer.take(), records);
        }
    }
}

fn resident_bytes() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
