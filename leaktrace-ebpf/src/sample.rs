//! Which blocks are told: all, or samples by bytes, whose frees are told, too.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use leaktrace_common::{CallSlot, Loss, sampling};

use crate::{
    maps::{SAMPLED, count},
    registers::Hit,
    settings::SAMPLE,
};

/// Is an allocation of this size one of those to be told? Each thread counts its own bytes.
#[inline(always)]
pub fn takes(slot: &mut CallSlot, size: u64) -> bool {
    let interval = SAMPLE.load();
    if interval == 0 {
        return true;
    }
    // An empty block is a block.
    let size = if size == 0 { 1 } else { size };
    if slot.until_sample == 0 {
        slot.until_sample = gap(interval);
    }
    if slot.until_sample > size {
        slot.until_sample -= size;
        return false;
    }
    slot.until_sample = gap(interval);
    true
}

#[inline(always)]
fn gap(interval: u64) -> u64 {
    // SAFETY: the helper only makes a number.
    sampling::gap(unsafe { bpf_get_prandom_u32() }, interval)
}

/// Keeps in mind that a block is told; `false` where there is no room, and it cannot be.
#[inline(always)]
pub fn remember(hit: &Hit, address: u64) -> bool {
    if SAMPLE.load() == 0 || SAMPLED.insert(&key(hit, address), &1, 0).is_ok() {
        return true;
    }
    count(Loss::SampledFull);
    false
}

/// Was the block told?
#[inline(always)]
pub fn is_told(hit: &Hit, address: u64) -> bool {
    SAMPLE.load() == 0 || SAMPLED.get_ptr(&key(hit, address)).is_some()
}

/// The block is taken back: was it told?
#[inline(always)]
pub fn forget(hit: &Hit, address: u64) -> bool {
    SAMPLE.load() == 0 || SAMPLED.remove(&key(hit, address)).is_ok()
}

/// A block that was told and taken back is there after all.
#[inline(always)]
pub fn lives_on(hit: &Hit, address: u64) {
    // Its place in the map has just been given up; another block that took it was counted as one without room.
    remember(hit, address);
}

/// Processes have the same addresses; user addresses have 47 bits.
#[inline(always)]
fn key(hit: &Hit, address: u64) -> u64 {
    address ^ u64::from(hit.cookie.process) << 48
}
