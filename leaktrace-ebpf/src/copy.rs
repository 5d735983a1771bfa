//! Stacks of code without frame pointers: a fingerprint on the hot path, and a copy where it is new.
//!
//! The fingerprint is a hash of all words on the stack that may be return addresses, with their places, from the stack
//! pointer to the end of the outermost frame, where the loader has told that, else as far as a copy goes. Words left over
//! from earlier calls are among them: they make one call path several fingerprints, which the loader finds to be one.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_loop, bpf_probe_read_user as read_user},
};
use leaktrace_common::{AMBIGUOUS, COPY_LIMIT, Kind, Loss, NO_STACK, RECHECK_EVERY, StackCopy, code_bit};

use crate::{
    emit,
    maps::{CODE_PAGES, EVENTS, KNOWN_STACKS, THREAD_BASES, UNWIND, count},
    registers::Hit,
    settings::COPIES,
    stack::{CODE_BITS, Start, mix, seed},
};

/// The stack is read in pieces of so many words.
const PIECE_WORDS: usize = 16;
const PIECE: u64 = 8 * PIECE_WORDS as u64;

/// A record with a copy of up to `N` bytes. The size of a reservation must be constant, so there are three.
#[repr(C)]
struct Copy<const N: usize> {
    head: StackCopy,
    bytes: [u8; N],
}

/// Whether the stacks of this process are copied.
#[inline(always)]
pub fn is_asked(hit: &Hit) -> bool {
    COPIES.load() != 0 && UNWIND.get(u32::from(hit.cookie.process)).is_some_and(|&mode| mode == 1)
}

/// The fingerprint of the stack; sends a copy, if it is not known.
#[inline(never)]
pub fn identify(hit: &Hit, start: &Start, kind: Kind) -> u64 {
    // A base of another thread's life, or of another stack, is none.
    // SAFETY: a torn value is not possible for one aligned word.
    let base = unsafe { THREAD_BASES.get(hit.thread) }.map_or(0, |&base| base);
    let span = base.wrapping_sub(start.sp);
    let is_known = span > 0 && span <= COPY_LIMIT as u64;
    let limit = if is_known { span } else { COPY_LIMIT as u64 };
    let (mut hash, length) = fingerprint(hit, start, kind, limit);
    if hash == NO_STACK {
        hash = 1;
    }
    let is_cut = !is_known && length == limit;
    let mut is_recheck = false;
    if let Some(seen) = KNOWN_STACKS.get_ptr_mut(hash) {
        // SAFETY: the pointer is to a value of the map; a count that another CPU makes at the same time may be missed.
        unsafe {
            if *seen == AMBIGUOUS {
                hash = mix(hash, bpf_ktime_get_ns());
            } else {
                *seen = (*seen + 1) % (1 << 30);
                if !(*seen).is_multiple_of(RECHECK_EVERY) {
                    return hash;
                }
                is_recheck = true;
            }
        }
    } else if KNOWN_STACKS.insert(hash, 1, 0).is_err() {
        count(Loss::StacksFull);
        return NO_STACK;
    }
    let head = StackCopy {
        header: emit::header(Kind::StackCopy, hit),
        hash,
        caller: start.caller,
        sp: start.sp,
        fp: start.fp,
        thread: hit.thread,
        length: length as u32,
        kind: kind as u8,
        is_recheck: u8::from(is_recheck),
        is_cut: u8::from(is_cut),
        zero: 0,
    };
    let is_sent = if length <= 2048 {
        send::<2048>(&head)
    } else if length <= 8192 {
        send::<8192>(&head)
    } else {
        send::<COPY_LIMIT>(&head)
    };
    if !is_sent && !is_recheck {
        count(Loss::RingFullStack);
        // Forgotten again, so that the next allocation from there sends it.
        let _ = KNOWN_STACKS.remove(hash);
    }
    hash
}

/// A walk over a stack, piece by piece.
struct Walk {
    sp: u64,
    /// Bytes to look at.
    limit: u64,
    hash: u64,
    /// Bytes that were looked at, or more where the last piece is the end.
    read: u64,
}

/// The hash of what may be return addresses within `limit` bytes, and how many bytes could be read.
#[inline(always)]
fn fingerprint(hit: &Hit, start: &Start, kind: Kind, limit: u64) -> (u64, u64) {
    let mut walk = Walk { sp: start.sp, limit, hash: seed(hit, start, kind), read: 0 };
    each_piece(limit, look_at_piece, &raw mut walk);
    (walk.hash, if walk.read < limit { walk.read } else { limit })
}

/// Calls `look` for each piece of `bytes` bytes, until it says 1.
///
/// By a helper of the kernel: the verifier would follow a loop of ours through all of its rounds, which takes it minutes.
#[inline(always)]
fn each_piece<T>(bytes: u64, look: extern "C" fn(u32, *mut T) -> i64, context: *mut T) {
    let pieces = (bytes + PIECE - 1) / PIECE;
    // SAFETY: the kernel calls `look` with `context`, which outlives the call.
    unsafe { bpf_loop(pieces as u32, look as *mut c_void, context.cast(), 0) };
}

/// Mixes the words of a piece that may be return addresses into the hash.
extern "C" fn look_at_piece(index: u32, walk: *mut Walk) -> i64 {
    // SAFETY: `fingerprint` gave a pointer to a walk that nothing else uses meanwhile.
    let walk = unsafe { &mut *walk };
    let at = u64::from(index) * PIECE;
    let mut piece = MaybeUninit::<[u64; PIECE_WORDS]>::uninit();
    // SAFETY: `piece` has room for PIECE bytes; the helper checks the address that it reads from.
    let failed =
        unsafe { read_user(piece.as_mut_ptr().cast(), PIECE as u32, (walk.sp + at) as *const _) != 0 };
    let Some(pages) = CODE_PAGES.get_ptr(0) else { return 1 };
    if failed {
        return 1;
    }
    let mut hash = walk.hash;
    let mut index = 0;
    while index < PIECE_WORDS {
        // SAFETY: the helper has filled all of `piece`, and `index` is below the number of its words.
        let word = unsafe { piece.as_ptr().cast::<u64>().add(index).read() };
        let place = at + 8 * index as u64;
        let (page, bit) = code_bit(word);
        // SAFETY: `pages` is a value of the map, and `page` below the number of its words.
        let bits = unsafe { (&raw const (*pages).words).cast::<u64>().add(page).read() };
        // Without a branch: the verifier would follow both ways of each.
        let high = word >> CODE_BITS;
        let is_high = (high | high.wrapping_neg()) >> 63;
        let is_within = place.wrapping_sub(walk.limit) >> 63;
        let is_code = (bits >> bit) & is_within & (is_high ^ 1) & 1;
        let mixed = mix(hash, word ^ (place << CODE_BITS));
        hash ^= (hash ^ mixed) & is_code.wrapping_neg();
        index += 1;
    }
    walk.hash = hash;
    walk.read = at + PIECE;
    0
}

/// Sends a copy of `length` bytes of the stack.
#[inline(always)]
fn send<const N: usize>(head: &StackCopy) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Copy<N>>(0) else { return false };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to the reservation, which has room for N bytes behind the head. The helper checks the
    // address that it reads from; where that fails it fills with zeros. What is behind `length` is for nobody to read.
    unsafe {
        (*record).head = *head;
        let bytes = (&raw mut (*record).bytes).cast::<c_void>();
        let length = if head.length > N as u32 { N as u32 } else { head.length };
        if read_user(bytes, length, head.sp as *const _) != 0 {
            (*record).head.length = 0;
        }
    }
    entry.submit(emit::wake_flags());
    true
}
