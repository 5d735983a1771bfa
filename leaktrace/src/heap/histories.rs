//! The histories of a process's sites: an outline for each, a full series for those that matter.

use std::cmp::Reverse;

use super::candidates::{Judged, candidates};
use super::outlines::Outlines;
use super::scout::Claim;
use super::series::{Point, Series};
use super::site::Site;

/// The histories of a process's sites.
///
/// A tick costs the same however many sites there are: a bounded number is looked at in turn, and a bounded number has
/// a full series. Half of these are the largest; the others are those that grow fastest, so that a leak is among them
/// long before it is large.
#[derive(Debug, Default)]
pub(super) struct Histories {
    outlines: Outlines,
    watched: Vec<Watched>,
    /// Scratch: sites that may be watched from now on.
    newcomers: Vec<Contender>,
}

/// A site with a full history.
#[derive(Debug)]
pub(super) struct Watched {
    /// Its index.
    pub(super) site: u32,
    pub(super) series: Series,
    /// The first tick of its series, seconds since attach.
    pub(super) since: f64,
    /// The claim that its growth gave it then.
    pub(super) admitted_for: u8,
    pub(super) judged: Option<Judged>,
}

/// A site that is watched, or may be.
#[derive(Clone, Copy, Debug)]
struct Contender {
    site: u32,
    claim: Claim,
    is_new: bool,
}

impl Histories {
    /// How many sites have a full history at most.
    pub(super) const WATCHED: usize = 2048;
    /// How many of them for their size.
    const LARGEST: usize = Self::WATCHED / 2;
    /// How many sites may take the places of others in one tick, for their size and for their growth each.
    const NEWCOMERS: usize = 128;
    /// What a newcomer must be ahead by, in steps of four an octave: twice the claim. Among thousands of sites that are
    /// alike and churn there is always one that is just larger than another, and a history that ends after some ticks
    /// is of no use.
    const MARGIN: u8 = 4;
    /// For the same reason the growth that a site was admitted for is forgotten by one step in so many seconds only.
    const STEP_S: f64 = 16.0;

    /// Takes down the sites' live bytes at time `t`, seconds since attach. `unborn` tells the last tick at which a new
    /// site had nothing, if there was such a tick.
    pub(super) fn tick(&mut self, t: f64, sites: &[Site], unborn: impl Fn(&Site) -> Option<f64>) {
        let floor = self.floor(t);
        let mut newcomers = std::mem::take(&mut self.newcomers);
        self.outlines.look(t, sites, unborn, |site, outline| {
            let claim = outline.scout.claim;
            if outline.place.is_none() && (claim.size > floor.size || claim.growth > floor.growth) {
                newcomers.push(Contender { site, claim, is_new: true });
            }
        });
        self.admit(&mut newcomers, t);
        newcomers.clear();
        self.newcomers = newcomers;
        for watched in &mut self.watched {
            watched.series.push(t, sites.get(watched.site as usize).map_or(0, |site| site.live_bytes));
        }
    }

    /// The claims that a newcomer must surpass.
    fn floor(&self, t: f64) -> Claim {
        if self.watched.len() < Self::WATCHED {
            return Claim::default();
        }
        let mut all = self.contenders(t);
        let (largest, others) = split(&mut all, Self::LARGEST, |one| (one.claim.size, one.claim.growth));
        Claim {
            size: largest.iter().map(|one| one.claim.size).min().unwrap_or(0),
            growth: others.iter().map(|one| one.claim.growth).min().unwrap_or(0),
        }
    }

    /// The watched sites with their claims, which count for more than a newcomer's.
    fn contenders(&self, t: f64) -> Vec<Contender> {
        let ahead = |steps: u8| if steps == 0 { 0 } else { steps.saturating_add(Self::MARGIN) };
        let contender = |watched: &Watched| {
            let Claim { size, growth } = self.claim(watched.site);
            let forgotten = ((t - watched.since) / Self::STEP_S) as u8;
            let held = if size == 0 { 0 } else { watched.admitted_for.saturating_sub(forgotten) };
            let claim = Claim { size: ahead(size), growth: ahead(growth.max(held)) };
            Contender { site: watched.site, claim, is_new: false }
        };
        self.watched.iter().map(contender).collect()
    }

    /// Gives newcomers a full history, as far as there is room or they surpass others.
    fn admit(&mut self, newcomers: &mut [Contender], t: f64) {
        let room = Self::WATCHED - self.watched.len();
        if room > 0 {
            let (admitted, _) = split(newcomers, room, |one| (one.claim.size, one.claim.growth));
            self.watch(admitted, t);
        } else if !newcomers.is_empty() {
            self.replace(newcomers, t);
        }
    }

