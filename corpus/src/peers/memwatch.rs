//! node-memwatch's `leak` event: the heap grew over five consecutive collections.

use super::Peer;

/// "consecutive growth over 5 GCs suggests a leak".
const GROWTHS: usize = 5;

pub(super) const PEER: Peer = Peer {
    name: "node-memwatch: five growths in a row",
    source: "lloyd/node-memwatch, src/memwatch.cc, AsyncMemwatchAfter",
    is_leak,
};

/// Every point stands for the heap after a collection. Five in a row anywhere raise the event, and nothing takes it
/// back.
fn is_leak(points: &[(f64, f64)]) -> bool {
    points.windows(GROWTHS + 1).any(|run| run.windows(2).all(|pair| pair[1].1 > pair[0].1))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::seconds, *};

    #[test]
    fn five_in_a_row_are_needed() {
        assert!(!is_leak(&seconds([1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0])));
        assert!(is_leak(&seconds([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0])));
    }
}
