//! Call sites that take over a growth from others.
//!
//! Code that is compiled anew while a program runs lies at another address, and so does a library that is loaded anew: what it
//! leaked before it goes on to leak at a call site that is young. The growth is as old as it was.

use crate::verdict::Samples;

/// The heir brings most of what the process grows by.
const MOST: f64 = 0.75;
/// A process grew before as it does now, where neither rate is so many times the other: what was estimated of its first seconds
/// may be far off, and a cache that is filled beside a leak mostly grows by more than that.
const ALIKE: f64 = 2.0;

/// Whether a site that came later goes on with the growth that the process had before.
pub(super) fn took_over(process: &Samples, site: &Samples) -> bool {
    took_over_at(process, site).is_some_and(|[before, after, of_site]| {
        let is_alike = before <= of_site * ALIKE && of_site <= before * ALIKE;
        of_site > 0.0 && of_site >= after * MOST && is_alike
    })
}

/// Bytes a second: of the process before the site was born and after it, and of the site.
fn took_over_at(process: &Samples, site: &Samples) -> Option<[f64; 3]> {
    let unborn = site.bytes().iter().take_while(|bytes| **bytes <= 0.0).count();
    let born = *site.times().get(unborn.saturating_sub(1))?;
    let (begin, end) = (*process.times().first()?, *process.times().last()?);
    let rate = |samples: &Samples, from: f64, to: f64| {
        (to > from).then(|| samples.growth_between(from, to))?.map(|grown| grown / (to - from))
    };
    Some([rate(process, begin, born)?, rate(process, born, end)?, rate(site, born, end)?])
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// By the second: a process that grows by `before` bytes a second for 20 s and then by `other` beside its new site.
    fn series([before, other, site]: [f64; 3]) -> [Samples; 2] {
        let since = |t: f64| (t - 20.0_f64).max(0.0);
        let process = |t: f64| t.min(20.0).mul_add(before, since(t) * (other + site));
        let seconds = || (0..50).map(f64::from);
        [
            Samples::new(seconds().map(|t| (t, process(t)))),
            Samples::new(seconds().map(|t| (t, since(t) * site))),
        ]
    }

    #[rstest]
    #[case::the_same_leak([1000.0, 0.0, 1000.0], true)]
    #[case::most_of_it([1000.0, 200.0, 800.0], true)]
    #[case::half_of_it([1000.0, 500.0, 500.0], false)]
    #[case::a_cache_beside_a_leak([100.0, 100.0, 1000.0], false)]
    #[case::what_is_left_of_it([1000.0, 0.0, 100.0], false)]
    #[case::nothing_grew_before([0.0, 0.0, 1000.0], false)]
    #[case::nothing_grows([1000.0, 0.0, 0.0], false)]
    #[case::it_shrinks([1000.0, 0.0, -1000.0], false)]
    fn a_growth_is_taken_over_as_it_was(#[case] rates: [f64; 3], #[case] expected: bool) {
        let [process, site] = series(rates);
        assert_eq!(took_over(&process, &site), expected);
    }

    #[test]
    fn who_was_always_there_takes_over_nothing() {
        let always = Samples::new((0..50).map(|t| (f64::from(t), 1000.0 * f64::from(t + 1))));
        assert!(!took_over(&always, &always));
        assert!(!took_over(&always, &Samples::default()));
        assert!(!took_over(&Samples::default(), &always));
    }
}
