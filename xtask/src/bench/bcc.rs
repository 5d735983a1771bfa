//! The shape of bcc's memleak, written for bpftrace: what an attaching tracer costs without leaktrace's choices.
//!
//! memleak keeps the size from entry to return, then the block with its size and stack in a hash, and forgets the
//! block when it is freed. All of it happens at the functions' first instructions.

use std::fs;

use anyhow::{Context, Result};

/// Room in each map: above the live set of every load here, so that no insertion fails for lack of room.
pub(super) const MAP_KEYS: &str = "1000000";

/// The allocators that may serve a target's malloc; the first one that is mapped does.
const ALLOCATORS: [&str; 4] = ["jemalloc", "tcmalloc", "mimalloc", "libc.so"];

/// The script for a process whose malloc and free are in `library`. It prints `attached` when the probes are in place,
/// and at its end how many calls it saw; where it is asked for also the blocks that are left, each with its stack.
pub(super) fn script(pid: u32, library: &str, prints_blocks: bool) -> String {
    let end = if prints_blocks { "" } else { "clear(@allocs);" };
    format!(
        "BEGIN {{ printf(\"attached\\n\"); }}
uprobe:{library}:malloc /pid == {pid}/ {{ @sizes[tid] = arg0; }}
uretprobe:{library}:malloc /pid == {pid} && @sizes[tid]/ {{
    @allocs[retval] = (@sizes[tid], ustack());
    delete(@sizes[tid]);
    @mallocs = count();
}}
uprobe:{library}:free /pid == {pid} && arg0/ {{
    delete(@allocs[arg0]);
    @frees = count();
}}
END {{ clear(@sizes); {end} }}
"
    )
}

/// The file that serves the malloc of a process.
pub(super) fn allocator_of(pid: u32) -> Result<String> {
    let maps =
        fs::read_to_string(format!("/proc/{pid}/maps")).context("cannot read the target's mappings")?;
    let found = ALLOCATORS.iter().find_map(|name| {
        let line =
            maps.lines().find(|line| line.rsplit('/').next().is_some_and(|file| file.contains(name)))?;
        Some(line.get(line.find('/')?..)?.to_owned())
    });
    found.context("the target has no allocator of its own in its mappings")
}

/// What the script saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Returns of malloc that were stored, and calls of free.
    pub(super) events: u64,
    /// Events that bpftrace itself says it lost.
    pub(super) lost: u64,
}

/// Reads what bpftrace printed.
pub(super) fn parse(printed: &str) -> Seen {
    let mut seen = Seen::default();
    for line in printed.lines() {
        if let Some(count) = line.strip_prefix("@mallocs: ").or_else(|| line.strip_prefix("@frees: ")) {
            seen.events += count.trim().parse().unwrap_or(0);
        }
        if let Some(count) = line.strip_prefix("Lost ").and_then(|rest| rest.split(' ').next()) {
            seen.lost += count.parse().unwrap_or(0);
        }
    }
    seen
}

/// The bytes of printed blocks whose stack names a function.
pub(super) fn named_bytes(printed: &str, function: &str) -> u64 {
    let blocks = printed.split("@allocs[").skip(1);
    let named = blocks.filter(|block| {
        // A frame a line, `function+offset`.
        block.lines().any(|line| line.trim().split('+').next() == Some(function))
    });
    let size = |block: &str| block.split_once("]: (")?.1.split(',').next()?.trim().parse::<u64>().ok();
    named.filter_map(size).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_with_a_function_on_their_stack_are_counted() {
        let printed = "@allocs[140]: (48, \n        checked_malloc+12\n)\n@allocs[141]: (16, \n        checked_malloc+12\n        remember+9\n)\n";
        assert_eq!(named_bytes(printed, "checked_malloc"), 64);
        assert_eq!(named_bytes(printed, "remember"), 16);
        assert_eq!(named_bytes(printed, "main"), 0);
    }

    #[test]
    fn what_bpftrace_prints_is_read() {
        let printed = "Attaching 5 probes...\nattached\nLost 7 events\n\n@frees: 20\n@mallocs: 22\n";
        assert_eq!(parse(printed), Seen { events: 42, lost: 7 });
    }

    #[test]
    fn the_script_filters_by_process() {
        let script = script(77, "/lib/libc.so.6", false);
        assert_eq!(script.matches("pid == 77").count(), 3);
        assert_eq!(script.matches("/lib/libc.so.6:").count(), 3);
    }

    #[test]
    fn our_own_allocator_is_found() {
        assert!(allocator_of(std::process::id()).unwrap().contains("libc.so"));
    }
}
