//! The rings: one, or several that CPUs share.
//!
//! Reserving room in a ring takes its lock, which CPUs that allocate at the same time wait for. User space puts the
//! records of several rings in order by their times: what is to come after another record must have its time after
//! that one was sent.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    btf_maps::{ArrayOfMaps, RingBuf as Template},
    helpers::bpf_get_smp_processor_id,
    macros::btf_map,
    maps::{RingBuf, ring_buf::RingBufEntry},
};

use crate::settings::{RING_MASK, WAKE_BYTES};

/// Records for user space. The loader sets how many rings there are, and puts rings of their real size here.
#[btf_map]
static RINGS: ArrayOfMaps<Template<u64, 4096>, 1> = ArrayOfMaps::new();

/// The ring for records that are made on this CPU; `None` cannot be, as the loader has filled all places.
#[inline(always)]
pub fn ring() -> Option<&'static RingBuf> {
    // SAFETY: the helper only reads which CPU this is.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let ring = RINGS.get(cpu & RING_MASK.load())?;
    // SAFETY: to the kernel a map is nothing but its address, which is all that either type stands for; nothing is read
    // through the reference. Rings stay where they are for as long as a program runs that was loaded with them.
    Some(unsafe { &*core::ptr::from_ref(ring).cast::<RingBuf>() })
}

/// Room for a record in the ring of this CPU.
#[inline(always)]
pub fn reserve<T: 'static>() -> Option<(&'static RingBuf, RingBufEntry<T>)> {
    let ring = ring()?;
    Some((ring, ring.reserve::<T>(0)?))
}

/// Bytes that wait in a ring.
#[inline(always)]
pub fn waiting(ring: &RingBuf) -> u64 {
    ring.query(u64::from(BPF_RB_AVAIL_DATA))
}

/// Wake-ups cost the target far more than a record does, so the reader is woken for a batch, not for a record.
#[inline(always)]
pub fn wake_flags(ring: &RingBuf) -> u64 {
    let is_due = waiting(ring) >= WAKE_BYTES.load();
    u64::from(if is_due { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP })
}
