//! Stacks of code without frame pointers: followed by rules that the loader learns from unwind tables, one for each return
//! address, and copied where a rule is missing or the call path is new.

use core::ffi::c_void;

use aya_ebpf::helpers::{
    bpf_ktime_get_ns,
    generated::{bpf_loop, bpf_probe_read_user as read_user},
};
use leaktrace_common::{
    AMBIGUOUS, COPY_LIMIT, Kind, Loss, MAX_FRAMES, NO_STACK, RECHECK_EVERY, Reason, Rule, StackCopy, code_bit,
};

use crate::{
    emit,
    maps::{CODE_PAGES, KNOWN_STACKS, RULES, UNSURE, UNWIND, count},
    piece::Piece,
    registers::{Hit, read_word},
    rings::{reserve, ring, waiting, wake_flags},
    settings::COPY_ROOM,
    stack::{Start, may_be_code, mix, named},
};

/// Mixed into the hash of a stack that was followed in part.
const PARTIAL: u64 = 0x7061_7274;
/// What lies above the outermost frame's end is not needed; some words more do no harm.
const MARGIN: u64 = 64;

/// Words of the stack that are read at once.
const WORDS: usize = 18;
/// Bytes at the end of a frame in which it mostly saves registers.
const SAVED: i16 = 64;

const PAGE: u64 = 4096;
/// Pages that the largest copy spans.
const PAGES: u64 = COPY_LIMIT as u64 / PAGE;

/// A record with a copy of up to `N` bytes. The size of a reservation must be constant, so there are several.
#[repr(C)]
struct Copy<const N: usize> {
    head: StackCopy,
    bytes: [u8; N],
}

/// Whether the stacks of this process are followed by rules.
#[inline(always)]
pub fn is_asked(hit: &Hit) -> bool {
    COPY_ROOM.load() != 0 && UNWIND.get(u32::from(hit.cookie.process)).is_some_and(|&mode| mode == 1)
}

/// The code of a process changes: until the loader has seen where it is now, what is no code may be some.
#[inline(always)]
pub fn code_changes(process: u16) {
    if COPY_ROOM.load() != 0
        && let Some(unsure) = UNSURE.get_ptr_mut(u32::from(process))
    {
        // SAFETY: the pointer is to a value of the map; whoever writes at the same time writes a whole word.
        unsafe { *unsure = 1 };
    }
}

/// Follows the stack by rules.
///
/// A function of its own, beside the one that sends what was found: the room that both take on the stack is too much together.
#[inline(never)]
pub fn follow(hit: &Hit, start: &Start, seed: u64, followed: &mut Followed) {
    let mut walk = Walk {
        key: Rule::key(hit.cookie.process, 0),
        pc: start.caller,
        sp: start.sp,
        fp: start.fp,
        bottom: start.sp,
        hash: seed,
        frames: 1,
        end: Walk::CUT,
        no_code: Walk::CUT,
        piece: Piece::new(),
    };
    walk.piece.begin(start.sp);
    if UNSURE.get(u32::from(hit.cookie.process)).is_some_and(|&unsure| unsure != 0) {
        walk.no_code = Walk::UNKNOWN;
    }
    // By a helper of the kernel: the verifier would follow a loop of ours through all of its rounds.
    // SAFETY: the kernel calls `step` with a pointer to `walk`, which outlives the call.
    unsafe { bpf_loop(MAX_FRAMES as u32, step as *mut c_void, (&raw mut walk).cast(), 0) };
    *followed = Followed { hash: walk.hash, sp: walk.sp, end: walk.end, frames: walk.frames };
}

/// The hash of a stack that was followed; sends a copy, if its frames are not known.
#[inline(never)]
pub fn identify(hit: &Hit, start: &Start, kind: Kind, walk: &Followed) -> u64 {
    let mut hash = named(walk.hash);
    let mut reason = Reason::New;
    // Before the loader has learned the rules of a busy program, copies of all its stacks would fill the ring: then as much
    // of a stack as can be followed has to do for a moment.
    let is_crowded = ring().is_some_and(|ring| waiting(ring) > COPY_ROOM.load());
    let is_partial = walk.end == Walk::UNKNOWN && is_crowded;
    if is_partial {
        hash = mix(hash, PARTIAL);
    }
    if walk.end == Walk::UNKNOWN && !is_crowded {
        reason = Reason::Once;
    } else if let Some(seen) = KNOWN_STACKS.get_ptr_mut(hash) {
        // SAFETY: the pointer is to a value of the map; a count that another CPU makes at the same time may be missed.
        unsafe {
            if *seen == AMBIGUOUS {
                reason = Reason::Once;
            } else {
                *seen = (*seen + 1) % (1 << 30);
                if !(*seen).is_multiple_of(RECHECK_EVERY) {
                    return hash;
                }
                reason = Reason::Recheck;
            }
        }
    } else if KNOWN_STACKS.insert(hash, 1, 0).is_err() {
        count(Loss::StacksFull);
        return NO_STACK;
    }
    if matches!(reason, Reason::Once) {
        // Two threads of one call site may read the same time.
        // SAFETY: the helper only reads the clock.
        hash = mix(mix(hash, hit.thread), unsafe { bpf_ktime_get_ns() });
    }
    let is_whole = walk.end == Walk::WHOLE || is_partial;
    let span = walk.sp - start.sp + MARGIN;
    let length = if is_whole && span < COPY_LIMIT as u64 { span } else { readable(start.sp) };
    let head = StackCopy {
        header: emit::header(Kind::StackCopy, hit),
        hash,
        caller: start.caller,
        sp: start.sp,
        fp: start.fp,
        length: length as u32,
        kind: kind as u8,
        reason: reason as u8,
        followed: walk.frames as u16,
    };
    let sent = match length {
        0..=1024 => send::<1024>(&head),
        1025..=2048 => send::<2048>(&head),
        2049..=4096 => send::<4096>(&head),
        4097..=8192 => send::<8192>(&head),
        8193..=16384 => send::<16384>(&head),
        _ => send::<COPY_LIMIT>(&head),
    };
    if let Err(loss) = sent
        && !matches!(reason, Reason::Recheck)
    {
        count(loss);
        // Forgotten again, so that the next allocation from there sends it.
        let _ = KNOWN_STACKS.remove(hash);
    }
    hash
}

