//! Addresses -> functions and lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// Name of the function, demangled, where known.
    pub function: Option<String>,
    /// Path of the object in the target's mount namespace, or `[jit]`, `[vdso]`, `[uprobes]`.
    pub module: Option<String>,
    /// Source file, where the debug information names it.
    pub file: Option<String>,
    /// Source line, where the debug information names it.
    pub line: Option<u32>,
    /// The return address, in hex.
    pub address: String,
    /// Offset into the function, or into the module where the function is not known.
    pub offset: Option<u64>,
    /// This function was inlined into the next frame's.
    pub inlined: bool,
}
