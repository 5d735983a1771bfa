//! The inspector of a running Node: used where it is open, opened only where that is known to do no harm, spoken to as
//! to any untrusted peer, and closed again if it was opened by us.
//!
//! Everything here happens because the user asked for it by name (`--js-sites`, `snapshot`). What it costs the target
//! is in their help.

mod client;
mod closing;
mod connect;
mod decision;
mod endpoint;
mod error;
mod facts;
mod message;
mod opening;
mod options;
mod profile;
mod sampler;
mod sampling;
mod sites;
mod snapshot;
mod sockets;
mod source_map;
mod uv_signals;
mod workers;

#[cfg(test)]
mod tests;

pub use error::InspectorError;
pub use opening::{Inspector, open};
pub use sampler::{JsEvent, Sampler, SamplingOptions};
pub use sites::{JsFrame, JsSample};
pub use snapshot::{Progress, Taken, take_snapshot};
