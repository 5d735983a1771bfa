//! At which instruction of a function a probe belongs: bytes in, decisions out.
//!
//! On x86-64 the kernel emulates `push`, `nop` and near branches and single-steps everything else, which costs five
//! times as much a hit; so the instruction decides what tracing costs. The kernel refuses hardly any wrong choice:
//! a probe after a `push` loses returns, a probe inside an instruction kills the target. Every decision here is
//! therefore made on decoded code, and where the code cannot be understood the answer is the function's first byte,
//! or a refusal, never a guess.
//!
//! [`place_entry`] finds the cheapest instruction that sees every call with its arguments intact,
//! [`return_sites`] every instruction by which a function returns, [`forwards_to`] functions that only jump to
//! another one, and [`compare_live`] tells whether the code in memory is still the code of the file.
//!
//! Only the bytes given are looked at. Code elsewhere that jumps into the middle of a function's entry block (no
//! compiler emits that, hand-written assembly might) cannot be seen from here.

mod compare;
mod cost;
mod entry;
mod function;
mod returns;

pub use compare::{LiveText, compare_live};
pub use cost::CostClass;
pub use entry::{Need, Placement, PlacementError, forwards_to, place_entry, stub_slot};
pub use function::{Code, MAX_INSTRUCTIONS};
pub use returns::{MAX_FUNCTIONS, ReturnSite, Returns, ReturnsError, return_sites};

#[cfg(test)]
mod tests;
