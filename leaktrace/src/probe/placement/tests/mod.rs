//! Decisions on hand-assembled functions, on the allocators of a real system, and on arbitrary bytes.

mod arbitrary;
mod hand_made;
mod installed;
mod live;
mod returns;

use leaktrace_common::Argument;

use super::{Code, Need};

/// A function of known size at an address of its own.
fn function(bytes: &[u8]) -> Code<'_> {
    Code { address: 0x1000, bytes, size_known: true }
}

/// What a probe on `malloc` needs.
const SIZE: Need<'static> = Need { arguments: &[Argument::First], null_test: None, nop5_is_cheap: true };

/// What a probe on `free` needs.
const POINTER: Need<'static> =
    Need { arguments: &[Argument::First], null_test: Some(Argument::First), nop5_is_cheap: true };
