//! V8's heap, seen from outside: its collections, snapshots of what it holds, and, where asked for, what its inspector
//! tells.

pub mod gc;
pub mod inspector;
pub mod snapshot;
