//! Samples of a replayed stream of allocations, drawn as the BPF programs draw them, against the truth.

use leaktrace_common::{Header, sampling::gap};

use super::*;
use crate::event::{Event, Frames};
use crate::heap::{Limits, SiteIds, Tracker};

const INTERVAL: u64 = 16 << 10;
const RUNS: u64 = 2000;

/// A small generator (SplitMix64), the same on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 32) as u32
    }

    fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.next()) * u64::from(bound)) >> 32) as u32
    }
}

/// What a stream does: an allocation of a size at a site, or the free of an earlier one.
#[derive(Clone, Copy)]
enum Step {
    Allocate { site: u64, size: u64 },
    Free { allocation: usize },
}

/// Sites of small, middle, large and mixed blocks, some of which free most, some little; and many that allocate little.
fn stream() -> Vec<Step> {
    let mut dice = Dice(7);
    let mut steps = Vec::new();
    for allocation in 0..60_000 {
        let site = u64::from(dice.below(8));
        let site = if site == 7 { 7 + u64::from(dice.below(40)) } else { site };
        let size = match site {
            0 => 48,
            1 => 1000,
            2 => 9000,
            3 => 30_000,
            4 => 16 + u64::from(dice.below(64)) * u64::from(dice.below(64)) * 8,
            5 => 4096,
            6 => 300 + u64::from(dice.below(100)),
            _ => 100 + u64::from(dice.below(2000)),
        };
        steps.push(Step::Allocate { site, size });
        let dies = dice.below(10) < [2, 9, 5, 8, 3, 9, 0, 4][site.min(7) as usize];
        if dies {
            steps.push(Step::Free { allocation });
        }
    }
    steps
}

const SITES: usize = 47;

/// Live bytes and blocks of each site, and how many live samples are to be expected.
fn truth(steps: &[Step]) -> Vec<(f64, f64, f64)> {
    let mut blocks = Vec::new();
    for step in steps {
        match *step {
            Step::Allocate { site, size } => blocks.push(Some((site, size))),
            Step::Free { allocation } => blocks[allocation] = None,
        }
    }
    let mut sites = vec![(0.0, 0.0, 0.0); SITES];
    for (site, size) in blocks.into_iter().flatten() {
        let of = &mut sites[site as usize];
        of.0 += size as f64;
        of.1 += 1.0;
        of.2 -= (-(size as f64) / INTERVAL as f64).exp_m1();
    }
    sites
}

/// A run: the sites by what their samples stand for.
fn run(steps: &[Step], seed: u64) -> Tracker {
    let mut dice = Dice(seed << 40);
    let mut tracker = Tracker::new(&Limits::default(), 0, SiteIds::default());
    tracker.set_sampling(Sampling::every(INTERVAL));
    let header = Header { kind: 0, function: 0, process: 0, tid: 1, time_ns: 0 };
    for site in 0..SITES as u64 {
        let addresses = [(site + 1).to_ne_bytes()];
        let frames = Frames::new(&addresses);
        tracker.apply(&Event::Stack { header, hash: site + 1, truncated: false, frames }, &|_| true);
    }
    let mut until = gap(dice.next(), INTERVAL);
    let mut taken = Vec::new();
    for step in steps {
        let event = match *step {
            Step::Allocate { site, size } => {
                let is_taken = until <= size;
                until = if is_taken { gap(dice.next(), INTERVAL) } else { until - size };
                taken.push(is_taken);
                let (address, stack) = (taken.len() as u64, site + 1);
                is_taken.then_some(Event::Allocation { header, address, size, stack })
            }
            Step::Free { allocation } => {
                let address = allocation as u64 + 1;
                taken[allocation].then_some(Event::Free { header, address })
            }
        };
        if let Some(event) = event {
            tracker.apply(&event, &|_| true);
        }
    }
    tracker
}

#[derive(Default)]
struct Seen {
    bytes: f64,
    blocks: f64,
    covered: f64,
}

