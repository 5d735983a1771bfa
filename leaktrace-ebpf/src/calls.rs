//! Calls of the C family: malloc and all that return a block or null, and never throw.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{CallSlot, Cookie, Kind, Loss, Role};

use crate::{
    emit,
    maps::{count, pass},
    registers::{Hit, read_word},
    sample,
    settings::{MAPPINGS, MIN_SIZE},
    slot,
    stack::{self, Start},
};

/// Entry of an allocation function.
#[uprobe]
pub fn alloc_enter(ctx: ProbeContext) {
    enter(&ctx, &Hit::of_probe(&ctx));
}

/// What happens at an entry; `true` where the return must be seen.
#[inline(always)]
pub fn enter(ctx: &ProbeContext, hit: &Hit) -> bool {
    let size = hit.requested_size();
    let reallocates = matches!(hit.cookie.role, Role::Reallocate);
    // A reallocation to a small size still ends the life of its old block. And what a small call maps is no mapping of
    // the program's own.
    let is_large = size >= MIN_SIZE.load();
    if !is_large && !reallocates && MAPPINGS.load() == 0 {
        pass(hit.cookie.function);
        return false;
    }
    let Some(slot) = slot::of(hit) else { return false };
    if slot::within_call(ctx, hit, slot) {
        return false;
    }
    let wanted = if is_large { sample::takes(slot, size) } else { 0 };
    let is_wanted = wanted != 0;
    if !is_wanted {
        pass(hit.cookie.function);
    }
    // A call within one that is not followed would count for itself.
    if !is_wanted && hit.cookie.is_leaf && !reallocates && is_sampling() && MAPPINGS.load() == 0 {
        return false;
    }
    slot.sp = hit.stack_pointer();
    slot.return_address = read_word(slot.sp).unwrap_or(0);
    slot.size = size;
    slot.pointer = hit.argument(hit.cookie.pointer);
    slot.cookie = hit.cookie.to_bits();
    slot.active = 1;
    slot.wanted = wanted;
    slot.moves = u32::from(reallocates && slot.pointer != 0 && sample::forget(hit, slot.pointer));
    if slot.moves == 1 {
        emit::free(Kind::ReallocBegin, hit, slot.pointer);
    }
    true
}

/// Whether calls are left out because they are no samples.
#[inline(always)]
fn is_sampling() -> bool {
    sample::control().interval() != 0
}

/// Return of an allocation function, by a return probe.
#[uretprobe]
pub fn alloc_return(ctx: RetProbeContext) {
    returned(&Hit::of_return(&ctx));
}

/// What happens at a return.
#[inline(always)]
pub fn returned(hit: &Hit) {
    // A thread that we have not seen enter anything was within this call when tracing began: no loss.
    let Some(slot) = slot::existing(hit.thread) else { return };
    let sp = hit.stack_pointer();
    // The return instruction has already popped the return address.
    let returned = slot.sp + 8;
    if slot.active == 0 {
        // At the same place as the call that just ended, this is a function that ended in a jump to it.
        if returned != sp && MIN_SIZE.load() == 0 && !is_sampling() {
            count(Loss::MissedEntry);
        }
        return;
    }
    // Another stack pointer belongs to a call within the outermost one.
    if returned != sp {
        return;
    }
    let start = Start { caller: hit.instruction_pointer(), sp, fp: hit.frame_pointer() };
    finish(hit, slot, start);
}

/// A return instruction of an allocation function, where return probes could hurt the target.
#[uprobe]
pub fn alloc_ret(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let Some(slot) = slot::existing(hit.thread) else { return };
    if slot.active == 0 || slot.sp != hit.stack_pointer() {
        return;
    }
    let start = Start { caller: slot.return_address, sp: slot.sp + 8, fp: hit.frame_pointer() };
    finish(&hit, slot, start);
}

#[inline(always)]
fn finish(hit: &Hit, slot: &mut CallSlot, start: Start) {
    slot.active = 0;
    let result = hit.result();
    let role = Cookie::from_bits(slot.cookie).role;
    let address = match role {
        Role::StoreResult if result as u32 != 0 => 0,
        Role::StoreResult => match read_word(slot.pointer) {
            Some(address) => address,
            None => return count(Loss::UnreadableResult),
        },
        _ => result,
    };
    if address == 0 {
        if slot.moves == 1 {
            // Without a block for some bytes it failed, and the old block lives on.
            if slot.size != 0 {
                sample::lives_on(hit, slot.pointer);
            }
            emit::allocation(Kind::ReallocEnd, hit, 0, sample::told_size(slot.size, 1), 0);
        }
        return;
    }
    slot.last_block = address;
    slot.last_free = 0;
    if slot.wanted == 0 || !sample::remember(hit, address) {
        // The new block is not to be told; the old one of a reallocation is gone.
        if slot.moves == 1 {
            emit::allocation(Kind::ReallocEnd, hit, 0, 0, 0);
        }
        return;
    }
    let stack = stack::identify(hit, start, Kind::Stack);
    let kind = if slot.moves == 1 { Kind::ReallocEnd } else { Kind::Allocation };
    emit::allocation(kind, hit, address, sample::told_size(slot.size, slot.wanted), stack);
}
