//! Reads a recording, whoever wrote it and wherever it was cut.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use super::{BLOCK_HEADER, END, FILE_HEADER, FRAME_HEADER, MAGIC, MAX_BLOCK, VERSION, checksum};
use crate::error::{ExitCode, Failure};

/// A frame: its kind, and its payload.
pub type Frame = (u8, Vec<u8>);

/// How a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The run that wrote it ended it.
    Complete,
    /// It reached its size limit: what came later was not recorded.
    Full,
    /// The run that wrote it died: the last block is missing or cut.
    Cut,
}

/// Why a recording cannot be read (any further).
#[derive(Debug, thiserror::Error)]
#[error("{what} at byte {offset}")]
pub struct ReadError {
    /// Where the damaged part begins, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: Damage,
}

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It does not begin as recordings do.
    #[error("this is not a leaktrace recording")]
    Magic,
    /// It was written by a newer leaktrace.
    #[error("the recording has format version {0}, this leaktrace reads up to {VERSION}: use a newer one")]
    Version(u32),
    /// A length beyond what any writer uses.
    #[error("the recording is corrupt: a block of {0} bytes")]
    Length(u32),
    /// The bytes are not those that were written.
    #[error("the recording is corrupt: a checksum is wrong")]
    Checksum,
    /// The bytes do not decompress to what the block promised, or do not hold whole frames.
    #[error("the recording is corrupt: a block cannot be unpacked")]
    Unpack,
    /// Bytes behind the end.
    #[error("the recording is corrupt: it goes on behind its end")]
    Trailing,
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(io::Error),
}

/// A recording being read, block by block. Memory is bounded by the largest block a writer makes (64 MiB).
#[derive(Debug)]
pub struct Reader<R = BufReader<File>> {
    source: R,
    /// Start of the next part, in bytes from the start of the file.
    offset: u64,
    compressed: Vec<u8>,
    raw: Vec<u8>,
    /// Where the next frame begins in `raw`.
    next: usize,
    ending: Option<Ending>,
}

impl Reader {
    /// Opens a recording.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let failure = |what: &dyn std::fmt::Display| {
            let message = format!("cannot read the recording {}: {what}", path.display());
            Failure::new(ExitCode::OutputFailed, message)
        };
        let file = File::open(path).map_err(|error| failure(&error))?;
        Self::new(BufReader::new(file)).map_err(|error| failure(&error.what))
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read a recording from any source.
    pub fn new(mut source: R) -> Result<Self, ReadError> {
        let error = |what| ReadError { offset: 0, what };
        let mut header = [0; FILE_HEADER];
        let got = fill(&mut source, &mut header).map_err(|cause| error(Damage::Io(cause)))?;
        let [magic @ .., v0, v1, v2, v3, _, _, _, _] = header;
        let version = u32::from_le_bytes([v0, v1, v2, v3]);
        if got < FILE_HEADER || magic != *MAGIC || version == 0 {
            return Err(error(Damage::Magic));
        }
        if version > VERSION {
            return Err(error(Damage::Version(version)));
        }
        let offset = FILE_HEADER as u64;
        Ok(Self { source, offset, compressed: Vec::new(), raw: Vec::new(), next: 0, ending: None })
    }

    /// The next frame; `None` at the end, however it came (see [`Reader::ending`]).
    #[expect(
        clippy::should_implement_trait,
        reason = "a Result of Option stops at the first error by itself"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        while self.next >= self.raw.len() {
            if self.ending.is_some() || !self.read_block()? {
                return Ok(None);
            }
        }
        let frame = self.split_frame();
        if frame.is_none() {
            self.raw.clear();
            self.ending = Some(Ending::Cut);
        }
        frame.map(Some).ok_or(ReadError { offset: self.offset, what: Damage::Unpack })
    }

    /// How the recording ended, once [`Reader::next`] has returned `None` or an error.
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    fn split_frame(&mut self) -> Option<Frame> {
        let rest = self.raw.get(self.next..)?;
        let ([kind, l0, l1, l2, l3], rest) = rest.split_first_chunk::<FRAME_HEADER>()?;
        let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
        let payload = rest.get(..length)?.to_vec();
        self.next += FRAME_HEADER + length;
        Some((*kind, payload))
    }

    /// Reads and unpacks the next block; `false` at the end. Whatever goes wrong, nothing is read after it.
    fn read_block(&mut self) -> Result<bool, ReadError> {
        self.raw.clear();
        self.next = 0;
        let offset = self.offset;
        let result = self.try_read_block().map_err(|what| ReadError { offset, what });
        match result {
            Ok(None) => return Ok(true),
            Ok(Some(ending)) => self.ending = Some(ending),
            Err(_) => self.ending = Some(Ending::Cut),
        }
        self.raw.clear();
        result.map(|_| false)
    }

    fn try_read_block(&mut self) -> Result<Option<Ending>, Damage> {
        let mut header = [0; BLOCK_HEADER];
        let got = fill(&mut self.source, &mut header).map_err(Damage::Io)?;
        // Zeros are what a machine that lost power leaves where a file was extended.
        if got < BLOCK_HEADER || header == [0; BLOCK_HEADER] {
            return Ok(Some(Ending::Cut));
        }
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = header;
        let length = u32::from_le_bytes([a0, a1, a2, a3]);
        let raw_length = u32::from_le_bytes([b0, b1, b2, b3]);
        let sum = u32::from_le_bytes([c0, c1, c2, c3]);
        if length == END {
            return self.read_end(raw_length, sum).map(Some);
        }
        // What does not compress grows by a little.
        if length as usize > MAX_BLOCK + MAX_BLOCK / 128 {
            return Err(Damage::Length(length));
        }
        if raw_length as usize > MAX_BLOCK {
            return Err(Damage::Length(raw_length));
        }
        self.compressed.clear();
        let got = self.source.by_ref().take(u64::from(length)).read_to_end(&mut self.compressed);
        if got.map_err(Damage::Io)? < length as usize {
            return Ok(Some(Ending::Cut));
        }
        if checksum(length, raw_length, &self.compressed) != sum {
            return Err(Damage::Checksum);
        }
        self.unpack(raw_length as usize)?;
        self.offset += BLOCK_HEADER as u64 + u64::from(length);
        Ok(None)
    }

    fn unpack(&mut self, raw_length: usize) -> Result<(), Damage> {
        self.raw.resize(raw_length, 0);
        let unpacked = zstd::bulk::decompress_to_buffer(&self.compressed, &mut self.raw);
        // A block without frames is none that a writer makes; it would let a small file keep us busy for long.
        if unpacked.ok() != Some(raw_length) || raw_length == 0 {
            return Err(Damage::Unpack);
        }
        Ok(())
    }

    fn read_end(&mut self, full: u32, sum: u32) -> Result<Ending, Damage> {
        if checksum(END, full, &[]) != sum {
            return Err(Damage::Checksum);
        }
        if fill(&mut self.source, &mut [0]).map_err(Damage::Io)? > 0 {
            return Err(Damage::Trailing);
        }
        Ok(if full == 0 { Ending::Complete } else { Ending::Full })
    }
}

/// Reads until the buffer is full or the source ends; how many bytes that were.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buffer.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}
