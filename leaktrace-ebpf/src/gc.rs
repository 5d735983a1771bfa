//! V8's garbage collector: the steps of a collection, and the sizes that V8 itself takes of its heap.
//!
//! Each hit gives a record, with the time taken here; which of them belong together is seen in user space. They are
//! some ten to twenty a collection, so nothing of this is on a hot path.

use aya_ebpf::{
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{Argument, GcRecord, Kind, Loss, MeasureSlot};

use crate::{
    emit,
    maps::{MEASURES, count},
    registers::{Hit, read_word},
};

/// Entry of a function that is a step of a collection.
#[uprobe]
pub fn gc_step(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let record = GcRecord {
        header: emit::header(Kind::GcStep, &hit),
        object: hit.argument(Argument::First),
        value: hit.argument(Argument::Second),
        detail: hit.argument(Argument::Third),
    };
    emit::send(record, Loss::RingFullGc);
}

/// Entry of a function that gives a size. A call that is still remembered was left; the new one takes its place.
#[uprobe]
pub fn measure_enter(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    let sp = hit.stack_pointer();
    let return_address = read_word(sp).unwrap_or(0);
    let slot = MeasureSlot { sp, return_address, object: hit.argument(Argument::First) };
    if MEASURES.insert(&hit.thread, &slot, 0).is_err() {
        count(Loss::MeasuresFull);
    }
}

/// Its return, by a return probe: the return address is popped already.
#[uretprobe]
pub fn measure_return(ctx: RetProbeContext) {
    let hit = Hit::of_return(&ctx);
    finish(&hit, hit.stack_pointer() - 8);
}

/// A return instruction of it, where return probes could hurt the target.
#[uprobe]
pub fn measure_ret(ctx: ProbeContext) {
    let hit = Hit::of_probe(&ctx);
    finish(&hit, hit.stack_pointer());
}

/// Sends the size, if the entry of the call was seen.
#[inline(always)]
fn finish(hit: &Hit, sp: u64) {
    // SAFETY: the value is copied at once, and only this thread writes it.
    let Some(slot) = (unsafe { MEASURES.get(&hit.thread) }).copied() else { return };
    if slot.sp != sp {
        return;
    }
    let _ = MEASURES.remove(&hit.thread);
    let record = GcRecord {
        header: emit::header(Kind::GcMeasured, hit),
        object: slot.object,
        value: hit.result(),
        detail: slot.return_address,
    };
    emit::send(record, Loss::RingFullGc);
}
