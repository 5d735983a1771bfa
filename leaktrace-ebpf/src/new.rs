//! `operator new` of allocators that implement it themselves.
//!
//! It can throw, and an exception that passes a frame whose return address a return probe has replaced ends the
//! target in std::terminate. So its returns are plain probes on its own `ret` instructions.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use leaktrace_common::Kind;

use crate::{
    emit,
    maps::pass,
    registers::{Hit, read_word},
    sample,
    settings::{MAPPINGS, MIN_SIZE},
    slot,
    stack::{self, Start},
};

/// Entry of `operator new`.
///
/// It does not make the malloc that it may call an inner call: were it left by an exception, later calls of the
/// thread could be taken for inner ones. The block is recognised instead, when it comes out twice.
#[uprobe]
pub fn new_enter(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let size = hit.requested_size();
    let follows_all = MAPPINGS.load() == 1;
    if size < MIN_SIZE.load() && !follows_all {
        return pass(hit.cookie.function);
    }
    let Some(slot) = slot::of(&hit) else { return };
    if slot::within_call(&ctx, &hit, slot) {
        return;
    }
    let wanted = if size >= MIN_SIZE.load() { sample::takes(slot, size) } else { 0 };
    if wanted == 0 {
        pass(hit.cookie.function);
        if !follows_all {
            return;
        }
    }
    slot.new_wanted = wanted;
    slot.new_sp = hit.stack_pointer();
    slot.new_size = size;
    if follows_all {
        slot.new_return_address = read_word(slot.new_sp).unwrap_or(0);
    }
    slot.last_block = 0;
}

/// A return instruction of `operator new`, or of a function that it ends in.
#[uprobe]
pub fn new_ret(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let Some(slot) = slot::existing(hit.thread) else { return };
    let sp = hit.stack_pointer();
    if slot.new_sp != sp {
        return;
    }
    slot.new_sp = 0;
    let address = hit.result();
    if address == 0 || address == slot.last_block || slot.new_wanted == 0 || !sample::remember(&hit, address)
    {
        return;
    }
    slot.last_block = address;
    slot.last_free = 0;
    let start = Start { caller: read_word(sp).unwrap_or(0), sp: sp + 8, fp: hit.frame_pointer() };
    let stack = stack::identify(&hit, start, Kind::Stack);
    let size = sample::told_size(slot.new_size, slot.new_wanted);
    emit::allocation(Kind::Allocation, &hit, address, size, stack);
}
