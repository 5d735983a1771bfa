//! What there is to see in a curve: measured once, then looked at by every pattern.

mod area;
mod cycles;
mod grid;
mod leap;
mod moves;
mod rate;
mod smooth;
mod steps;
mod tail;

pub(super) use cycles::Cycles;
pub(super) use leap::Leap;
pub(super) use moves::Moves;
pub(super) use rate::{Rate, straight};
#[cfg(test)]
pub(super) use smooth::Kernel;
pub(super) use smooth::Smooth;
pub(super) use steps::Steps;
pub(super) use tail::Tail;

use super::curve::Curve;

/// Everything that was measured of one curve.
#[derive(Clone, Debug)]
pub(super) struct Study {
    pub(super) curve: Curve,
    pub(super) moves: Moves,
    pub(super) smooth: Smooth,
    pub(super) steps: Steps,
    pub(super) leap: Leap,
    pub(super) cycles: Cycles,
    pub(super) tail: Tail,
}

impl Study {
    /// Measures a curve.
    pub(super) fn new(curve: Curve) -> Self {
        let moves = Moves::new(&curve);
        let smooth = Smooth::new(&curve);
        let steps = Steps::new(&curve, &smooth);
        let leap = Leap::new(&curve);
        let cycles = Cycles::new(&curve, &smooth);
        let tail = Tail::new(&curve);
        Self { curve, moves, smooth, steps, leap, cycles, tail }
    }

    /// Whether it goes up all the way, with hardly a fall, by far more than any noise makes of nothing.
    pub(super) fn is_plain_growth(&self) -> bool {
        let line = &self.smooth.line;
        self.moves.net > 0.6
            && self.moves.falling() < 0.1
            && line.t > 6.0
            && line.slope > 6.0 * self.curve.noise
    }
}
