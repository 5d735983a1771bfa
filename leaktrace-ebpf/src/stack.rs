//! Stacks: a frame-pointer walk that hashes on the hot path, and stores only where the hash is new.
//!
//! The walk runs twice for a new stack, since a hash lives in registers, and a ring reservation is private: nothing that
//! another thread could overwrite is between the two.

use leaktrace_common::{Kind, Loss, MAX_FRAMES, NO_STACK, StackRecord};

use crate::{
    copy::{self, Followed},
    emit,
    frames::{Frames, frame},
    maps::{KNOWN_STACKS, count},
    registers::Hit,
    rings::{reserve, wake_flags},
};

/// No code is mapped below this address (vm.mmap_min_addr), nor above the other.
const LOWEST_CODE: u64 = 4096;
const HIGHEST_CODE: u64 = 1 << 47;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a walk begins.
#[derive(Clone, Copy)]
pub struct Start {
    /// Return address of the allocation call: an address in its direct caller.
    pub caller: u64,
    /// Stack pointer of the caller.
    pub sp: u64,
    /// Frame pointer of the caller.
    pub fp: u64,
}

/// Whether there can be code at an address.
#[inline(always)]
pub const fn may_be_code(address: u64) -> bool {
    address >= LOWEST_CODE && address < HIGHEST_CODE
}

#[inline(always)]
pub fn mix(hash: u64, address: u64) -> u64 {
    let hash = (hash ^ address).wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 29)
}

/// A hash by which a stack is named: any but that of no stack.
#[inline(always)]
pub const fn named(hash: u64) -> u64 {
    if hash == NO_STACK { 1 } else { hash }
}

/// Where a hash begins.
///
/// Processes map other code at the same address, so the process is part of what is hashed. So is the kind: one
/// instruction may call malloc or mmap by a pointer, and each has call sites of its own.
#[inline(always)]
fn seed(hit: &Hit, start: &Start, kind: Kind) -> u64 {
    let salt = if matches!(kind, Kind::Stack) { 1 } else { 1 + (1 << 32) };
    mix(u64::from(hit.cookie.process) + salt, start.caller)
}

/// The hash of the stack; sends its frames, as a record of `kind`, if they were not sent before.
#[inline(always)]
pub fn identify(hit: &Hit, start: Start, kind: Kind) -> u64 {
    if copy::is_asked(hit) {
        let mut followed = Followed::default();
        copy::follow(hit, &start, seed(hit, &start, kind), &mut followed);
        return copy::identify(hit, &start, kind, &followed);
    }
    let hash = hash(seed(hit, &start, kind), &start);
    if KNOWN_STACKS.get_ptr(&hash).is_some() || introduce(hit, start, hash, kind) { hash } else { NO_STACK }
}

/// The hash of all frames. A function of its own for the room that a piece of the stack takes.
#[inline(never)]
fn hash(seed: u64, start: &Start) -> u64 {
    let mut hash = seed;
    let mut frames = Frames::new(start);
    frames.begin();
    let mut index = 1;
    while index < MAX_FRAMES {
        let Some(address) = frames.next() else { break };
        hash = mix(hash, address);
        index += 1;
    }
    named(hash)
}

/// Sends the frames of a stack. `false` if the set of known stacks is full, and the stack thus without a name.
#[inline(never)]
fn introduce(hit: &Hit, start: Start, hash: u64, kind: Kind) -> bool {
    // Known first, sent second: were it the other way round, a full set would send the same stack for ever.
    if KNOWN_STACKS.insert(&hash, &1, 0).is_err() {
        count(Loss::StacksFull);
        return false;
    }
    let Some((ring, mut entry)) = reserve::<StackRecord>() else {
        count(Loss::RingFullStack);
        // Forgotten again, so that the next allocation from there sends it.
        let _ = KNOWN_STACKS.remove(&hash);
        return true;
    };
    let record = entry.as_mut_ptr();
    let (mut fp, mut lowest) = (start.fp, start.sp);
    let mut index = 1;
    // SAFETY: `record` points to the reservation, which is as large as a StackRecord; `index` stays below
    // MAX_FRAMES; `depth` says how many frames were written, and the rest is zeroed for nobody to read.
    unsafe {
        (*record).header = emit::header(kind, hit);
        (*record).hash = hash;
        (*record).frames[0] = start.caller;
        while index < MAX_FRAMES {
            let Some((next, address)) = frame(fp, lowest, &start) else { break };
            (&raw mut (*record).frames).cast::<u64>().add(index).write(address);
            lowest = fp + 16;
            fp = next;
            index += 1;
        }
        (*record).depth = index as u32;
        (*record).truncated = u32::from(index == MAX_FRAMES && frame(fp, lowest, &start).is_some());
    }
    entry.submit(wake_flags(ring));
    true
}
