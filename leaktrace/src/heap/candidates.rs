//! Which sites are worth a verdict now.

use std::cmp::Reverse;

use super::histories::Watched;
use super::scout::Claim;

/// When a site was judged last, and what it held then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) t: f64,
    pub(super) live_bytes: u64,
}

/// Fewer points of a site's past say nothing.
const FEWEST_POINTS: usize = 3;

/// A site is due when the seconds since its last verdict, times its weight, come to this; not quite a second, so that
/// ticks a second that come a little early do not miss it.
const DUE: f64 = 0.9;

/// Sites whose verdict is due at time `t`, the most urgent first, `max` at most.
pub(super) fn candidates<'a>(
    watched: impl Iterator<Item = (&'a Watched, Claim)>,
    t: f64,
    max: usize,
) -> Vec<u32> {
    let urgencies = watched.filter_map(|(one, claim)| Some((urgency(one, claim, t)?, one.site)));
    let mut due: Vec<_> = urgencies.filter(|&(urgency, _)| urgency >= DUE).collect();
    let key = |&(urgency, site): &(f64, u32)| (Reverse(urgency.to_bits()), site);
    if max < due.len() {
        due.select_nth_unstable_by_key(max, key);
        due.truncate(max);
    }
    due.sort_unstable_by_key(key);
    due.into_iter().map(|(_, site)| site).collect()
}

/// Seconds since the last verdict, weighted; not negative. `None` where there is nothing to judge.
fn urgency(watched: &Watched, claim: Claim, t: f64) -> Option<f64> {
    let now = watched.series.last()?;
    if watched.series.len() < FEWEST_POINTS {
        return None;
    }
    let (since, before) = watched.judged.map_or((watched.since, 0), |judged| (judged.t, judged.live_bytes));
    Some(((t - since) * weight(before, now.value, claim)).max(0.0))
}

/// How much sooner than others a site is due that held `before` when it was judged and holds `now`.
///
/// What changed is due every second, and where there are many, what grew its turn comes up to eight times as often;
/// so a slow leak does not wait for all that churn. What did not change is due all the same, more seldom: that it
/// has stopped growing is news, too.
fn weight(before: u64, now: u64, claim: Claim) -> f64 {
    let growing = 1.0 + f64::from(claim.growth) / 32.0;
    match (before, now) {
        (0, 0) => 0.05,
        _ if before == now => 0.3 * growing,
        _ => growing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::series::Series;

    fn watched(site: u32, values: &[u64], judged: Option<(f64, u64)>) -> (Watched, Claim) {
        let mut series = Series::default();
        for (t, &value) in values.iter().enumerate() {
            series.push(t as f64, value);
        }
        let judged = judged.map(|(t, live_bytes)| Judged { t, live_bytes });
        (Watched { site, series, since: 0.0, admitted_for: 0, judged }, Claim::default())
    }

    fn due(sites: &[(Watched, Claim)], t: f64, max: usize) -> Vec<u32> {
        candidates(sites.iter().map(|(watched, claim)| (watched, *claim)), t, max)
    }

    #[test]
    fn a_site_of_three_points_is_due_and_after_its_verdict_when_it_changed() {
        assert!(due(&[watched(1, &[5, 6], None)], 1.0, 9).is_empty());
        assert_eq!(due(&[watched(1, &[5, 6, 7], None)], 2.0, 9), [1]);
        assert!(due(&[watched(1, &[5, 6, 7], Some((2.0, 7)))], 2.0, 9).is_empty());
        assert_eq!(due(&[watched(1, &[5, 6, 7, 8], Some((2.0, 7)))], 3.0, 9), [1]);
        let level = [watched(1, &[5, 6, 7, 7, 7, 7, 7], Some((2.0, 7)))];
        assert!(due(&level, 3.0, 9).is_empty());
        assert_eq!(due(&level, 6.0, 9), [1]);
    }

    #[test]
    fn what_grew_comes_first_and_no_one_waits_for_ever() {
        let mut sites: Vec<_> = (0..100).map(|site| watched(site, &[1, 2, 3], None)).collect();
        sites[70].1.growth = 100;
        let mut turns = [0; 100];
        for tick in 3..103_u32 {
            let t = f64::from(tick);
            for (watched, _) in &mut sites {
                watched.series.push(t, u64::from(tick));
            }
            let chosen = due(&sites, t, 10);
            assert_eq!(chosen.len(), 10);
            for site in chosen {
                turns[site as usize] += 1;
                sites[site as usize].0.judged = Some(Judged { t, live_bytes: u64::from(tick) });
            }
        }
        assert!((30..=40).contains(&turns[70]), "{turns:?}");
        assert!(turns.iter().all(|&turns| turns >= 9), "{turns:?}");
    }

    #[test]
    fn numbers_that_are_none_do_no_harm() {
        let sites = [watched(1, &[5, 6, 7], None)];
        assert!(due(&sites, f64::NAN, 9).is_empty());
        assert_eq!(due(&sites, f64::INFINITY, 9), [1]);
        assert!(due(&sites, 5.0, 0).is_empty());
    }
}