    fn replace(&mut self, newcomers: &mut [Contender], t: f64) {
        let mut all = self.contenders(t);
        let (largest, others) = split(newcomers, Self::NEWCOMERS, |one| (one.claim.size, one.claim.growth));
        let (fastest, _) = split(others, Self::NEWCOMERS, |one| (one.claim.growth, one.claim.size));
        all.extend(largest.iter().chain(fastest.iter()));
        let (largest, others) = split(&mut all, Self::LARGEST, |one| (one.claim.size, one.claim.growth));
        let (fastest, losers) =
            split(others, Self::WATCHED - Self::LARGEST, |one| (one.claim.growth, one.claim.size));
        for loser in losers.iter().filter(|one| !one.is_new) {
            if let Some(outline) = self.outlines.get_mut(loser.site) {
                outline.place = None;
            }
        }
        let outlines = &mut self.outlines;
        self.watched.retain(|one| outlines.get(one.site).is_some_and(|outline| outline.place.is_some()));
        for (place, watched) in self.watched.iter().enumerate() {
            if let Some(outline) = outlines.get_mut(watched.site) {
                outline.place = Some(place as u32);
            }
        }
        self.watch(largest, t);
        self.watch(fastest, t);
    }

    /// Watches the new ones among these.
    fn watch(&mut self, admitted: &[Contender], t: f64) {
        for newcomer in admitted.iter().filter(|one| one.is_new) {
            let Some(outline) = self.outlines.get_mut(newcomer.site) else { continue };
            outline.place = Some(self.watched.len() as u32);
            let mut past: Vec<Point> = outline.scout.points().collect();
            // The newest was seen at this very tick.
            past.pop();
            self.watched.push(Watched {
                site: newcomer.site,
                series: Series::after(past),
                since: t,
                admitted_for: newcomer.claim.growth,
                judged: None,
            });
        }
    }

    fn claim(&self, site: u32) -> Claim {
        self.outlines.get(site).map_or(Claim::default(), |outline| outline.scout.claim)
    }

    /// Sites whose verdict is due at time `t`, the most urgent first, `max` at most.
    pub(super) fn candidates(&self, t: f64, max: usize) -> Vec<u32> {
        candidates(self.watched.iter().map(|one| (one, self.claim(one.site))), t, max)
    }

    /// The full history of a site, if it has one.
    pub(super) fn get(&self, site: u32) -> Option<&Watched> {
        self.watched.get(self.outlines.get(site)?.place? as usize)
    }

    pub(super) fn get_mut(&mut self, site: u32) -> Option<&mut Watched> {
        self.watched.get_mut(self.outlines.get(site)?.place? as usize)
    }

    /// What is known of a site's past, oldest first; `None` before its first tick, and of former images.
    pub(super) fn points(&self, site: u32) -> Option<Vec<Point>> {
        let outline = self.outlines.get(site)?;
        Some(match self.get(site) {
            Some(watched) => watched.series.points().collect(),
            None => outline.scout.points().collect(),
        })
    }

    /// The history of a site until the last tick at time `t`, and what it holds now: (seconds since attach, bytes).
    pub(super) fn up_to(&self, site: u32, t: f64, live_bytes: u64) -> Option<Vec<(f64, f64)>> {
        let mut points = self.points(site)?;
        points.retain(|point| point.t < t);
        let past = points.iter().map(|point| (point.t, point.value as f64));
        Some(past.chain([(t, live_bytes as f64)]).collect())
    }

    /// No tick will follow: keeps what the last rates need.
    pub(super) fn close(&mut self) {
        for watched in &mut self.watched {
            watched.series.keep_recent();
        }
    }

    /// Forgets all histories: the sites, so many, have ended.
    pub(super) fn restart(&mut self, sites: usize) {
        self.outlines.restart(sites);
        self.watched.clear();
    }
}

