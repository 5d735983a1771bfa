//! The maps that the programs share. Their sizes here are defaults; the loader sets the real ones.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use leaktrace_common::{CallSlot, CodePages, Loss, MappingSlot, MeasureSlot, Rule};

/// What each thread's allocation call under way asked for. Never LRU: an evicted slot would be a lost call.
#[map]
pub static CALLS: HashMap<u64, CallSlot> = HashMap::with_max_entries(1 << 15, 0);

/// How samples are taken at present, as [`leaktrace_common::sampling::Control`] has it.
#[map]
pub static CONTROL: Array<u64> = Array::with_max_entries(1, 0);

/// Blocks that are sampled, by [`crate::sample::key`]. Only their frees are told.
#[map]
pub static SAMPLED: HashMap<u64, u8> = HashMap::with_max_entries(1, 0);

/// What each thread's mapping call under way asked for.
#[map]
pub static MAPPING_CALLS: HashMap<u64, MappingSlot> = HashMap::with_max_entries(1, 0);

/// What each thread asks V8 for at the moment. Threads that run JavaScript are few.
#[map]
pub static MEASURES: HashMap<u64, MeasureSlot> = HashMap::with_max_entries(1 << 10, 0);

/// Hashes of the stacks that were sent; of copied ones also how often they were seen.
#[map]
pub static KNOWN_STACKS: HashMap<u64, u32> = HashMap::with_max_entries(1 << 17, 0);

/// How the stacks of each process are taken: 1 by copies. By index of the process.
#[map]
pub static UNWIND: Array<u32> = Array::with_max_entries(1 << 16, 0);

/// 1 where the code of a process has just changed, and the loader has not seen it. By index of the process.
#[map]
pub static UNSURE: Array<u32> = Array::with_max_entries(1 << 16, 0);

/// Where there may be code.
#[map]
pub static CODE_PAGES: Array<CodePages> = Array::with_max_entries(1, 0);

/// How to come from a return address to the next. Only the loader adds to it, so that its room need not be there before.
#[map]
pub static RULES: HashMap<u64, Rule> = HashMap::with_max_entries(1, BPF_F_NO_PREALLOC);

/// Traced processes: thread-group id to process index.
#[map]
pub static TARGETS: HashMap<u32, u32> = HashMap::with_max_entries(1 << 14, 0);

/// One counter a cause of loss; per CPU, so that counting takes no lock.
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::COUNT as u32, 0);

/// Calls that were looked at and not told, because they are too small or no samples: what they cost counts, too. By number
/// of the function; per CPU, so that counting takes no lock.
#[map]
pub static PASSED: PerCpuArray<u64> = PerCpuArray::with_max_entries(256, 0);

/// Counts a call that is not told.
#[inline(always)]
pub fn pass(function: u8) {
    if let Some(counter) = PASSED.get_ptr_mut(u32::from(function)) {
        // SAFETY: as in `count`.
        unsafe { *counter += 1 };
    }
}

/// Counts one loss.
#[inline(always)]
pub fn count(loss: Loss) {
    if let Some(counter) = LOSSES.get_ptr_mut(loss as u32) {
        // SAFETY: the pointer is to this CPU's own value, which nothing else writes while we run.
        unsafe { *counter += 1 };
    }
}
