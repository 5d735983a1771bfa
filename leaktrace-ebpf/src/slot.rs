//! A thread's call slot, and the truth about which call of it is the outermost.

use aya_ebpf::EbpfContext;
use leaktrace_common::{CallSlot, Cookie, Kind, Loss};

use crate::{
    emit,
    maps::{CALLS, count},
    registers::{Hit, read_word},
    sample,
};

/// A static, as the stack that a program has is small.
static EMPTY: CallSlot = CallSlot {
    sp: 0,
    return_address: 0,
    size: 0,
    pointer: 0,
    new_sp: 0,
    new_size: 0,
    new_return_address: 0,
    last_block: 0,
    last_free: 0,
    last_free_sp: 0,
    last_free_function: 0,
    active: 0,
    cookie: 0,
    until_sample: 0,
    wanted: 0,
    moves: 0,
    new_wanted: 0,
    sample_level: 0,
};

/// The thread's slot, made if it has none. Only the thread itself uses it, so plain reads and writes do.
#[inline(always)]
pub fn of(hit: &Hit) -> Option<&'static mut CallSlot> {
    let slot = match CALLS.get_ptr_mut(&hit.thread) {
        Some(slot) => slot,
        None => {
            if CALLS.insert(&hit.thread, &EMPTY, 0).is_err() {
                count(Loss::CallsFull);
                return None;
            }
            CALLS.get_ptr_mut(&hit.thread)?
        }
    };
    // SAFETY: the value stays in the map while its thread lives, and no other thread has its key.
    Some(unsafe { &mut *slot })
}

/// The thread's slot, if it has one.
#[inline(always)]
pub fn existing(thread: u64) -> Option<&'static mut CallSlot> {
    // SAFETY: as in `of`.
    CALLS.get_ptr_mut(&thread).map(|slot| unsafe { &mut *slot })
}

/// Is this hit inside an allocation call of the same thread? For calls that are none themselves: they leave what is
/// under way as it is, and a call that was left is found out by the next one.
#[inline(always)]
pub fn is_within(hit: &Hit, slot: &CallSlot) -> bool {
    let sp = hit.stack_pointer();
    (slot.active == 1 && sp < slot.sp && is_pending(slot))
        || (slot.new_sp != 0 && sp < slot.new_sp && read_word(slot.new_sp) == Some(slot.new_return_address))
}

/// Is this hit inside an outer allocation call of the same thread? Then it is the allocator's own business.
///
/// A call that was left by longjmp, an exception or thread death looks as if it were still under way. It is known
/// by its stack pointer, and where that does not tell, by its return address, which is no longer in its place.
#[inline(always)]
pub fn within_call(ctx: &impl EbpfContext, hit: &Hit, slot: &mut CallSlot) -> bool {
    if slot.active == 0 {
        return false;
    }
    let sp = hit.stack_pointer();
    let is_within = if sp < slot.sp { is_pending(slot) } else { sp == slot.sp && is_tail_call(hit, slot) };
    if is_within {
        return true;
    }
    count(Loss::AbandonedCall);
    emit::log_abandoned(ctx, hit, slot.sp);
    abandon(hit, slot);
    false
}

/// Forgets a call that will not return to us; a block that it had in flight lives on.
#[inline(always)]
pub fn abandon(hit: &Hit, slot: &mut CallSlot) {
    slot.active = 0;
    if slot.moves == 1 {
        sample::lives_on(hit, slot.pointer);
        emit::free(Kind::ReallocAbandoned, hit, slot.pointer);
    }
}

/// Pages of the target begin at multiples of this.
const PAGE: u64 = 4096;

/// While a return probe is pending, its trampoline stands in the place of the return address. The kernel puts it at
/// the start of a page as high in memory as it can (xol_add_vma), above the stack.
#[inline(always)]
fn is_trampoline(word: u64, slot: &CallSlot) -> bool {
    word % PAGE == 0 && word > slot.sp
}

#[inline(always)]
fn is_pending(slot: &CallSlot) -> bool {
    match read_word(slot.sp) {
        Some(word) => word == slot.return_address || is_trampoline(word, slot),
        None => false,
    }
}

/// Did the call under way jump here (pvalloc ends in a jump to memalign)? What the outer function was asked for
/// counts. A new call from the same place has pushed its return address anew; without return probes that cannot be
/// seen, but then it is a call of the same function.
#[inline(always)]
fn is_tail_call(hit: &Hit, slot: &CallSlot) -> bool {
    match read_word(slot.sp) {
        Some(word) if word == slot.return_address => {
            hit.cookie.function != Cookie::from_bits(slot.cookie).function
        }
        Some(word) => is_trampoline(word, slot),
        None => false,
    }
}
