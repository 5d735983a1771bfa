//! Heap snapshots as V8 writes them (`.heapsnapshot`): bytes in, tables out.
//!
//! A file is read once, as a stream, into columns of numbers ([`read`]). From these come the dominator tree and the
//! retained sizes ([`analyse`]), figures per constructor, and, over several files, what grew, who holds it and why
//! ([`History`]). Nothing here knows a file system, a clock or a terminal.

mod cause;
mod circular;
mod classes;
mod column;
mod dominators;
mod edges;
mod error;
mod graph;
mod growth;
mod history;
mod holder;
mod ids;
mod layout;
mod names;
mod paths;
mod reader;
mod retained;
mod scan;
mod shallow;
mod source;

#[cfg(test)]
mod tests;

pub use cause::{Cause, Container, Explanation};
pub use classes::{ClassFigures, Totals};
pub use error::SnapshotError;
pub use graph::{EdgeKind, NodeKind};
pub use growth::{Growth, GrowthLimits};
pub use history::{ClassChange, Comparison, History};
pub use paths::Step;
pub use reader::read;
pub use retained::{Analysis, analyse};
