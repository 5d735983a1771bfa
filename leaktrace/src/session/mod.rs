//! Wires the rooms for one run.

mod input;
mod pipeline;
mod ranking;

pub use input::{Fact, Input, ProcessUsage, Tick};
pub use pipeline::Pipeline;
pub use ranking::View;
