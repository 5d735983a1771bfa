//! Stacks of code without frame pointers: what both sides know of how they are followed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most bytes of a stack that are followed and copied.
pub const COPY_LIMIT: usize = 32 << 10;

/// Value in KNOWN_STACKS of a hash that was seen with two call paths: each of its stacks is copied.
pub const AMBIGUOUS: u32 = u32::MAX;

/// Each time that a hash was seen so often its stack is copied again, and compared.
pub const RECHECK_EVERY: u32 = 4096;

/// Why a stack is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// Its hash was not seen before.
    New = 0,
    /// Its hash is known: one of many is compared.
    Recheck = 1,
    /// It could not be followed to its end, so it has a hash of its own, which does not come again.
    Once = 2,
}

/// How to come from a return address to that of the next frame outwards, as the unwind tables have it (value of RULES).
///
/// The canonical frame address is the stack pointer before the call that the frame belongs to; the return address stands
/// right below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// From the stack pointer or frame pointer to the canonical frame address.
    pub cfa_offset: i32,
    /// From there to the saved frame pointer; 0 where the register still holds it.
    pub fp_offset: i16,
    /// What `cfa_offset` counts from: one of the constants below.
    pub from: u8,
    /// Keeps the size without padding.
    pub zero: u8,
}

impl Rule {
    /// Counted from the stack pointer.
    pub const FROM_SP: u8 = 0;
    /// Counted from the frame pointer.
    pub const FROM_FP: u8 = 1;
    /// The outermost frame.
    pub const ROOT: u8 = 2;
    /// Only user space can follow it.
    pub const BEYOND: u8 = 3;

    /// The frame of a function that keeps a frame pointer, as code compiled at run time mostly does.
    pub const FRAME_POINTER: Self = Self { cfa_offset: 16, fp_offset: -16, from: Self::FROM_FP, zero: 0 };

    /// Nothing is further out.
    pub const OUTERMOST: Self = Self { from: Self::ROOT, ..Self::FRAME_POINTER };

    /// Too much for a rule.
    pub const INEXPRESSIBLE: Self = Self { from: Self::BEYOND, ..Self::FRAME_POINTER };

    /// The key of a return address in a process.
    pub const fn key(process: u16, address: u64) -> u64 {
        (process as u64) << 48 | address & ((1 << 48) - 1)
    }
}

/// Words of [`CodePages`].
pub const CODE_WORDS: usize = 1 << 16;

/// A bit for each page of memory, 1 where there may be code. Addresses 16 GiB apart share a bit.
#[repr(C)]
pub struct CodePages {
    /// The bits.
    pub words: [u64; CODE_WORDS],
}

/// The word of an address in [`CodePages`], and the bit in it.
pub const fn code_bit(address: u64) -> (usize, u32) {
    let page = address >> 12;
    ((page >> 6) as usize % CODE_WORDS, (page % 64) as u32)
}

const _: () = assert!(size_of::<Rule>() == 8);
