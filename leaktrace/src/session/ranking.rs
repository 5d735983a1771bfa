//! Which call sites are shown, and in which order.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use crate::{
    cli::Sort,
    heap::{Site, Tracker},
    output::record::{SiteKind, SiteSummary, SiteTick},
};

use super::{
    names::{Names, SiteNames},
    traced::{Traced, stack_of},
    verdicts::Verdicts,
};

/// What the user wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// How many sites.
    pub top: usize,
    /// What makes a site come first.
    pub sort: Sort,
    /// Count only blocks that have lived this long.
    pub older_than: Option<Duration>,
}

/// The first sites of one process.
pub(super) fn largest(traced: &Traced, view: &View, now_ns: u64, names: &Names) -> Vec<SiteTick> {
    let mut sites = candidates(traced, view, now_ns);
    let kept = view.top.min(sites.len());
    if kept < sites.len() {
        sites.select_nth_unstable_by_key(kept, |one| key(one, view.sort));
        sites.truncate(kept);
    }
    sites.sort_unstable_by_key(|one| key(one, view.sort));
    for site in &mut sites {
        site.growth_bytes_per_s = growth(traced, site.site);
        site.function = match site.kind {
            SiteKind::BeforeAttach => Some("before attach".to_owned()),
            _ => names.get(site.site).and_then(SiteNames::function),
        };
        site.isolate = traced.tracker.sampled().isolate_of(site.site);
    }
    sites
}

/// The first sites of all processes, with their stacks and verdicts.
pub(super) fn summary(
    processes: &BTreeMap<u16, Traced>,
    view: &View,
    now_ns: u64,
    names: &Names,
    verdicts: &Verdicts,
) -> Vec<SiteSummary> {
    let mut all: Vec<SiteSummary> = processes
        .iter()
        .flat_map(|(&process, traced)| {
            let sites = largest(traced, view, now_ns, names);
            sites.into_iter().map(move |figures| {
                let stack = stack_of(Some(traced), figures.site, names);
                let stands = verdicts.on_site(process, figures.site);
                SiteSummary {
                    pid: traced.pid,
                    figures,
                    verdict: stands.map(|record| record.verdict),
                    pattern: stands.and_then(|record| record.pattern),
                    confidence: stands.map(|record| record.confidence),
                    stack,
                }
            })
        })
        .collect();
    all.sort_by_key(|one| key(&one.figures, view.sort));
    all.truncate(view.top);
    all
}

/// Smaller comes first. The site id breaks ties, so that equal sites do not change places from tick to tick.
fn key(site: &SiteTick, sort: Sort) -> (Reverse<u64>, Reverse<u64>, u32) {
    let first = match sort {
        Sort::Live => site.live_bytes,
        // Rates may be negative: shifted, so that they sort as numbers without a sign.
        Sort::Growth => (site.growth_bytes_per_s.unwrap_or(0.0) as i64).wrapping_sub(i64::MIN) as u64,
        Sort::Count => site.live_count,
        Sort::Allocs => site.allocs,
        Sort::Age => (site.age_s * 1e3) as u64,
    };
    (Reverse(first), Reverse(site.live_bytes), site.site)
}

/// All sites; growth, which takes a median to tell, only where it decides who comes first.
fn candidates(traced: &Traced, view: &View, now_ns: u64) -> Vec<SiteTick> {
    let mut sites = match view.older_than {
        None => all(traced, now_ns),
        Some(age) => older(traced, age, now_ns),
    };
    if view.sort == Sort::Growth {
        for site in &mut sites {
            site.growth_bytes_per_s = growth(traced, site.site);
        }
    }
    sites
}

fn all(traced: &Traced, now_ns: u64) -> Vec<SiteTick> {
    let (blocks, mapped) = (traced.tracker.sites(), traced.tracker.mappings().sites());
    let blocks = blocks.iter().map(|site| (kind_of_blocks(traced, site.id), site));
    let mapped = mapped.iter().map(|site| (SiteKind::Mapping, site));
    let sampled = traced.tracker.sampled().sites().iter().map(|site| (SiteKind::Js, site));
    let seen = blocks.chain(mapped).chain(sampled).filter(|(_, site)| site.allocs > 0);
    let figures = |(kind, site): (SiteKind, &Site)| {
        figures(kind, site, (site.live_bytes, site.live_count), &traced.tracker, now_ns)
    };
    seen.map(figures).collect()
}

