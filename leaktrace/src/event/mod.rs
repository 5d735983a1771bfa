//! WHAT happened: ring buffer -> decoded, ordered events and loss counters.

pub mod batch;
pub mod clock;
pub mod decode;
pub mod loss;
mod merge;
pub mod order;
pub mod ring;

pub use batch::{Batch, BatchWriter};
pub use decode::{DecodeError, Event, Frames};
pub use loss::{Cause, LossCounts};
pub use order::OrderCheck;
pub use ring::{Ring, Taken};
