//! The outlines of all sites of a process, looked at in turn.

use super::scout::Scout;
use super::site::Site;
use super::sites::RESERVED;

/// The outline of one site.
#[derive(Debug)]
pub(super) struct Outline {
    pub(super) scout: Scout,
    /// Its place among the sites with a full history.
    pub(super) place: Option<u32>,
}

const _: () = assert!(size_of::<Outline>() <= 112, "the budget of 700 bytes a site counts on this");

/// Outlines of the reserved sites and of those of the running image.
#[derive(Debug, Default)]
pub(super) struct Outlines {
    all: Vec<Outline>,
    /// How many sites of former images stand between the reserved ones and those of the running image.
    ended: usize,
    next: usize,
}

impl Outlines {
    /// Sites looked at in one tick: all sites of most processes; a million take half a minute.
    const LOOKS: usize = 32_768;

    /// Looks at the new sites and at the next ones of the round, and calls `seen` for each. `t` is now, in seconds
    /// since attach; `unborn` tells the last tick at which a new site had nothing, if there was such a tick.
    pub(super) fn look(
        &mut self,
        t: f64,
        sites: &[Site],
        unborn: impl Fn(&Site) -> Option<f64>,
        mut seen: impl FnMut(u32, &Outline),
    ) {
        let known = self.all.len();
        let new = sites.len().saturating_sub(self.ended + known).min(Self::LOOKS);
        for index in known..known + new {
            let mut scout = Scout::default();
            if let Some(before) = sites.get(self.site_of(index)).and_then(&unborn) {
                scout.see(before, 0);
            }
            self.all.push(Outline { scout, place: None });
            self.look_at(index, t, sites, &mut seen);
        }
        for _ in 0..(Self::LOOKS - new).min(known) {
            self.next = if self.next < known { self.next } else { 0 };
            self.look_at(self.next, t, sites, &mut seen);
            self.next += 1;
        }
    }

    fn look_at(&mut self, index: usize, t: f64, sites: &[Site], seen: &mut impl FnMut(u32, &Outline)) {
        let site = self.site_of(index);
        if let (Some(outline), Some(of)) = (self.all.get_mut(index), sites.get(site)) {
            outline.scout.see(t, of.live_bytes);
            seen(site as u32, outline);
        }
    }

    /// The outline of the site with this index; `None` before it was looked at, and of former images.
    pub(super) fn get(&self, site: u32) -> Option<&Outline> {
        self.all.get(self.index_of(site)?)
    }

    pub(super) fn get_mut(&mut self, site: u32) -> Option<&mut Outline> {
        let index = self.index_of(site)?;
        self.all.get_mut(index)
    }

    /// A new image runs: the reserved sites begin anew, all others so far have ended.
    pub(super) fn restart(&mut self, sites: usize) {
        *self = Self { ended: sites.saturating_sub(RESERVED), ..Self::default() };
    }

    const fn site_of(&self, index: usize) -> usize {
        if index < RESERVED { index } else { index + self.ended }
    }

    fn index_of(&self, site: u32) -> Option<usize> {
        let site = site as usize;
        if site < RESERVED {
            return Some(site);
        }
        site.checked_sub(self.ended).filter(|&index| index >= RESERVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(count: u32) -> Vec<Site> {
        (0..count).map(|id| Site::new(id, 0)).collect()
    }

    fn look(outlines: &mut Outlines, t: f64, sites: &[Site]) -> Vec<u32> {
        let mut looked_at = Vec::new();
        outlines.look(t, sites, |_| None, |site, _| looked_at.push(site));
        looked_at
    }

    #[test]
    fn a_tick_looks_at_a_bounded_number_and_at_new_ones_first() {
        let mut outlines = Outlines::default();
        let looks = Outlines::LOOKS as u32;
        let mut sites = sites(2 * looks + 10);
        assert!(look(&mut outlines, 1.0, &sites).into_iter().eq(0..looks));
        assert!(look(&mut outlines, 2.0, &sites).into_iter().eq(looks..2 * looks));
        let third = look(&mut outlines, 3.0, &sites);
        assert!(third.into_iter().eq((2 * looks..2 * looks + 10).chain(0..looks - 10)));
        sites.push(Site::new(7, 0));
        let fourth = look(&mut outlines, 4.0, &sites);
        assert_eq!((fourth.len(), fourth[0], fourth[1]), (Outlines::LOOKS, 2 * looks + 10, looks - 10));
        assert!(outlines.get(2 * looks + 10).is_some() && outlines.get(2 * looks + 11).is_none());
    }

    #[test]
    fn a_site_that_is_new_begins_with_nothing() {
        let mut outlines = Outlines::default();
        let mut sites = sites(3);
        sites[2].live_bytes = 77;
        outlines.look(9.0, &sites, |site| (site.id == 2).then_some(8.0), |_, _| {});
        let points: Vec<_> = outlines.get(2).unwrap().scout.points().map(|p| (p.t, p.value)).collect();
        assert_eq!(points, [(8.0, 0), (9.0, 77)]);
        assert_eq!(outlines.get(1).unwrap().scout.points().count(), 1);
    }

    #[test]
    fn ended_sites_are_looked_at_no_more() {
        let mut outlines = Outlines::default();
        look(&mut outlines, 1.0, &sites(5));
        outlines.restart(5);
        assert_eq!(look(&mut outlines, 2.0, &sites(7)), [0, 1, 5, 6]);
        assert_eq!(look(&mut outlines, 3.0, &sites(7)), [0, 1, 5, 6]);
        let known = [0, 1, 2, 3, 4, 5, 6, 7].map(|site| outlines.get(site).is_some());
        assert_eq!(known, [true, true, false, false, false, true, true, false]);
    }
}
