//! Wires the rooms for one run.
