//! V8 inside of the target.

pub mod inspector;
