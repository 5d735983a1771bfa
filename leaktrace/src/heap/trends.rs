//! The recent past of the sites that matter.

use rustc_hash::FxHashMap;

use super::recent::Recent;
use super::site::Site;

/// Histories for the largest sites only: half a kilobyte each for a thousand of 50,000 sites keeps both memory and
/// the work of a tick bounded. A site that leaks enters sooner or later; one that leaves the first thousand keeps
/// its history until two thousand are kept, so that sites at the border do not lose theirs at each tick.
#[derive(Debug, Default)]
pub(super) struct Trends {
    by_site: FxHashMap<u32, Recent>,
    /// Scratch: site indices in order of their live bytes.
    ranking: Vec<u32>,
}

impl Trends {
    /// How many of the largest sites get a history.
    const LARGEST: usize = 1024;

    /// Takes down the live bytes of the largest sites at time `t`, seconds since attach.
    pub(super) fn tick(&mut self, t: f64, sites: &[Site]) {
        self.rank(sites);
        for &index in &self.ranking {
            self.by_site.entry(index).or_default();
        }
        if self.by_site.len() > 2 * Self::LARGEST {
            let mut largest = std::mem::take(&mut self.ranking);
            largest.sort_unstable();
            self.by_site.retain(|index, _| largest.binary_search(index).is_ok());
            self.ranking = largest;
        }
        for (&index, recent) in &mut self.by_site {
            recent.push(t, sites.get(index as usize).map_or(0, |site| site.live_bytes));
        }
    }

    /// Growth of a site's live bytes, a second; `None` until there are three ticks of it.
    pub(super) fn rate(&self, index: u32) -> Option<f64> {
        self.by_site.get(&index)?.rate()
    }

    pub(super) fn points(&self, index: u32) -> Vec<(f64, f64)> {
        self.by_site.get(&index).map(|recent| recent.iter().collect()).unwrap_or_default()
    }

    pub(super) fn indices(&self) -> &[u32] {
        &self.ranking
    }

    /// Forgets all histories: the sites have ended.
    pub(super) fn clear(&mut self) {
        self.by_site.clear();
    }

    fn rank(&mut self, sites: &[Site]) {
        let bytes = |index: u32| sites.get(index as usize).map_or(0, |site| site.live_bytes);
        self.ranking.clear();
        self.ranking.extend((0..sites.len() as u32).filter(|&index| bytes(index) > 0));
        if self.ranking.len() > Self::LARGEST {
            self.ranking
                .select_nth_unstable_by_key(Self::LARGEST, |&index| std::cmp::Reverse((bytes(index), index)));
            self.ranking.truncate(Self::LARGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_largest_sites_keep_a_history() {
        let mut sites: Vec<_> = (0..5000).map(|id| Site::new(id, 0)).collect();
        let mut trends = Trends::default();
        for tick in 0..5_u32 {
            for (index, site) in sites.iter_mut().enumerate() {
                site.live_bytes = index as u64 * u64::from(tick);
            }
            trends.tick(f64::from(tick), &sites);
        }
        assert_eq!(trends.by_site.len(), Trends::LARGEST);
        assert_eq!(trends.rate(4999), Some(4999.0));
        assert_eq!(trends.rate(100), None);
    }

    #[test]
    fn sites_that_shrink_make_room_for_others() {
        let mut sites: Vec<_> = (0..5000).map(|id| Site::new(id, 0)).collect();
        let mut trends = Trends::default();
        for tick in 0..50_u32 {
            for (index, site) in sites.iter_mut().enumerate() {
                site.live_bytes = u64::from(index as u32 / 1000 == tick % 5);
            }
            trends.tick(f64::from(tick), &sites);
            assert!(trends.by_site.len() <= 2 * Trends::LARGEST);
        }
    }
}