/// How many bytes from the stack pointer on can be read, by pages, up to the limit of a copy.
#[inline(always)]
fn readable(sp: u64) -> u64 {
    let mut length = PAGE - (sp & (PAGE - 1));
    let mut page = 1;
    while page < PAGES {
        if read_word(sp + length).is_none() {
            break;
        }
        length += PAGE;
        page += 1;
    }
    length
}

/// A walk from frame to frame.
struct Walk {
    /// What is added to an address to find its rule.
    key: u64,
    /// The return address that was come to.
    pc: u64,
    /// Stack pointer and frame pointer behind the call that it belongs to.
    sp: u64,
    fp: u64,
    /// Stack pointer at the start.
    bottom: u64,
    hash: u64,
    /// How many return addresses are in the hash.
    frames: u64,
    end: u64,
    /// How it ends where it meets what is no code: after a change of code that may well be some.
    no_code: u64,
    piece: Piece<WORDS>,
}

/// What came of it.
#[derive(Clone, Copy, Default)]
pub struct Followed {
    hash: u64,
    /// Stack pointer behind the last call that was come to.
    sp: u64,
    end: u64,
    /// How many return addresses are in the hash.
    frames: u64,
}

impl Walk {
    /// It ended where nothing leads on, or it has too many frames.
    const CUT: u64 = 0;
    /// It came to the outermost frame.
    const WHOLE: u64 = 1;
    /// It came to an address whose rule is not known.
    const UNKNOWN: u64 = 2;

    #[inline(always)]
    const fn ends(&mut self, end: u64) -> i64 {
        self.end = end;
        1
    }
}

/// One frame further. 1 where the walk ends.
extern "C" fn step(_: u32, walk: *mut Walk) -> i64 {
    // SAFETY: `identify` gave a pointer to a walk that nothing else uses meanwhile.
    let walk = unsafe { &mut *walk };
    // SAFETY: the value is copied out at once; a change meanwhile is a whole word.
    let Some(rule) = (unsafe { RULES.get(walk.key | walk.pc) }).copied() else {
        return walk.ends(Walk::UNKNOWN);
    };
    let base = match rule.from {
        Rule::FROM_SP => walk.sp,
        Rule::FROM_FP => walk.fp,
        Rule::ROOT => return walk.ends(Walk::WHOLE),
        _ => return walk.ends(Walk::UNKNOWN),
    };
    let cfa = base.wrapping_add(i64::from(rule.cfa_offset) as u64);
    if cfa <= walk.sp || cfa - walk.bottom > COPY_LIMIT as u64 {
        // Code that is compiled at run time marks its outermost frame so.
        return walk.ends(if walk.fp == 0 { Walk::WHOLE } else { Walk::CUT });
    }
    // A piece begins with what is needed of this frame, so that it holds as many of the next ones as it can.
    let saves_below = rule.fp_offset < -16 && rule.fp_offset >= -SAVED;
    let from = cfa.wrapping_add(i64::from(if saves_below { rule.fp_offset } else { -16 }) as u64);
    let Some([saved, address]) = walk.piece.pair(cfa - 16, from) else { return walk.ends(Walk::CUT) };
    if !is_code(address) {
        return walk.ends(walk.no_code);
    }
    if rule.fp_offset == -16 {
        walk.fp = saved;
    } else if rule.fp_offset != 0 {
        let at = cfa.wrapping_add(i64::from(rule.fp_offset) as u64);
        let Some(saved) = walk.piece.one(at) else { return walk.ends(Walk::CUT) };
        walk.fp = saved;
    }
    walk.hash = mix(walk.hash, address);
    walk.frames += 1;
    walk.pc = address;
    walk.sp = cfa;
    0
}

/// Whether there may be code at an address.
#[inline(always)]
fn is_code(address: u64) -> bool {
    let Some(pages) = CODE_PAGES.get_ptr(0) else { return false };
    let (word, bit) = code_bit(address);
    // SAFETY: `pages` is a value of the map, and `word` below the number of its words.
    let bits = unsafe { (&raw const (*pages).words).cast::<u64>().add(word).read() };
    bits >> bit & 1 == 1 && may_be_code(address)
}

/// Sends a copy of the stack, or says why not.
#[inline(always)]
fn send<const N: usize>(head: &StackCopy) -> Result<(), Loss> {
    let Some((ring, mut entry)) = reserve::<Copy<N>>() else { return Err(Loss::RingFullStack) };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` points to the reservation, which has room for N bytes behind the head. The helper checks the
    // address that it reads from. What is behind `length` is for nobody to read.
    let is_read = unsafe {
        (*record).head = *head;
        let bytes = (&raw mut (*record).bytes).cast::<c_void>();
        let length = if head.length > N as u32 { N as u32 } else { head.length };
        (*record).head.length = length;
        read_user(bytes, length, head.sp as *const _) == 0
    };
    if is_read {
        entry.submit(wake_flags(ring));
        Ok(())
    } else {
        entry.discard(wake_flags(ring));
        Err(Loss::StackUnreadable)
    }
}
