//! Recordings: written while tracing, read by `leaktrace replay`.
//!
//! A recording is a sequence of frames, each a kind (one byte) and a payload whose meaning is the caller's. On disk:
//!
//! ```text
//! magic "LEAKTRC\0", u32 version, u32 zero
//! block*:  u32 length of the compressed bytes, u32 length of the raw bytes, u32 crc32 of both lengths and the
//!          compressed bytes, then the compressed bytes (zstd) of: (u8 kind, u32 length, payload)*
//! end:     u32 0xffff_ffff, u32 0 (complete) or 1 (the size limit was reached), u32 crc32 of both
//! ```
//!
//! Integers are little-endian. A block holds many small frames, or one large one. Each block stands alone: a
//! recording is readable up to the block that a crash cut.

mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{Damage, Ending, Frame, ReadError, Reader};
pub use write::{Writer, Written};

/// Version of the format, of batches, and of the records in them.
pub const VERSION: u32 = 3;

/// The most bytes that one frame may hold.
pub const MAX_FRAME: usize = 32 << 20;

const MAGIC: &[u8; 8] = b"LEAKTRC\0";
const FILE_HEADER: usize = 16;
const BLOCK_HEADER: usize = 12;
const FRAME_HEADER: usize = 5;
/// Stands in place of a block's length at the end of a recording.
const END: u32 = u32::MAX;
/// The most raw bytes of a block: what the reader is ready to decompress.
const MAX_BLOCK: usize = 64 << 20;

/// A block is compressed when it has grown this large; smaller ones compress badly.
const BLOCK_TARGET: usize = 256 << 10;

const _: () = assert!(MAX_FRAME + FRAME_HEADER + BLOCK_TARGET <= MAX_BLOCK, "every block can be read back");

/// Checksum of a block: its two lengths, then its bytes.
fn checksum(length: u32, second: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&second.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}
