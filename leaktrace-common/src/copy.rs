//! Copies of stacks, for code without frame pointers: what both sides know of their fingerprints.

/// The most bytes of a stack that are looked at and copied.
pub const COPY_LIMIT: usize = 32 << 10;

/// Value in KNOWN_STACKS of a fingerprint that was seen with two call paths: each of its stacks is copied.
pub const AMBIGUOUS: u32 = u32::MAX;

/// Each time that a fingerprint was seen so often its stack is copied again, and compared.
pub const RECHECK_EVERY: u32 = 4096;

/// Words of [`CodePages`].
pub const CODE_WORDS: usize = 1 << 16;

/// A bit for each page of memory, 1 where there may be code. Addresses 16 GiB apart share a bit: what is taken for code
/// wrongly makes a fingerprint longer, and never two call paths one.
#[repr(C)]
pub struct CodePages {
    /// The bits.
    pub words: [u64; CODE_WORDS],
}

/// The word of an address in [`CodePages`], and the bit in it.
#[inline(always)]
pub const fn code_bit(address: u64) -> (usize, u32) {
    let page = address >> 12;
    ((page >> 6) as usize % CODE_WORDS, (page % 64) as u32)
}
