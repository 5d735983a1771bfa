//! By how much a process has grown since it is looked at in slices.

use super::Estimated;

/// Growth of this many standard errors is no chance.
const SURE: f64 = 2.0;

/// What lives more than when looking in slices began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    /// Bytes as asked for.
    pub asked_bytes: f64,
    /// And as the allocator gave them.
    pub given_bytes: f64,
    /// Bytes of the sites whose growth may be chance, and their variance.
    doubtful_bytes: f64,
    doubt: f64,
}

impl Growth {
    /// Takes in what is estimated of a site.
    pub(in crate::heap) fn add(&mut self, site: &Estimated) {
        self.asked_bytes += site.grown_bytes;
        self.given_bytes += site.grown_bytes + site.spare_bytes;
        if site.grown_bytes.powi(2) < SURE * SURE * site.variance() {
            self.doubtful_bytes += site.grown_bytes;
            self.doubt += site.variance();
        }
    }

    /// Share of it that is no chance.
    ///
    /// A few large blocks of work in progress that were seen to outlast a slice stand for many, until it is known that they
    /// have gone. The growth of many sites may be none of chance together, though that of each may be.
    pub fn sure_share(&self) -> f64 {
        let is_chance = self.doubtful_bytes.powi(2) < SURE * SURE * self.doubt;
        let sure_bytes = self.asked_bytes - self.doubtful_bytes;
        if is_chance && sure_bytes > 0.0 && self.asked_bytes > 0.0 {
            sure_bytes / self.asked_bytes
        } else {
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn site(grown_bytes: f64, error: f64) -> Estimated {
        Estimated {
            grown_bytes,
            spare_bytes: grown_bytes / 10.0,
            variance: error * error,
            ..Estimated::default()
        }
    }

    fn sure_share(sites: &[Estimated]) -> f64 {
        let mut growth = Growth::default();
        for site in sites {
            growth.add(site);
        }
        growth.sure_share()
    }

    #[test]
    fn growth_is_summed_as_asked_for_and_as_given() {
        let mut growth = Growth::default();
        growth.add(&site(300.0, 50.0));
        growth.add(&site(100.0, 70.0));
        assert_eq!((growth.asked_bytes, growth.given_bytes), (400.0, 440.0));
    }

    #[rstest]
    #[case::chance(&[site(300.0, 50.0), site(100.0, 70.0)], 0.75)]
    #[case::chance_hides_growth(&[site(300.0, 50.0), site(-100.0, 70.0)], 1.5)]
    #[case::none_by_chance(&[site(300.0, 50.0), site(100.0, 40.0)], 1.0)]
    #[case::no_sites(&[], 1.0)]
    #[case::nothing_sure(&[site(10.0, 70.0)], 1.0)]
    #[case::shrinks(&[site(-300.0, 50.0)], 1.0)]
    fn what_may_be_chance_is_told_apart(#[case] sites: &[Estimated], #[case] share: f64) {
        assert!((sure_share(sites) - share).abs() < 1e-9, "{}", sure_share(sites));
    }

    #[test]
    fn so_many_grow_by_no_chance() {
        assert!((sure_share(&[site(100.0, 70.0); 20]) - 1.0).abs() < 1e-9);
    }
}
