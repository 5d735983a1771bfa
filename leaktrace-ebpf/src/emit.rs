//! Putting records into the ring buffer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_log_ebpf::debug;
use leaktrace_common::{AllocationRecord, FreeRecord, Header, Kind, Loss};

use crate::{
    maps::count,
    registers::Hit,
    rings::{reserve, wake_flags},
};

/// The head of a record about this hit.
#[inline(always)]
pub fn header(kind: Kind, hit: &Hit) -> Header {
    Header {
        kind: kind as u8,
        function: hit.cookie.function,
        process: hit.cookie.process,
        tid: hit.tid(),
        // SAFETY: the helper only reads the clock.
        time_ns: unsafe { bpf_ktime_get_ns() },
    }
}

/// Sends a record, or counts its loss and says `false`.
#[inline(always)]
pub fn send<T: 'static>(record: T, loss: Loss) -> bool {
    let Some((ring, mut entry)) = reserve::<T>() else {
        count(loss);
        return false;
    };
    entry.write(record);
    entry.submit(wake_flags(ring));
    true
}

/// Sends an [`AllocationRecord`].
#[inline(always)]
pub fn allocation(kind: Kind, hit: &Hit, address: u64, size: u64, stack: u64) {
    let loss =
        if matches!(kind, Kind::ReallocEnd) { Loss::RingFullRealloc } else { Loss::RingFullAllocation };
    send(AllocationRecord { header: header(kind, hit), address, size, stack }, loss);
}

/// Sends a [`FreeRecord`].
#[inline(always)]
pub fn free(kind: Kind, hit: &Hit, address: u64) {
    let loss = if matches!(kind, Kind::Free) { Loss::RingFullFree } else { Loss::RingFullRealloc };
    send(FreeRecord { header: header(kind, hit), address }, loss);
}

/// Sends what was done to a range of pages, or counts its loss.
#[inline(always)]
pub fn mapping<T: 'static>(record: T) {
    send(record, Loss::RingFullMapping);
}

/// Says for `-vv` that a call was abandoned.
#[inline(always)]
pub fn log_abandoned(ctx: &impl aya_ebpf::EbpfContext, hit: &Hit, expected_sp: u64) {
    debug!(
        ctx,
        "thread {}: a call entered at sp {:x} never returned, next entry at {:x}",
        hit.tid(),
        expected_sp,
        hit.stack_pointer()
    );
}
