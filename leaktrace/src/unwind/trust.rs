//! How far frame pointers lead through the code of a process.

use crate::target::{
    elf::{FramePointers, Object},
    maps::Mapping,
};

/// The C library and its loader are below and above the program, hardly ever between its functions.
const AT_THE_ENDS: [&str; 9] =
    ["libc.so", "libc-", "libm.so", "libm-", "libpthread", "libdl", "librt", "ld-linux", "ld-musl"];

/// What a file of code is to a walk by frame pointers.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The file's path, in the target's mount namespace.
    pub path: String,
    /// GNU build-id, in hex.
    pub build_id: Option<String>,
    /// Whether its functions keep frame pointers; `None` where it has no unwind tables to tell it from.
    pub frame_pointers: Option<FramePointers>,
    is_at_the_end: bool,
}

impl Trust {
    /// Looks at a mapped file; `None` if it cannot be opened.
    pub fn of(pid: u32, mapping: &Mapping) -> Option<Self> {
        let object = Object::open(pid, mapping).ok()?;
        Some(Self {
            frame_pointers: object.frame_pointers(),
            is_at_the_end: AT_THE_ENDS.iter().any(|end| object.file_name().starts_with(end)),
            build_id: object.build_id,
            path: object.display_path,
        })
    }

    /// Whether frame pointers lead through the file to what is further out: they are kept there, or it is the C library.
    pub fn leads_through(&self) -> bool {
        self.is_at_the_end || self.frame_pointers == Some(FramePointers::Kept)
    }
}
