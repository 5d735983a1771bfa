//! The room as a whole: hand-made shapes, live growth second by second, circumstances, any numbers at all.

mod arbitrary;
mod circumstances;
mod live;
mod shapes;
mod study;
mod words;

use super::{Circumstances, Judgement, Samples, Verdict, judge};

/// Judges a function of 0..1 seen at so many points, one a minute.
fn judge_shape(count: usize, shape: impl Fn(f64) -> f64) -> Judgement {
    let points = (0..count).map(|i| (60.0 * i as f64, shape(i as f64 / (count - 1) as f64)));
    judge(&Samples::new(points), &Circumstances::default())
}

/// Noise of deviation 1, the same each time.
pub(super) fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut unit = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    move || (0..12).map(|_| unit()).sum::<f64>() - 6.0
}
