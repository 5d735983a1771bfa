//! Whether frame pointers lead through the code of a process.

use std::collections::HashSet;

use crate::target::{
    elf::{FramePointers, Object},
    maps::Mapping,
};

/// Files that are looked at.
const MAX_FILES: usize = 256;
/// The C library and its loader are below and above the program, hardly ever between its functions.
const AT_THE_ENDS: [&str; 9] =
    ["libc.so", "libc-", "libm.so", "libm-", "libpthread", "libdl", "librt", "ld-linux", "ld-musl"];

/// Whether frame pointers are kept in all files of code of a process, but for the C library. Files without unwind tables
/// to tell it from count as those that do not.
pub fn keeps_frame_pointers(pid: u32, maps: &[Mapping]) -> bool {
    let mut seen = HashSet::new();
    let code = maps.iter().filter(|mapping| mapping.executable);
    let mut files = code.filter(|mapping| mapping.file_id().is_some_and(|file| seen.insert(file)));
    files.by_ref().take(MAX_FILES).all(|mapping| {
        let Ok(object) = Object::open(pid, mapping) else { return true };
        let name = object.file_name();
        AT_THE_ENDS.iter().any(|end| name.starts_with(end))
            || object.unwind_tables().and_then(|tables| tables.frame_pointers()) == Some(FramePointers::Kept)
    })
}
