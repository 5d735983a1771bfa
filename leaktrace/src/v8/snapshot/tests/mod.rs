//! Snapshots made by hand, and any other.
