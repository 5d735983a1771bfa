//! What the histories of many call sites cost at each tick, what memory they take, and how soon a slow leak among
//! them is followed.
//!
//! `sites SITES TICKS` lets every site hold ten blocks, 50,000 of which are replaced every second at random (100 MB),
//! and one more site leak 10 KB a second. It prints one JSON object; times are CPU time.

use leaktrace::{
    event::{Event, Frames},
    heap::{Limits, SiteIds, Tracker},
};
use leaktrace_common::Header;
use rustix::time::{ClockId, clock_gettime};

const BLOCKS_PER_SITE: usize = 10;
const REPLACED_PER_S: usize = 50_000;
const LEAKED_PER_S: u64 = 10;
const LEAKED_BYTES: u64 = 1000;
const FRAMES: u64 = 20;
/// Sites that a verdict may be asked for in one tick.
const JUDGED: usize = 200;
/// Points that a verdict needs.
const POINTS: usize = 8;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<u64> =
        std::env::args().skip(1).map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    let &[sites, ticks] = arguments.as_slice() else { anyhow::bail!("usage: sites SITES TICKS") };
    let before = resident_bytes()?;
    let mut load = Load::new(sites as u32);
    let created = resident_bytes()?;
    load.fill();
    let filled = resident_bytes()?;
    let (mut tick_ms, mut judging_ms) = (Vec::new(), Vec::new());
    let mut followed_at_s = None;
    for second in 1..=ticks {
        load.second();
        let (started, t) = (cpu_ms(), second as f64);
        load.tracker.tick(t);
        let ticked = cpu_ms();
        let points = load.judge(t);
        judging_ms.push(cpu_ms() - ticked);
        tick_ms.push(ticked - started);
        if points >= POINTS {
            followed_at_s.get_or_insert(second);
        }
    }
    let result = serde_json::json!({
        "sites": sites,
        "ticks": ticks,
        "tick_ms": mean(&tick_ms),
        "longest_tick_ms": tick_ms.iter().copied().fold(0.0, f64::max),
        "judging_ms": mean(&judging_ms),
        "leak_followed_at_s": followed_at_s,
        "bytes_per_site": created.saturating_sub(before) as f64 / sites as f64,
        "bytes_of_histories": resident_bytes()?.saturating_sub(filled),
    });
    println!("{result}");
    Ok(())
}

/// A process with many sites. Their stacks' hashes are numbers from 1 on; the last one leaks.
struct Load {
    tracker: Tracker,
    sites: u32,
    random: u64,
    now_ns: u64,
    leaked: u64,
}

impl Load {
    fn new(sites: u32) -> Self {
        let tracker = Tracker::new(&Limits::default(), 0, SiteIds::default());
        let mut load = Self { tracker, sites, random: 1, now_ns: 0, leaked: 0 };
        for stack in 1..=u64::from(sites) + 1 {
            let frames: Vec<_> = (0..FRAMES).map(|depth| (stack << 16 | depth).to_ne_bytes()).collect();
            let (header, frames) = (load.header(), Frames::new(&frames));
            load.apply(&Event::Stack { header, hash: stack, truncated: false, frames });
            let address = u64::from(u32::MAX) + stack;
            load.apply(&Event::Allocation { header, address, size: 1, level: 0, stack });
            load.apply(&Event::Free { header, address });
        }
        load
    }

    fn header(&self) -> Header {
        Header { kind: 0, function: 0, process: 0, tid: 1, time_ns: self.now_ns }
    }

    fn apply(&mut self, event: &Event<'_>) {
        self.tracker.apply(event, &|_| true);
    }

    fn random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }

    fn fill(&mut self) {
        for block in 0..self.sites as usize * BLOCKS_PER_SITE {
            self.allocate(block);
        }
    }

    /// Block numbers are addresses; neighbours belong to different sites.
    fn allocate(&mut self, block: usize) {
        let (size, stack) = (self.random() % 4096, block as u64 % u64::from(self.sites) + 1);
        self.apply(&Event::Allocation {
            header: self.header(),
            address: block as u64,
            size,
            level: 0,
            stack,
        });
    }

    /// What the process does in a second.
    fn second(&mut self) {
        let blocks = self.sites as usize * BLOCKS_PER_SITE;
        for _ in 0..REPLACED_PER_S {
            self.now_ns += 1_000_000_000 / REPLACED_PER_S as u64;
            let block = self.random() as usize % blocks;
            self.apply(&Event::Free { header: self.header(), address: block as u64 });
            self.allocate(block);
        }
        for _ in 0..LEAKED_PER_S {
            self.leaked += 1;
            let (address, stack) = (1 << 40 | self.leaked, u64::from(self.sites) + 1);
            let header = self.header();
            self.apply(&Event::Allocation { header, address, size: LEAKED_BYTES, level: 0, stack });
        }
    }

    /// Gathers what verdicts need; gives the number of points of the leak's history, if it is among the candidates.
    fn judge(&mut self, t: f64) -> usize {
        let mut of_the_leak = 0;
        for site in self.tracker.candidates(t, JUDGED) {
            let points = self.tracker.site_history(site).map_or(0, |points| points.len());
            let facts = self.tracker.site_facts(site, self.now_ns);
            std::hint::black_box(facts);
            self.tracker.judged(site, t);
            if site == self.sites + 1 {
                of_the_leak = points;
            }
        }
        of_the_leak
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn cpu_ms() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6
}

fn resident_bytes() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}
