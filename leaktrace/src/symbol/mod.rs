//! Addresses -> functions and lines.
//!
//! blazesym's own process source reads `/proc/PID/maps` again for each call, so it has nothing to say once the target
//! is gone: exactly when the last table of a short run is made. We therefore take the snapshot ourselves
//! (`address_space`): on the first request of a generation the maps are read and each executable file is opened
//! through `/proc/PID/map_files` (the mapped inode itself, whatever mount namespace or deletion did to its path). An
//! address becomes (open file, file offset), and blazesym reads `/proc/self/fd/N` as a plain ELF file (`names`). That
//! is one way for live and exited targets, containers, and deleted binaries. Debug files are found through
//! `.gnu_debuglink`, by build id and then by name, under the tracer's own `/usr/lib/debug`. What a file packs into itself
//! (`.gnu_debugdata`) is unpacked here, within bounds (`packed`).
//!
//! Perf maps are read by `perf_map`, as blazesym refuses a whole map for one bad line, and JITs append while we read.
//!
//! All of it runs on one thread (`worker`) with a bounded queue; asking for names never waits for them.

mod address_space;
mod culprit;
mod demangle;
mod module;
mod names;
mod packed;
mod perf_map;
mod resolver;
mod worker;

#[cfg(test)]
mod tests;

pub use culprit::{culprit, is_allocator_frame};
pub use worker::{QUEUE_LIMIT, Symbolizer};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One function on a stack, as a reader sees it.
///
/// Strings come from the target: at most [`NAME_LIMIT`] bytes, valid UTF-8, but with any control character in them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Demangled name, when one is known.
    pub function: Option<String>,
    /// Full path of the mapped file as the target named it, `[jit]` for anonymous code, or the special mapping's name
    /// (`[vdso]`, `[heap]`).
    pub module: Option<String>,
    /// Source file, when debug information names it.
    pub file: Option<String>,
    /// Source line of the call; of a JavaScript function the line in which it begins.
    pub line: Option<u32>,
    /// The column in which a JavaScript function begins, from 1; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The return address, `0x…`; empty for a JavaScript function, whose code moves.
    pub address: String,
    /// Bytes from the start of the function, or of the module's image when the function is unknown. Inlined functions
    /// have no start of their own.
    pub offset: Option<u64>,
    /// True for a function the compiler inlined into a frame that follows.
    pub inlined: bool,
}

/// A stack to be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Index of the process in this run.
    pub process: u16,
    /// Its process id, as seen from here.
    pub pid: u32,
    /// The call site the stack belongs to; comes back in [`Resolved`].
    pub site: u32,
    /// Rises on exec and dlopen: what was cached for older generations is dropped.
    pub generation: u32,
    /// Return addresses, innermost first.
    pub addresses: Vec<u64>,
}

/// The named stack of one [`Request`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Index of the process in this run.
    pub process: u16,
    /// The call site that was asked about.
    pub site: u32,
    /// Innermost first; inlined functions come before the function that contains them.
    pub frames: Vec<Frame>,
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Read debug information: source lines and inlined functions. Without it only symbol tables are read.
    pub lines: bool,
    /// Where separate debug files are looked for.
    pub debug_directories: Vec<std::path::PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { lines: true, debug_directories: vec!["/usr/lib/debug".into(), "/lib/debug".into()] }
    }
}

/// Longest function, module or file name we keep, in bytes; what is longer ends in `…`.
pub const NAME_LIMIT: usize = 4096;

/// The string cut to [`NAME_LIMIT`].
fn bounded(mut name: String) -> String {
    if name.len() > NAME_LIMIT {
        name.truncate(name.floor_char_boundary(NAME_LIMIT - '…'.len_utf8()));
        name.push('…');
    }
    name
}
