//! Compares the code in a process's memory with the code of its file: may a probe be placed by what the file says?

use super::cost::NOP5;
use super::function::{Code, Function};

/// `int3`: what an armed uprobe leaves of an instruction's first byte.
const BREAKPOINT: u8 = 0xcc;
/// `call rel32`: what kernels from 6.18 make of a probed five-byte nop.
const CALL: u8 = 0xe8;

/// What was found in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveText {
    /// The file's bytes.
    Same,
    /// The file's bytes, but for probes at these offsets.
    OtherProbes(Vec<u64>),
    /// Other code (patched, hooked, or another build): what the file says does not hold.
    Different {
        /// The first difference that no probe explains.
        offset: u64,
    },
}

/// Whether the `live` bytes at a function are its file's `code`.
///
/// Of a function whose size is not known, only the bytes of its reachable instructions count.
pub fn compare_live(code: &Code<'_>, live: &[u8]) -> LiveText {
    let function = Function::decode(code);
    let mut probes = Vec::new();
    // Up to which offset differences are explained by the probe before them.
    let mut explained = 0;
    for (index, &was) in code.bytes.iter().enumerate() {
        let offset = index as u64;
        let Some(&is) = live.get(index) else { return LiveText::Different { offset } };
        if was == is || offset < explained {
            continue;
        }
        if !code.size_known && !is_reachable(&function, offset) {
            continue;
        }
        let original = function.bytes_at(offset);
        let is_probe = match is {
            BREAKPOINT => !original.is_empty(),
            CALL => original == NOP5,
            _ => false,
        };
        if !is_probe {
            return LiveText::Different { offset };
        }
        // While the kernel turns a nop into a call, a breakpoint stands before the call's operand.
        let replaced = if original == NOP5 { NOP5.len() as u64 } else { 1 };
        explained = offset.saturating_add(replaced);
        probes.push(offset);
    }
    if probes.is_empty() { LiveText::Same } else { LiveText::OtherProbes(probes) }
}

/// Whether an offset lies within a reachable instruction.
fn is_reachable(function: &Function<'_>, offset: u64) -> bool {
    const LONGEST: u64 = 15;
    let first = offset.saturating_sub(LONGEST - 1);
    (first..=offset).any(|start| start + function.bytes_at(start).len() as u64 > offset)
}
