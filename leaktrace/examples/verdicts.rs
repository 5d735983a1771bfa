//! What verdicts cost: ticks of a process with many call sites through the pipeline of a trace, a second apart.
//!
//! `verdicts SITES TICKS` lets a tenth of the sites leak and the others churn, and prints one JSON object: the CPU time
//! of the pipeline's work at a tick (histories, ranking, judging, records; not the events between), over the second
//! half of the ticks, when the histories are long.

use leaktrace::{
    cli::Sort,
    event::BatchWriter,
    heap::Limits,
    output::record::{Record, RssSplit},
    session::{Fact, Input, Pipeline, ProcessUsage, Tick, View},
};
use leaktrace_common::{AllocationRecord, FreeRecord, Header, Kind, MAX_FRAMES, StackRecord};
use rustix::time::{ClockId, clock_gettime};
use zerocopy::IntoBytes as _;

/// One in so many sites leaks.
const LEAKS: u64 = 10;
/// One in so many sites is busy at a tick, another one at the next.
const BUSY: u64 = 10;
/// As large as a batch from the ring.
const EVENTS_PER_BATCH: u64 = 6000;
const SECOND_NS: u64 = 1_000_000_000;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let &[sites, ticks] = arguments.as_slice() else {
        anyhow::bail!("usage: verdicts SITES TICKS");
    };
    let mut load = Load::new(sites);
    load.stacks();
    let mut cost_s = Vec::new();
    for tick in 1..=ticks {
        load.second(tick);
        let spent = load.tick(tick);
        if tick > ticks / 2 {
            cost_s.push(spent);
        }
    }
    let mean = cost_s.iter().sum::<f64>() / cost_s.len().max(1) as f64;
    let result = serde_json::json!({
        "sites": sites,
        "ticks": ticks,
        "tick_ms": mean * 1e3,
        "tick_ms_max": cost_s.iter().copied().fold(0.0, f64::max) * 1e3,
        "core_share": mean,
        "sites_with_a_verdict": load.judged.len(),
    });
    println!("{result}");
    Ok(())
}

/// A process whose sites leak or churn, and the pipeline that it feeds.
struct Load {
    pipeline: Pipeline,
    writer: BatchWriter,
    sites: u64,
    next_address: u64,
    /// The block that each churning site holds.
    held: Vec<u64>,
    time_ns: u64,
    random: u64,
    judged: std::collections::HashSet<u64>,
}

impl Load {
    fn new(sites: u64) -> Self {
        let view = View { top: 10, sort: Sort::Live, older_than: None };
        let mut load = Self {
            pipeline: Pipeline::new(view, Limits::default()),
            writer: BatchWriter::default(),
            sites,
            next_address: 0x5555_0000_0000,
            held: vec![0; sites as usize],
            time_ns: 0,
            random: 1,
            judged: std::collections::HashSet::new(),
        };
        load.step(&Input::Fact(Fact::Process {
            process: 0,
            pid: 1,
            comm: "load".to_owned(),
            is_waiting: false,
        }));
        load.step(&Input::Fact(Fact::Code { process: 0, ranges: vec![(0, 1 << 47)] }));
        load
    }

    fn step(&mut self, input: &Input) {
        let mut records = Vec::new();
        self.pipeline.step(input, &mut records);
        for record in records {
            if let Record::Verdict(verdict) = record {
                self.judged.extend(verdict.subject.id.filter(|_| verdict.stack.is_some()));
            }
        }
    }

    /// CPU seconds that the tick took.
    fn tick(&mut self, tick: u64) -> f64 {
        self.feed(0);
        let usage = ProcessUsage {
            process: 0,
            rss_bytes: tick << 22,
            split: RssSplit { anon_bytes: tick << 22, ..RssSplit::default() },
            ..ProcessUsage::default()
        };
        let tick = Tick { t: tick as f64, processes: vec![usage], ..Tick::default() };
        let tick = Input::Fact(Fact::Tick(tick));
        let start = cpu_s();
        self.step(&tick);
        cpu_s() - start
    }

    fn header(&mut self, kind: Kind) -> Header {
        self.time_ns += 300;
        Header { kind: kind as u8, function: 1, process: 0, tid: 1000, time_ns: self.time_ns }
    }

    fn stacks(&mut self) {
        for site in 0..self.sites {
            let header = self.header(Kind::Stack);
            let mut frames = [0; MAX_FRAMES];
            for (depth, frame) in frames.iter_mut().take(20).enumerate() {
                *frame = 0x40_0000 + site * 64 + depth as u64 * 4096;
            }
            self.writer
                .push(StackRecord { header, hash: hash(site), depth: 20, truncated: 0, frames }.as_bytes());
            self.feed(EVENTS_PER_BATCH / 20);
        }
    }

    /// What happens in the second before a tick.
    fn second(&mut self, tick: u64) {
        self.time_ns = (tick - 1) * SECOND_NS;
        for site in (tick % BUSY..self.sites).step_by(BUSY as usize) {
            let size = 1000 + self.random() % 1000;
            // Whether a site leaks must not depend on when it is busy.
            let leaks = (site / BUSY).is_multiple_of(LEAKS);
            let held = std::mem::take(&mut self.held[site as usize]);
            if held != 0 && !leaks {
                let header = self.header(Kind::Free);
                self.writer.push(FreeRecord { header, address: held }.as_bytes());
            }
            let address = self.next_address;
            self.next_address += 48;
            self.held[site as usize] = address;
            let header = self.header(Kind::Allocation);
            self.writer.push(AllocationRecord { header, address, size, stack: hash(site) }.as_bytes());
            self.feed(EVENTS_PER_BATCH);
        }
    }

    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 20
    }

    /// Hands the batch over once it holds this many events.
    fn feed(&mut self, events: u64) {
        if self.writer.records() >= events {
            let batch = Input::Events(self.writer.take());
            self.step(&batch);
        }
    }
}

fn hash(site: u64) -> u64 {
    (site + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
