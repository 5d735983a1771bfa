//! A process that is played, looked at in slices, against what it really holds.

use std::collections::{BTreeMap, HashMap};

use super::*;

/// A site that is played: blocks a second, their size, and how long each lives by a number between 0 and 1.
struct Played {
    per_s: f64,
    size: u64,
    lives_s: fn(f64) -> f64,
}

const NEVER: f64 = 1e9;

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Plays sites for a time, addresses handed out again last in first out by size, as allocators do. Looks for `slice` of
/// every `cycle` seconds, and gives for each site what lives in truth, and what is estimated.
fn play(sites: &[Played], seconds: f64, (slice, cycle): (f64, f64), seed: u64) -> Vec<(f64, Estimated)> {
    let mut random = Random(seed);
    let mut slices = Slices::new(0, true);
    let mut vacant: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut next_address = 0;
    // Time of death in microseconds, and a number to tell deaths apart: address and site.
    let mut deaths: BTreeMap<(u64, u64), (u64, u32)> = BTreeMap::new();
    let mut known: HashMap<u64, (u32, u32)> = HashMap::new();
    let mut fresh: HashMap<u64, (u32, u64, f64)> = HashMap::new();
    let ripening_s = slice / 2.0;
    let mut held = vec![0_f64; sites.len()];
    let (mut begun, mut ended, mut next_slice) = (None, 0.0, cycle * random.next());
    let mut born = 0;
    let mut due: Vec<f64> = sites.iter().map(|site| random.next() / site.per_s).collect();
    loop {
        let (site, t) = due.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        if t > seconds {
            break;
        }
        let played = &sites[site];
        due[site] = t - (1.0 - random.next()).ln() / played.per_s;
        // Events up to now: deaths, and the edges of slices.
        loop {
            let edge = match begun {
                Some((_, from)) => from + slice,
                None => next_slice,
            };
            let death = deaths.keys().next().map_or(f64::INFINITY, |&(us, _)| us as f64 / 1e6);
            if death.min(edge) > t {
                break;
            }
            if death <= edge {
                let (_, (address, of)) = deaths.pop_first().unwrap();
                let size = sites[of as usize].size;
                vacant.entry(size).or_default().push(address);
                held[of as usize] -= size as f64;
                let Some((_, from)) = begun else { continue };
                let was_known = known.remove(&address);
                if let Some((site, size, born)) = fresh.remove(&address) {
                    if death - born >= ripening_s {
                        slices.died_ripe(site, size, size);
                    } else {
                        slices.died(site, size);
                    }
                    continue;
                }
                if let Some((site, birth)) = was_known {
                    slices.gone(site, sites[site as usize].size, birth, 1.0);
                }
                if death >= from + ripening_s {
                    slices.freed_from_before();
                }
            } else if let Some((unit, from)) = begun.take() {
                let (ripe, young): (Vec<_>, Vec<_>) =
                    fresh.drain().partition(|(_, (_, _, born))| born + ripening_s <= edge);
                for (address, _) in &young {
                    known.remove(address);
                }
                let survivors = ripe.into_iter().map(|(_, (site, size, _))| (site, size, size));
                let (seconds, cycle_s) = (edge - from, edge - ended);
                slices.end_slice(Slice { from: unit, seconds, ripening_s, cycle_s }, survivors);
                ended = edge;
                next_slice = edge + (cycle - slice) * (0.7 + 0.6 * random.next());
            } else {
                begun = Some(((edge * 100.0) as u32, edge));
            }
        }
        let address = vacant.get_mut(&played.size).and_then(Vec::pop).unwrap_or_else(|| {
            next_address += 1;
            next_address
        });
        born += 1;
        held[site] += played.size as f64;
        let lives = (played.lives_s)(random.next());
        if lives < NEVER {
            deaths.insert((((t + lives) * 1e6) as u64, born), (address, site as u32));
        }
        if let Some((unit, _)) = begun {
            if let Some((of, birth)) = known.insert(address, (site as u32, unit)) {
                slices.gone(of, sites[of as usize].size, birth, 1.0);
            }
            slices.born(site as u32, played.size);
            fresh.insert(address, (site as u32, played.size, t));
        }
    }
    let estimates = slices.estimates();
    let estimated = |site: usize| estimates.get(&(site as u32)).copied().unwrap_or_default();
    held.into_iter().enumerate().map(|(site, held)| (held, estimated(site))).collect()
}

