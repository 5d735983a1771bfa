//! The live-allocation map and the call sites. Pure: no clock, no /proc, no BPF.
