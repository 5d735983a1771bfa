//! Frees: a block is taken back for good. There is no return probe: the call cannot fail.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use leaktrace_common::Kind;

use crate::{emit, maps::pass, registers::Hit, sample, slot};

/// Entry of `free`, `operator delete` and their kin. The record goes out before the block is really free, so that
/// no other thread's reuse of the address can come before it.
#[uprobe]
pub fn free_enter(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let address = hit.argument(hit.cookie.pointer);
    if address == 0 {
        return;
    }
    if !sample::is_told(&hit, address) {
        return pass(hit.cookie.function);
    }
    // A thread that never allocated has no slot, and needs none to free.
    if let Some(slot) = slot::existing(hit.thread) {
        if slot::within_call(&ctx, &hit, slot) {
            return;
        }
        let (function, sp) = (u32::from(hit.cookie.function), hit.stack_pointer());
        // `operator delete` that calls or jumps to `free` frees one block, not two.
        if slot.last_free == address && slot.last_free_function != function && sp <= slot.last_free_sp {
            return;
        }
        slot.last_free = address;
        slot.last_free_sp = sp;
        slot.last_free_function = function;
    }
    if sample::forget(&hit, address) {
        emit::free(Kind::Free, &hit, address);
    }
}
