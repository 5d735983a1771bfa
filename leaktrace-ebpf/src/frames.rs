//! Frames that are linked by frame pointers, from the innermost outwards.

use crate::{
    piece::Piece,
    registers::read_pair,
    stack::{Start, may_be_code},
};

/// Frames further from the stack pointer than this are not frames of this stack.
const MAX_STACK_BYTES: u64 = 64 << 20;
/// What each frame begins with: the frame pointer of its caller, and the address to return to.
const LINK: u64 = 16;
/// Words of the stack that are read at once.
const WORDS: usize = 32;

/// Whether `fp` can be a frame of this stack, beyond the last one.
#[inline(always)]
const fn is_possible(fp: u64, lowest: u64, start: &Start) -> bool {
    fp >= lowest && fp & 7 == 0 && fp - start.sp < MAX_STACK_BYTES
}

/// The next frame pointer and return address, if `fp` can be a frame of this stack.
#[inline(always)]
pub fn frame(fp: u64, lowest: u64, start: &Start) -> Option<(u64, u64)> {
    if !is_possible(fp, lowest, start) {
        return None;
    }
    let [next, address] = read_pair(fp)?;
    may_be_code(address).then_some((next, address))
}

/// A walk from frame to frame.
pub struct Frames<'a> {
    start: &'a Start,
    fp: u64,
    lowest: u64,
    piece: Piece<WORDS>,
}

impl<'a> Frames<'a> {
    #[inline(always)]
    pub const fn new(start: &'a Start) -> Self {
        Self { start, fp: start.fp, lowest: start.sp, piece: Piece::new() }
    }

    /// Before the first frame is asked for.
    #[inline(always)]
    pub fn begin(&mut self) {
        let start = self.start;
        self.piece.begin(if is_possible(start.fp, start.sp, start) { start.fp } else { start.sp });
    }

    /// The next return address.
    #[inline(always)]
    pub fn next(&mut self) -> Option<u64> {
        let fp = self.fp;
        if !is_possible(fp, self.lowest, self.start) {
            return None;
        }
        let [next, address] = self.piece.pair(fp, fp)?;
        self.lowest = fp + LINK;
        self.fp = next;
        may_be_code(address).then_some(address)
    }
}
