//! V8: what holds the memory of a JavaScript heap.

pub mod snapshot;
