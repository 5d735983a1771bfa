//! Wires the rooms for one run.

mod input;
mod pipeline;
mod ranking;
mod watch;

pub use input::{Fact, Input, ProcessUsage, Tick};
pub use pipeline::Pipeline;
pub use ranking::View;
pub use watch::{ChildUsage, Finding, Observed, Watch};