/// Brings the `count` contenders with the largest keys to the front; among equals, older sites.
fn split(
    contenders: &mut [Contender],
    count: usize,
    key: impl Fn(&Contender) -> (u8, u8),
) -> (&mut [Contender], &mut [Contender]) {
    if count < contenders.len() {
        contenders.select_nth_unstable_by_key(count, |one| (Reverse(key(one)), one.site));
    }
    contenders.split_at_mut(count.min(contenders.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(count: u32) -> Vec<Site> {
        (0..count).map(|id| Site::new(id, 0)).collect()
    }

    fn check(histories: &Histories) {
        assert!(histories.watched.len() <= Histories::WATCHED);
        for (place, watched) in histories.watched.iter().enumerate() {
            assert_eq!(histories.outlines.get(watched.site).unwrap().place, Some(place as u32));
            assert_eq!(histories.get(watched.site).map(|found| found.site), Some(watched.site));
        }
    }

    #[test]
    fn while_there_is_room_every_site_with_live_bytes_has_a_full_history() {
        let mut sites = sites(100);
        let mut histories = Histories::default();
        for tick in 0..5_u32 {
            for site in &mut sites[10..] {
                site.live_bytes += 100;
            }
            histories.tick(f64::from(tick), &sites, |_| None);
        }
        assert_eq!(histories.watched.len(), 90);
        assert!(histories.get(9).is_none() && histories.points(9).is_some());
        assert_eq!(histories.get(99).unwrap().series.rate(), Some(100.0));
        check(&histories);
    }

    #[test]
    fn a_slow_leak_is_followed_among_sites_that_are_larger_and_churn() {
        let mut sites = sites(50_000);
        let mut histories = Histories::default();
        let mut random = 7_u64;
        let mut followed = None;
        for tick in 1..40_u32 {
            for site in &mut sites {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                site.live_bytes = 500_000 + (random >> 40) % 10_000;
            }
            sites[40_000].live_bytes = u64::from(tick) * 10_000;
            histories.tick(f64::from(tick), &sites, |_| None);
            check(&histories);
            if histories.get(40_000).is_some() {
                followed.get_or_insert(tick);
            } else {
                assert_eq!(followed, None, "the leak was let go");
            }
        }
        assert!(followed.is_some_and(|tick| tick < 15), "{followed:?}");
        let points = histories.points(40_000).unwrap();
        assert!(points.iter().all(|point| point.value == (point.t * 10_000.0) as u64), "{points:?}");
    }

    #[test]
    fn among_sites_that_churn_alike_few_change_places() {
        let mut sites = sites(20_000);
        let mut histories = Histories::default();
        let mut blocks = vec![[2000_u64; 10]; sites.len()];
        let (mut random, mut admitted) = (7_u64, 0);
        for tick in 1..120_u32 {
            for _ in 0..50_000 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (site, block) = (random >> 40, random >> 36 & 15);
                if let Some(block) = blocks[site as usize % sites.len()].get_mut(block as usize) {
                    *block = random >> 20 & 4095;
                }
            }
            for (site, blocks) in sites.iter_mut().zip(&blocks) {
                site.live_bytes = blocks.iter().sum::<u64>() + if site.id >= 19_500 { 500_000 } else { 0 };
            }
            histories.tick(f64::from(tick), &sites, |_| None);
            check(&histories);
            let since = |watched: &&Watched| watched.since >= f64::from(tick);
            admitted += if tick > 20 { histories.watched.iter().filter(since).count() } else { 0 };
        }
        assert!(admitted < 100 * 40, "{admitted} newcomers in 100 ticks");
        assert!((19_500..20_000).all(|site| histories.get(site).is_some_and(|watched| watched.since < 20.0)));
    }

    #[test]
    fn sites_that_shrink_make_room_for_others() {
        let mut sites = sites(5000);
        let mut histories = Histories::default();
        for tick in 0..500_u32 {
            for (index, site) in sites.iter_mut().enumerate() {
                site.live_bytes = if index as u32 / 1000 == tick / 100 { 1000 } else { 0 };
            }
            histories.tick(f64::from(tick), &sites, |_| None);
            check(&histories);
        }
        assert!((4000..5000).all(|site| histories.get(site).is_some()));
    }

    #[test]
    fn after_exec_histories_begin_anew() {
        let mut sites = sites(10);
        let mut histories = Histories::default();
        sites[9].live_bytes = 5;
        histories.tick(1.0, &sites, |_| None);
        histories.restart(10);
        assert!((0..10).all(|site| histories.points(site).is_none()));
        sites.push(Site::new(77, 0));
        sites[10].live_bytes = 9;
        histories.tick(2.0, &sites, |_| None);
        histories.tick(3.0, &sites, |_| None);
        assert_eq!(histories.points(10).unwrap(), [Point { t: 2.0, value: 9 }, Point { t: 3.0, value: 9 }]);
        assert!(histories.points(9).is_none());
        check(&histories);
    }
}
