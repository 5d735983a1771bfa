//! Which blocks are told: all, or samples by bytes, whose frees are told, too.

use aya_ebpf::helpers::generated::bpf_get_prandom_u32;
use leaktrace_common::{
    CallSlot, Loss,
    sampling::{self, Control},
};

use crate::{
    maps::{CONTROL, SAMPLED, count},
    registers::Hit,
    settings::MAY_SAMPLE,
};

/// How samples are taken at this moment.
#[inline(always)]
pub fn control() -> Control {
    if MAY_SAMPLE.load() == 0 {
        return Control::EVERYTHING;
    }
    match CONTROL.get_ptr(0) {
        // SAFETY: a value of an array is always there, and a word is read at once.
        Some(word) => Control::from_bits(unsafe { word.read_volatile() }),
        None => Control::EVERYTHING,
    }
}

/// Is an allocation of this size one of those to be told? Then the level at which it is taken, and 1; else 0. Each thread
/// counts its own bytes.
#[inline(always)]
pub fn takes(slot: &mut CallSlot, size: u64) -> u32 {
    let control = control();
    let interval = control.interval();
    if interval == 0 {
        return 1;
    }
    let level = u32::from(control.level());
    // An empty block is a block.
    let size = if size == 0 { 1 } else { size };
    // What is left to the next point is as if it had just begun: it can be drawn anew.
    if slot.until_sample == 0 || slot.sample_level != level {
        slot.until_sample = gap(interval);
        slot.sample_level = level;
    }
    if slot.until_sample > size {
        slot.until_sample -= size;
        return 0;
    }
    slot.until_sample = gap(interval);
    level + 1
}

/// Bytes until the next point. A function of its own: its arithmetic would take most of a caller's stack.
#[inline(never)]
fn gap(interval: u64) -> u64 {
    // SAFETY: the helper only makes a number.
    sampling::gap(unsafe { bpf_get_prandom_u32() }, interval)
}

/// The size as a record has it, of a block that is [taken](takes).
#[inline(always)]
pub fn told_size(size: u64, wanted: u32) -> u64 {
    sampling::tagged(size, wanted.wrapping_sub(1) as u8)
}

/// Keeps in mind that a block is told; `false` where there is no room, and it cannot be.
#[inline(always)]
pub fn remember(hit: &Hit, address: u64) -> bool {
    if !control().remembers() || SAMPLED.insert(&key(hit, address), &1, 0).is_ok() {
        return true;
    }
    count(Loss::SampledFull);
    false
}

/// Was the block told?
#[inline(always)]
pub fn is_told(hit: &Hit, address: u64) -> bool {
    control().interval() == 0 || SAMPLED.get_ptr(&key(hit, address)).is_some()
}

/// The block is taken back: was it told?
#[inline(always)]
pub fn forget(hit: &Hit, address: u64) -> bool {
    let control = control();
    if !control.remembers() {
        return true;
    }
    let was_told = SAMPLED.remove(&key(hit, address)).is_ok();
    was_told || control.interval() == 0
}

/// A block that was told and taken back is there after all.
#[inline(always)]
pub fn lives_on(hit: &Hit, address: u64) {
    // Its place in the map has just been given up; another block that took it was counted as one without room.
    remember(hit, address);
}

#[inline(always)]
const fn key(hit: &Hit, address: u64) -> u64 {
    sampling::key(hit.cookie.process, address)
}
