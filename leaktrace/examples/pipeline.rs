//! How fast the pipeline is without a kernel, and what a live block costs: batch -> events -> live map and sites.
//!
//! `pipeline LIVE_BLOCKS EVENTS` fills the live map, then frees and allocates blocks at random, and prints one JSON
//! object. Only the pipeline's own work is timed, not the making of the batches.

use std::time::Instant;

use leaktrace::event::{Batch, BatchWriter, OrderCheck};
use leaktrace::heap::{Limits, SiteIds, Tracker};
use leaktrace_common::{AllocationRecord, FreeRecord, Header, Kind, MAX_FRAMES, StackRecord};
use zerocopy::IntoBytes as _;

const STACKS: u64 = 5000;
const EVENTS_PER_BATCH: usize = 1024;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let &[blocks, events] = arguments.as_slice() else {
        anyhow::bail!("usage: pipeline LIVE_BLOCKS EVENTS");
    };
    let mut pipeline = Pipeline::new();
    let mut load = Load::new(blocks);
    load.stacks();
    load.feed(&mut pipeline, 0);
    let before = resident_bytes()?;
    for index in 0..blocks as usize {
        load.allocate(index);
        load.feed(&mut pipeline, EVENTS_PER_BATCH);
    }
    load.feed(&mut pipeline, 0);
    let grown = resident_bytes()?.saturating_sub(before);
    let mut filling = std::mem::take(&mut pipeline.rates);
    for _ in 0..events / 2 {
        load.churn();
        load.feed(&mut pipeline, EVENTS_PER_BATCH);
    }
    load.feed(&mut pipeline, 0);
    let churned = resident_bytes()?.saturating_sub(before);
    let totals = pipeline.tracker.totals();
    anyhow::ensure!(totals.live_count == blocks && totals.losses().total() == 0, "wrong result: {totals:?}");
    let result = serde_json::json!({
        "live_blocks": blocks,
        "events": events / 2 * 2,
        "fill_events_per_s": median_rate(&mut filling),
        "churn_events_per_s": median_rate(&mut pipeline.rates),
        "bytes_per_live_block_filled": grown as f64 / blocks as f64,
        "bytes_per_live_block_churned": churned as f64 / blocks as f64,
    });
    println!("{result}");
    Ok(())
}

/// What every batch goes through in a trace.
struct Pipeline {
    order: OrderCheck,
    tracker: Tracker,
    /// Events a second, by batch.
    rates: Vec<f64>,
}

impl Pipeline {
    fn new() -> Self {
        let tracker = Tracker::new(&Limits::default(), 0, SiteIds::default());
        Self { order: OrderCheck::default(), tracker, rates: Vec::new() }
    }

    fn process(&mut self, bytes: &[u8]) {
        let start = Instant::now();
        let mut events = 0_u32;
        for event in Batch::new(bytes).flatten() {
            events += 1;
            self.order.observe(event.header());
            self.tracker.apply(&event, &|address| address < 1 << 47);
        }
        self.rates.push(f64::from(events) / start.elapsed().as_secs_f64());
    }
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
    fn feed(&mut self, pipeline: &mut Pipeline, events: usize) {
        if self.writer.records() >= events as u64 {
            pipeline.process(&self.writer.take());
        }
    }
}

/// Events a second in the median batch: on a busy machine others take the CPU during some batches, and those do not
/// count.
fn median_rate(rates: &mut [f64]) -> f64 {
    let middle = rates.len() / 2;
    if rates.is_empty() { 0.0 } else { rates.select_nth_unstable_by(middle, f64::total_cmp).1.round() }
}

fn resident_bytes() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
