//! leaktrace finds the memory leak in a process that is already running.
//!
//! Data flows one way through the rooms of this crate: [`target`] (who is traced) → [`probe`] (where we look) →
//! [`event`] (what happened) → [`heap`] (what is live) and [`v8`] (JavaScript heaps) → [`verdict`] (a leak?) →
//! [`output`]. [`session`] wires them for one run; [`v8::inspector`] talks to a Node where the user asks for it.
//! A room uses the rooms before it, never those after it. `heap`, `v8::gc`, `v8::snapshot` and `verdict` know no clock,
//! no /proc and no BPF: the same code serves a live run and a replayed recording.

pub mod cli;
pub mod error;
pub mod event;
pub mod heap;
pub mod output;
pub mod panics;
pub mod probe;
pub mod session;
pub mod symbol;
pub mod target;
pub mod trace_file;
pub mod unwind;
pub mod v8;
pub mod verdict;