/// Work in progress: a millisecond each.
const CHURN: Played = Played { per_s: 5000.0, size: 100, lives_s: |random| 0.002 * random };
/// Requests that take longer than a slice.
const SLOW: Played = Played { per_s: 300.0, size: 100, lives_s: |random| 0.5 * random };
/// A cache, full after 20 seconds.
const CACHE: Played = Played { per_s: 400.0, size: 100, lives_s: |_| 20.0 };
const LEAK: Played = Played { per_s: 400.0, size: 100, lives_s: |_| NEVER };

#[test]
fn a_leak_among_churn_and_a_cache_is_found_by_its_rate() {
    for seed in 1..=5 {
        let found = play(&[CHURN, SLOW, CACHE, LEAK], 120.0, (0.02, 0.4), seed);
        let [churn, slow, cache, leak] = found.as_slice() else { panic!("{found:?}") };
        // None is ever ripe.
        assert!(churn.1.live_bytes < 1000.0, "{seed}: {churn:?}");
        assert!(slow.1.live_bytes < 1_000_000.0, "{seed}: {slow:?}");
        let (held, estimated) = leak;
        assert!((estimated.live_bytes / held - 1.0).abs() < 0.15, "{seed}: {leak:?}");
        assert!((estimated.live_bytes - held).abs() < 3.0 * estimated.variance().sqrt(), "{seed}: {leak:?}");
        // Of 120 s the cache gave back those of 100: what it holds is known to no more than its error.
        let (held, estimated) = cache;
        let error = estimated.variance().sqrt();
        assert!((estimated.live_bytes - held).abs() < 3.0 * error + 100_000.0, "{seed}: {cache:?}, {error}");
    }
}

#[test]
fn without_a_leak_nothing_grows() {
    for seed in 1..=5 {
        let found = play(&[CHURN, SLOW, CACHE], 120.0, (0.02, 0.4), seed);
        for (held, estimated) in found {
            let error = estimated.variance().sqrt();
            assert!(estimated.live_bytes < held + 3.0 * error + 300_000.0, "{seed}: {held} {estimated:?}");
        }
    }
}

#[test]
fn of_few_blocks_nothing_is_sure() {
    // Two in a second, of which a twentieth is seen: none is seen to go, and all may have gone.
    let rare = Played { per_s: 2.0, size: 1000, lives_s: |_| NEVER };
    let (held, estimated) = play(&[rare], 60.0, (0.02, 0.4), 3)[0];
    assert!(estimated.variance().sqrt() * 1.96 > held.min(estimated.live_bytes), "{held} {estimated:?}");
}

#[test]
fn a_slice_that_is_all_of_the_time_counts_all() {
    let mut slices = Slices::new(1, true);
    slices.held(7, Held { blocks: 10, bytes: 1000, variance: 0.0, seen: 10 }, [30, 20], 3000);
    for second in 0..100_u32 {
        slices.born(7, 50);
        if second == 50 {
            slices.gone(7, 50, 0, 1.0);
            slices.freed_from_before();
        }
        let slice = Slice { from: second * 100, seconds: 1.0, ripening_s: 0.0, cycle_s: 1.0 };
        slices.end_slice(slice, [(7, 50, 64)].into_iter());
    }
    let estimated = slices.estimates()[&7];
    assert_eq!((estimated.live_blocks, estimated.allocs, estimated.frees), (109.0, 130.0, 21.0));
    // It is not known which size the block had that went.
    assert!(
        (estimated.live_bytes - 5950.0).abs() < 60.0 && estimated.variance().sqrt() < 200.0,
        "{estimated:?}"
    );
}
