//! WHO we trace: process facts, mappings, ELF files, which allocator, which runtime.
//!
//! Everything here reads what the target controls: names, paths and files are bounded and never trusted.

pub mod allocator;
pub mod cpus;
pub mod elf;
pub mod find;
pub mod glibc;
pub mod hazard;
pub mod limit;
pub mod maps;
pub mod memory;
pub mod pages;
pub mod preemption;
pub mod process;
pub mod resident;
pub mod runtime;
pub mod sched;
mod status;
pub mod system;
pub mod usage;
pub mod v8;
