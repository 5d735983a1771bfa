//! A piece of the target's stack.
//!
//! To read the target's memory costs nearly the same for 16 bytes as for some hundred, so a stack is read in pieces that
//! hold several frames. A piece lies on the program's own stack: a per-CPU buffer could be overwritten by another thread on
//! a preemptible kernel.

use core::{
    ffi::c_void,
    mem::{MaybeUninit, size_of},
    ptr::read_volatile,
};

use aya_ebpf::helpers::generated::bpf_probe_read_user as read_user;

use crate::registers::{read_pair, read_word};

/// No piece begins there, and no stack is within a piece's length of it.
const NOWHERE: u64 = 1 << 63;

/// So many words of the target's stack.
///
/// A program and the functions that it has called have 512 bytes of stack together, where each counts in steps of 32 bytes
/// (kernels that give programs a stack of their own, from 6.13 on, are more generous).
pub struct Piece<const WORDS: usize> {
    words: MaybeUninit<[u64; WORDS]>,
    /// Where they are in the target's memory.
    from: u64,
    /// A whole piece cannot be read here: what is left of the stack is read word by word.
    is_narrow: bool,
}

impl<const WORDS: usize> Piece<WORDS> {
    const BYTES: u64 = (WORDS * size_of::<u64>()) as u64;

    /// One that must [begin](Self::begin) before it is asked.
    #[inline(always)]
    pub const fn new() -> Self {
        Self { words: MaybeUninit::uninit(), from: NOWHERE, is_narrow: false }
    }

    /// Takes the words from an address on; `false` where not all of them can be read.
    ///
    /// The verifier wants to see that this was called before a word is asked for, whatever the addresses are.
    #[inline(always)]
    pub fn begin(&mut self, from: u64) -> bool {
        let words = self.words.as_mut_ptr().cast::<c_void>();
        // SAFETY: the helper checks the address, and writes all words, zeros where it fails.
        let is_read = unsafe { read_user(words, Self::BYTES as u32, from as *const _) } == 0;
        self.from = if is_read { from } else { NOWHERE };
        self.is_narrow = !is_read;
        is_read
    }

    /// Whether so many words at an address are within.
    #[inline(always)]
    const fn holds(&self, at: u64, words: u64) -> bool {
        let offset = at.wrapping_sub(self.from);
        offset <= Self::BYTES - 8 * words && offset & 7 == 0
    }

    /// A word that is within, `behind` the one at this address.
    #[inline(always)]
    fn word(&self, at: u64, behind: u64) -> u64 {
        // The bounds are known here, but not to the verifier: it forgets them where a compiler keeps the number elsewhere, or
        // leaves out what it knows to make no difference. So it gets a number of which nothing is known, and a bound.
        // SAFETY: it is our own field.
        let from = unsafe { read_volatile(&raw const self.from) };
        let first = (at.wrapping_sub(from) / 8).min(WORDS as u64 - 1 - behind);
        // SAFETY: the word is within the piece, all of which `begin` has written.
        unsafe { read_volatile(self.words.as_ptr().cast::<u64>().add((first + behind) as usize)) }
    }

    /// The two words at an address; a new piece begins at `from` where they are not within.
    #[inline(always)]
    pub fn pair(&mut self, at: u64, from: u64) -> Option<[u64; 2]> {
        if !self.holds(at, 2) && !(!self.is_narrow && self.begin(from) && self.holds(at, 2)) {
            return read_pair(at);
        }
        Some([self.word(at, 0), self.word(at, 1)])
    }

    /// The word at an address.
    #[inline(always)]
    pub fn one(&self, at: u64) -> Option<u64> {
        if self.holds(at, 1) { Some(self.word(at, 0)) } else { read_word(at) }
    }
}