/// The exact 95 % interval for a Poisson mean of which `count` events were seen, by halving.
fn garwood(count: u64) -> (f64, f64) {
    let at_most = |count: u64, mean: f64| {
        let mut term = (-mean).exp();
        let mut sum = term;
        for k in 1..=count {
            term *= mean / k as f64;
            sum += term;
        }
        sum
    };
    let solve = |goes_up: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (0.0, 400.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if goes_up(middle) { low = middle } else { high = middle }
        }
        low
    };
    let low = if count == 0 { 0.0 } else { solve(&|mean| 1.0 - at_most(count - 1, mean) < 0.025) };
    (low, solve(&|mean| at_most(count, mean) > 0.025))
}

#[test]
fn an_interval_is_never_narrower_than_the_exact_one_of_poisson() {
    for count in 0..200 {
        let (exact, ours) = (garwood(count), poisson_interval(count as f64));
        assert!(ours.0 <= exact.0 && ours.1 >= exact.1, "{count}: {exact:?}, {ours:?}");
        assert!(count < 20 || ours.1 - ours.0 < (exact.1 - exact.0) * 1.02, "{count}: {exact:?}, {ours:?}");
    }
}

/// What is added is taken away to the last part.
#[test]
fn nothing_is_left_of_what_was_freed() {
    let sampling = Sampling::every(INTERVAL).unwrap();
    let mut estimate = Estimate::default();
    let weights: Vec<_> = (0..1000).map(|size| sampling.weigh(size * 37)).collect();
    for weight in &weights {
        estimate.allocated(weight);
    }
    for weight in &weights {
        estimate.freed(weight);
    }
    assert_eq!((estimate.live, estimate.variance, estimate.allocs), (0, 0.0, estimate.frees));
    assert_eq!(Sampling::every(0), None);
}

/// Means over all runs within 1 % of the truth where 100 samples and more are to be expected, and of the smaller sites
/// together; intervals that hold the truth as often as they say; and no leftovers in the sums.
#[test]
fn estimates_are_right_on_average_and_intervals_hold() {
    let steps = stream();
    let truth = truth(&steps);
    let mut seen: Vec<Seen> = (0..SITES).map(|_| Seen::default()).collect();
    let sampling = Sampling::every(INTERVAL).unwrap();
    let exact: Vec<_> = (0..200).map(garwood).collect();
    for seed in 1..=RUNS {
        let tracker = run(&steps, seed);
        for site in tracker.sites() {
            let Some(&[index]) = site.frames().first_chunk() else { continue };
            let index = index as usize - 1;
            let (low, high) = site.estimate.interval(site.live_bytes, site.live_count, sampling);
            seen[index].bytes += site.live_bytes as f64;
            seen[index].blocks += site.estimate.counts()[0] as f64;
            let is_covered = (low as f64..=high as f64).contains(&truth[index].0);
            seen[index].covered += f64::from(u8::from(is_covered));
            if (1..100).contains(&site.live_count) {
                let (wide, events) = ((high - low) as f64 / site.live_bytes as f64, site.live_count as f64);
                let (exact_low, exact_high) = exact[site.live_count as usize];
                assert!(wide >= (exact_high - exact_low) / events, "{events} samples: {low} to {high}");
            }
        }
    }
    let runs = RUNS as f64;
    let mut pooled = [0.0; 4];
    for (site, (seen, truth)) in seen.iter().zip(&truth).enumerate() {
        let (bytes, blocks, covered) = (seen.bytes / runs, seen.blocks / runs, seen.covered / runs);
        if truth.2 >= 100.0 {
            println!(
                "site {site}: {bytes:.0} of {:.0} bytes, {blocks:.1} of {} blocks, covered {covered}",
                truth.0, truth.1
            );
            assert!((bytes / truth.0 - 1.0).abs() < 0.01, "site {site}: {bytes} of {} bytes", truth.0);
            assert!((blocks / truth.1 - 1.0).abs() < 0.01, "site {site}: {blocks} of {} blocks", truth.1);
            assert!((0.93..=0.97).contains(&covered), "site {site}: covered {covered}");
        } else {
            for (sum, part) in pooled.iter_mut().zip([bytes, truth.0, blocks, truth.1]) {
                *sum += part;
            }
        }
    }
    println!("smaller sites together: {pooled:?}");
    assert!((pooled[0] / pooled[1] - 1.0).abs() < 0.01 && (pooled[2] / pooled[3] - 1.0).abs() < 0.01);
}
