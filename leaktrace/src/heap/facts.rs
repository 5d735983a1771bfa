//! What the fate of a site's blocks says beside its series.

use super::block::BIRTH_UNIT_NS;
use super::cohorts::Cohort;
use super::site::Site;
use super::survival::{Living, survival};

/// So many blocks must have been born in the first half of the watched time for an estimate of their survival.
const ENOUGH: u64 = 10;

/// What happened to the blocks of a call site, as of one moment. The watched time begins with its first block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SiteFacts {
    /// Allocations since attach.
    pub allocs: u64,
    /// How many of their blocks were freed.
    pub frees: u64,
    /// Seconds since the first block (of the running image, where the site outlives an exec).
    pub watched_s: f64,
    /// Share of blocks that live longer than half the watched time, by Kaplan–Meier's estimate with the living as
    /// right-censored. `None` with fewer than 10 blocks born before the half.
    pub survival: Option<f64>,
    /// Share of the blocks born in the first half of the watched time that still live; `None` without any. The half
    /// ends with a cohort: it is between three and four eighths of the time, or the half.
    pub old_cohort_alive: Option<f64>,
    /// Age of the youngest and the oldest tenth of the live blocks (10th and 90th percentile), in seconds, to a
    /// sixteenth of the watched time or 0.64 s; `None` without live blocks.
    pub live_age_p10_p90_s: Option<(f64, f64)>,
}

impl SiteFacts {
    /// Share of the allocations whose blocks were freed; `None` without allocations.
    pub fn free_ratio(&self) -> Option<f64> {
        (self.allocs > 0).then(|| self.frees as f64 / self.allocs as f64)
    }
}

/// The facts of a site at `now`, in birth units.
pub(super) fn site_facts(site: &Site, now: f64) -> SiteFacts {
    let mut facts = SiteFacts { allocs: site.allocs, frees: site.frees, ..SiteFacts::default() };
    let Some(first) = site.first_birth().map(f64::from) else { return facts };
    let watched = (now - first).max(0.0);
    facts.watched_s = seconds(watched);
    let living: Vec<Living> = site.cohorts().map(|cohort| living(&cohort, now)).collect();
    facts.live_age_p10_p90_s = Some((percentile(&living, 0.1), percentile(&living, 0.9)))
        .and_then(|(young, old)| Some((seconds(young?), seconds(old?))));
    let half = first + watched / 2.0;
    let (mut born, mut alive) = (0, 0);
    for cohort in site.cohorts().filter(|cohort| cohort.to as f64 <= half) {
        born += cohort.born;
        alive += cohort.live;
    }
    facts.old_cohort_alive = (born > 0).then(|| alive as f64 / born as f64);
    facts.survival = (born >= ENOUGH).then(|| survival(&site.lifetimes, &living, watched / 2.0, watched));
    facts
}

fn seconds(units: f64) -> f64 {
    units * BIRTH_UNIT_NS as f64 / 1e9
}

fn living(cohort: &Cohort, now: f64) -> Living {
    let ages = ((now - cohort.to as f64).max(0.0), (now - f64::from(cohort.from)).max(0.0));
    Living { ages, count: cohort.live as f64 }
}

/// The age that this share of the living have not passed; `living` has the oldest first.
fn percentile(living: &[Living], share: f64) -> Option<f64> {
    let all: f64 = living.iter().map(|some| some.count).sum();
    let mut left = all * share;
    for some in living.iter().rev().filter(|some| some.count > 0.0) {
        if left <= some.count {
            let (youngest, oldest) = some.ages;
            return Some(youngest + (oldest - youngest) * left / some.count);
        }
        left -= some.count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A site at which `per_s` blocks are born every second for `seconds`, with lifetimes drawn by `lifetime` in
    /// seconds from a number between 0 and 1.
    fn simulate(seconds: u32, per_s: u32, lifetime: impl Fn(f64) -> f64) -> SiteFacts {
        let mut random = 0x1234_5678_u64;
        let mut site = Site::new(1, 0);
        let end = seconds * 100;
        let mut deaths: Vec<Vec<u32>> = vec![Vec::new(); end as usize + 1];
        for now in 0..end {
            for birth in std::mem::take(&mut deaths[now as usize]) {
                site.freed(16, birth, now - birth);
            }
            for _ in 0..per_s / 100 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let units = lifetime((random >> 11) as f64 / (1_u64 << 53) as f64) * 100.0;
                site.allocated(16, now, 0);
                match f64::from(now) + units.max(0.0) {
                    dies if dies.floor() <= f64::from(now) => site.freed(16, now, 0),
                    dies if dies < f64::from(end) => deaths[dies as usize].push(now),
                    _ => {}
                }
            }
        }
        site_facts(&site, f64::from(end))
    }

    #[test]
    fn the_survival_of_exponential_lifetimes_is_found() {
        // From ones that all die early to ones of which hardly any dies within the watched time.
        for (seconds, mean) in
            [(60, 1.0), (60, 15.0), (60, 30.0), (60, 60.0), (100, 300.0), (37, 20.0), (300, 100.0)]
        {
            let facts = simulate(seconds, 1000, |random| -mean * (1.0 - random).ln());
            let expected = (-f64::from(seconds) / 2.0 / mean).exp();
            let found = facts.survival.unwrap();
            assert!((found - expected).abs() < 0.02, "{seconds} s, mean {mean} s: {found}, not {expected}");
        }
    }

    #[test]
    fn a_leak_beside_churn_shows_in_the_old_cohorts() {
        let facts = simulate(120, 1000, |random| if random < 0.1 { 1e9 } else { random * 2.0 });
        let (survival, alive) = (facts.survival.unwrap(), facts.old_cohort_alive.unwrap());
        assert!((survival - 0.1).abs() < 0.02 && (alive - 0.1).abs() < 0.02, "{facts:?}");
        let (young, old) = facts.live_age_p10_p90_s.unwrap();
        assert!((young - 6.0).abs() < 6.0 && (old - 107.0).abs() < 8.0, "{facts:?}");
        assert!((facts.free_ratio().unwrap() - 0.89).abs() < 0.02);
    }

    #[test]
    fn ages_of_blocks_that_never_die_are_spread_over_the_time() {
        let facts = simulate(100, 100, |_| 1e9);
        assert_eq!(
            (facts.survival, facts.old_cohort_alive, facts.free_ratio()),
            (Some(1.0), Some(1.0), Some(0.0))
        );
        let (young, old) = facts.live_age_p10_p90_s.unwrap();
        assert!((young - 10.0).abs() < 1.0 && (old - 90.0).abs() < 1.0, "{facts:?}");
        assert!((facts.watched_s - 100.0).abs() < 0.02);
    }

    #[test]
    fn a_site_of_few_blocks_has_no_survival_but_a_cohort() {
        let mut site = Site::new(1, 0);
        assert_eq!(site_facts(&site, 50.0), SiteFacts::default());
        for birth in [100, 200, 300] {
            site.allocated(10, birth, 0);
        }
        site.freed(10, 100, 50);
        let facts = site_facts(&site, 1000.0);
        assert_eq!((facts.survival, facts.old_cohort_alive), (None, Some(2.0 / 3.0)));
        assert_eq!((facts.allocs, facts.frees), (3, 1));
        let (young, old) = facts.live_age_p10_p90_s.unwrap();
        // To the width of a cohort.
        assert!((6.44..=7.08).contains(&young) && (7.72..=8.36).contains(&old), "{facts:?}");
    }
}
