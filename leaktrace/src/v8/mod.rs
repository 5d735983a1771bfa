//! V8's heap, seen from outside: its collections, and snapshots of what it holds.

pub mod gc;
pub mod snapshot;