fn older(traced: &Traced, age: Duration, now_ns: u64) -> Vec<SiteTick> {
    let cutoff = now_ns.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX));
    let (tracker, of_mappings) = (&traced.tracker, traced.tracker.mappings());
    let old = [
        (SiteKind::Heap, tracker.older_than(cutoff)),
        (SiteKind::Mapping, of_mappings.older_than(cutoff)),
        (SiteKind::Js, tracker.sampled().older_than(cutoff)),
    ];
    let old = old.into_iter().flat_map(|(kind, sums)| sums.into_iter().map(move |sum| (kind, sum)));
    old.filter_map(|(kind, old)| {
        let site = tracker.site(old.site)?;
        let kind = if kind == SiteKind::Heap { kind_of_blocks(traced, site.id) } else { kind };
        Some(figures(kind, site, (old.live_bytes, old.live_count), tracker, now_ns))
    })
    .collect()
}

/// Blocks from before the trace have a site of their own.
fn kind_of_blocks(traced: &Traced, site: u32) -> SiteKind {
    if traced.tracker.is_before(site) { SiteKind::BeforeAttach } else { SiteKind::Heap }
}

fn growth(traced: &Traced, site: u32) -> Option<f64> {
    traced.tracker.site_growth(site).map(f64::round)
}

fn figures(
    kind: SiteKind,
    site: &Site,
    (live_bytes, live_count): (u64, u64),
    tracker: &Tracker,
    now_ns: u64,
) -> SiteTick {
    // Mappings are all seen; blocks from before are found all, and go out of sight with the others.
    let is_estimated = match kind {
        SiteKind::Heap => tracker.is_estimated(),
        SiteKind::BeforeAttach => tracker.slices_since().is_some(),
        SiteKind::Mapping | SiteKind::Js => false,
    };
    let [all_live, allocs, frees] =
        if is_estimated { site.estimate.counts() } else { [site.live_count, site.allocs, site.frees] };
    // Of old blocks only, those that they stand for are taken to be as large as the others.
    let live = if live_count == site.live_count {
        all_live
    } else {
        (all_live as f64 * live_count as f64 / site.live_count.max(1) as f64).round() as u64
    };
    let interval = tracker.interval_of(&site.estimate, live_bytes, live_count).filter(|_| is_estimated);
    let age = now_ns.saturating_sub(site.first_seen_ns) as f64 / 1e9;
    SiteTick {
        site: site.id,
        kind,
        function: None,
        live_bytes,
        live_count: live,
        allocs,
        frees,
        growth_bytes_per_s: None,
        age_s: (age * 1e3).round() / 1e3,
        estimated: kind == SiteKind::Js || is_estimated,
        samples: is_estimated.then_some(live_count),
        live_bytes_ci95: interval,
        isolate: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_sorts_from_the_fastest_over_none_to_the_fastest_shrinking() {
        let rates = [
            Some(f64::INFINITY),
            Some(1e6),
            Some(1.0),
            None,
            Some(-1.0),
            Some(-1e6),
            Some(f64::NEG_INFINITY),
        ];
        let site = |growth_bytes_per_s| SiteTick { growth_bytes_per_s, ..SiteTick::default() };
        assert!(rates.map(|rate| key(&site(rate), Sort::Growth)).is_sorted());
    }

    #[test]
    fn equal_sites_stay_in_the_order_of_their_ids() {
        let site = |site, live_bytes| SiteTick { site, live_bytes, ..SiteTick::default() };
        for sort in [Sort::Live, Sort::Growth, Sort::Count, Sort::Allocs, Sort::Age] {
            assert!(key(&site(2, 9), sort) < key(&site(1, 8), sort));
            assert!(key(&site(1, 9), sort) < key(&site(2, 9), sort));
        }
    }
}
