//! What a series of bytes over time is: a leak, perhaps one, bounded, or too short to say; in which pattern it moves,
//! how fast, and how sure that is.
//!
//! [`judge`] is a pure function: no clock, no /proc, no aya. It sees the [`Samples`] and what is known beside them
//! ([`Circumstances`]), and gives a [`Judgement`]. The same engine judges call sites, processes and V8 heaps of a live
//! trace, and any CSV file given to `leaktrace classify`.

mod circumstances;
mod judge;
mod judgement;
mod samples;

pub use circumstances::{Circumstances, SiteFacts};
pub use judge::judge;
pub use judgement::{Evidence, Growth, Judgement, Pattern, Verdict};
pub use samples::Samples;
