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

/// A run: the sites by what their samples stand for. Each step has a level.
fn run(steps: &[Step], seed: u64, level_at: impl Fn(usize) -> u8) -> Tracker {
    let mut dice = Dice(seed << 40);
    let mut tracker = Tracker::new(&Limits::default(), 0, SiteIds::default());
    let sampling = Sampling::every(INTERVAL).unwrap();
    let header = Header { kind: 0, function: 0, process: 0, tid: 1, time_ns: 0 };
    for site in 0..SITES as u64 {
        let addresses = [(site + 1).to_ne_bytes()];
        let frames = Frames::new(&addresses);
        tracker.apply(&Event::Stack { header, hash: site + 1, truncated: false, frames }, &|_| true);
    }
    let (mut until, mut drawn_for) = (0, 0);
    let mut taken = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        let level = level_at(at);
        let interval = interval_of(INTERVAL, level);
        if level != drawn_for {
            until = gap(dice.next(), interval);
            drawn_for = level;
            tracker.set_sampling(Some(sampling.at(level)));
        }
        let event = match *step {
            Step::Allocate { site, size } => {
                let is_taken = interval == 0 || until <= size;
                if interval > 0 {
                    until = if is_taken { gap(dice.next(), interval) } else { until - size };
                }
                taken.push(is_taken);
                let (address, stack) = (taken.len() as u64, site + 1);
                is_taken.then_some(Event::Allocation { header, address, size, level, stack })
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
    let weights: Vec<_> = (0..1000).map(|size| sampling.weigh(size * 37, 1)).collect();
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
    let sampling = Sampling::every(INTERVAL).unwrap();
    expect_unbiased(&stream(), RUNS, 100.0, sampling, |_| 1);
}

/// Everything at first, then samples, then fewer, then more again.
#[test]
fn estimates_are_right_on_average_whatever_the_interval_did() {
    let steps = late_frees(&stream());
    let sampling = Sampling::every(INTERVAL).unwrap().at(2);
    let parts = steps.len() / 4;
    expect_unbiased(&steps, RUNS / 4, 800.0, sampling, |at| [0, 1, 2, 1, 1][at / parts]);
}

/// The last tenth of the frees of each part come at the end, whatever was the level when their blocks came.
fn late_frees(steps: &[Step]) -> Vec<Step> {
    let is_late = |(at, step): &(usize, &Step)| at % 10 == 9 && matches!(step, Step::Free { .. });
    let late: Vec<Step> = steps.iter().enumerate().filter(is_late).map(|(_, step)| *step).collect();
    let now = steps.iter().enumerate().filter(|step| !is_late(step)).map(|(_, step)| *step);
    now.chain(late).collect()
}

fn expect_unbiased(
    steps: &[Step],
    runs: u64,
    enough: f64,
    sampling: Sampling,
    level_at: impl Fn(usize) -> u8 + Copy,
) {
    let truth = truth(steps);
    let mut seen: Vec<Seen> = (0..SITES).map(|_| Seen::default()).collect();
    let exact: Vec<_> = (0..200).map(garwood).collect();
    for seed in 1..=runs {
        let tracker = run(steps, seed, level_at);
        for site in tracker.sites() {
            let Some(&[index]) = site.frames().first_chunk() else { continue };
            let index = index as usize - 1;
            let (low, high) = site.estimate.interval(site.live_bytes, site.live_count, sampling);
            seen[index].bytes += site.live_bytes as f64;
            seen[index].blocks += site.estimate.counts()[0] as f64;
            let is_covered = (low as f64..=high as f64).contains(&truth[index].0);
            seen[index].covered += f64::from(u8::from(is_covered));
            if (1..100).contains(&site.live_count) && site.estimate.certain == 0 {
                let (wide, events) = ((high - low) as f64 / site.live_bytes as f64, site.live_count as f64);
                let (exact_low, exact_high) = exact[site.live_count as usize];
                assert!(wide >= (exact_high - exact_low) / events, "{events} samples: {low} to {high}");
            }
        }
    }
    let runs = runs as f64;
    let mut pooled = [0.0; 4];
    for (site, (seen, truth)) in seen.iter().zip(&truth).enumerate() {
        let (bytes, blocks, covered) = (seen.bytes / runs, seen.blocks / runs, seen.covered / runs);
        if truth.2 >= enough {
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
