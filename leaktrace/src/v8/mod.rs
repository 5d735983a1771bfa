//! V8's heap, seen from outside.

pub mod gc;
