//! memlab's unbound growth: from snapshot to snapshot it never fell below its highest, and it grew.

use super::Peer;

pub(super) const PEER: Peer = Peer {
    name: "memlab: monotone growth",
    source: "facebook/memlab, ObjectUnboundGrowthAnalysis.ts with monotonicUnboundGrowthOnly",
    is_leak,
};

fn is_leak(points: &[(f64, f64)]) -> bool {
    let never_fell = points.windows(2).all(|pair| pair[1].1 >= pair[0].1);
    let grew = points.first().zip(points.last()).is_some_and(|(first, last)| last.1 > first.1);
    never_fell && grew
}

#[cfg(test)]
mod tests {
    use super::{super::tests::seconds, *};

    #[test]
    fn one_fall_ends_it() {
        assert!(is_leak(&seconds([1.0, 1.0, 2.0])));
        assert!(!is_leak(&seconds([1.0, 3.0, 2.0])));
    }
}
