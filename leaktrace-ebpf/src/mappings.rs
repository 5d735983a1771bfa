//! Mappings: mmap, munmap, mremap and mprotect of the C library, on request.
//!
//! What an allocator maps within a call that hands out a block is the allocator's own business. The kernel may hand
//! a range to another thread while `munmap` or `mremap` is still under way: so the old range is reported at the entry,
//! as for frees, and what became of it at the return.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{Argument, Kind, Loss, MappingRecord, MappingSlot, NO_STACK, RangeRecord, Role};

use crate::{
    emit,
    maps::{MAPPING_CALLS, count},
    registers::{Hit, read_word},
    slot,
    stack::{self, Start},
};

/// `MAP_ANONYMOUS`: only memory has call sites, files have not.
const ANONYMOUS: u32 = 0x20;

/// What the functions return on failure.
const FAILED: u64 = u64::MAX;

/// Entry of a mapping function.
#[uprobe]
pub fn mapping_enter(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let (first, second) = (hit.argument(Argument::First), hit.argument(Argument::Second));
    let (third, fourth) = (hit.argument(Argument::Third), hit.argument(Argument::Fourth));
    let role = hit.cookie.role;
    let (length, protection, flags) = match role {
        Role::Map => (second, third as u32, fourth as u32),
        Role::Remap => (third, 0, fourth as u32),
        _ => (second, third as u32, 0),
    };
    let is_inner = slot::existing(hit.thread).is_some_and(|slot| slot::is_within(&hit, slot));
    let sp = hit.stack_pointer();
    let slot = MappingSlot {
        sp,
        return_address: read_word(sp).unwrap_or(0),
        address: first,
        length,
        protection,
        flags,
        is_inner: u32::from(is_inner),
        zero: 0,
    };
    if let Some(before) = existing(hit.thread)
        && before.sp != 0
    {
        // A call that was left, or one of a signal handler within another: that one's result will not be known.
        count(Loss::AbandonedCall);
    }
    // Nothing is sent of a call whose return will not be known.
    if MAPPING_CALLS.insert(&hit.thread, &slot, 0).is_err() {
        return count(Loss::CallsFull);
    }
    if is_inner {
        return;
    }
    match role {
        Role::Unmap => range(Kind::UnmapBegin, &hit, first, second),
        Role::Remap => range(Kind::RemapBegin, &hit, first, second),
        _ => {}
    }
}

#[inline(always)]
fn range(kind: Kind, hit: &Hit, address: u64, length: u64) {
    emit::mapping(RangeRecord { header: emit::header(kind, hit), address, length });
}

/// Return of a mapping function, by a return probe.
#[uretprobe]
pub fn mapping_return(ctx: RetProbeContext) {
    let hit = Hit::of_return(&ctx);
    let Some(slot) = existing(hit.thread) else { return };
    let sp = hit.stack_pointer();
    // The return instruction has already popped the return address.
    if slot.sp == 0 || slot.sp + 8 != sp {
        return missed(slot);
    }
    let start = Start { caller: hit.instruction_pointer(), sp, fp: hit.frame_pointer() };
    finish(&hit, slot, start);
}

/// A return instruction of a mapping function, where return probes could hurt the target.
#[uprobe]
pub fn mapping_ret(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let Some(slot) = existing(hit.thread) else { return };
    if slot.sp == 0 || slot.sp != hit.stack_pointer() {
        return missed(slot);
    }
    let start = Start { caller: slot.return_address, sp: slot.sp + 8, fp: hit.frame_pointer() };
    finish(&hit, slot, start);
}

/// A return whose entry was not seen, in a thread that was seen to map something before. (Of the other threads, the
/// call may have been under way when tracing began.) Where another call is under way, it was counted at its entry.
#[inline(always)]
fn missed(slot: &MappingSlot) {
    if slot.sp == 0 {
        count(Loss::MissedEntry);
    }
}

/// The thread's mapping call, if it ever made one. Only the thread itself uses it, so plain reads and writes do.
#[inline(always)]
fn existing(thread: u64) -> Option<&'static mut MappingSlot> {
    // SAFETY: the value stays in the map while its thread lives, and no other thread has its key.
    MAPPING_CALLS.get_ptr_mut(&thread).map(|slot| unsafe { &mut *slot })
}

#[inline(always)]
fn finish(hit: &Hit, slot: &mut MappingSlot, start: Start) {
    slot.sp = 0;
    if slot.is_inner == 1 {
        return;
    }
    let result = hit.result();
    match hit.cookie.role {
        Role::Map if result != FAILED => {
            let stack = if slot.flags & ANONYMOUS == 0 {
                NO_STACK
            } else {
                stack::identify(hit, start, Kind::MappingStack)
            };
            mapped(Kind::Map, hit, slot, result, stack);
        }
        Role::Remap if result == FAILED => mapped(Kind::RemapEnd, hit, slot, 0, NO_STACK),
        Role::Remap => {
            let stack = stack::identify(hit, start, Kind::MappingStack);
            mapped(Kind::RemapEnd, hit, slot, result, stack);
        }
        Role::Unmap => {
            // The functions return an int: the upper half of the register means nothing.
            let length = if result as u32 == 0 { slot.length } else { 0 };
            range(Kind::UnmapEnd, hit, slot.address, length);
        }
        Role::Protect if result as u32 == 0 => mapped(Kind::Protect, hit, slot, slot.address, NO_STACK),
        _ => {}
    }
}

#[inline(always)]
fn mapped(kind: Kind, hit: &Hit, slot: &MappingSlot, address: u64, stack: u64) {
    emit::mapping(MappingRecord {
        header: emit::header(kind, hit),
        address,
        length: slot.length,
        stack,
        protection: slot.protection,
        flags: slot.flags,
    });
}
