//! Whether frame pointers lead through a file of code.

use crate::target::{
    elf::{FramePointers, Object},
    maps::Mapping,
};

/// The C library and its loader are below and above the program, hardly ever between its functions.
const AT_THE_ENDS: [&str; 9] =
    ["libc.so", "libc-", "libm.so", "libm-", "libpthread", "libdl", "librt", "ld-linux", "ld-musl"];

/// Whether frame pointers lead through the code of a mapped file: they are kept there, or it is the C library. A file
/// without unwind tables to tell it from counts as one that does not keep them; `None` if it cannot be opened.
pub fn frame_pointers_lead_through(pid: u32, mapping: &Mapping) -> Option<bool> {
    let object = Object::open(pid, mapping).ok()?;
    let is_at_the_end = AT_THE_ENDS.iter().any(|end| object.file_name().starts_with(end));
    Some(is_at_the_end || object.frame_pointers() == Some(FramePointers::Kept))
}
