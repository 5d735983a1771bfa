//! Bytes of an ELF file: read by `pread`, never mapped, because a target can truncate its files under us.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::read::{ReadCache, ReadRef};

/// The most bytes one read may ask for. Symbol tables of browsers stay below; a sparse file that claims more is a trap.
const MAX_READ: u64 = 512 << 20;

/// Where the bytes come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A file of the target, kept open: it stays the same file whatever happens to its name.
    File(File),
    /// Bytes in memory: tests and fuzzing.
    Bytes(Vec<u8>),
}

impl Source {
    pub(super) fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Reads at most `buffer.len()` bytes at `offset`; 0 at and past the end.
    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = bytes.get(start..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
                Ok(count)
            }
        }
    }

    /// Reads up to `len` bytes at `offset`, fewer only at the end of the file.
    pub(super) fn read_up_to(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(offset.saturating_add(filled as u64), rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// A cache for one pass over the file; it keeps what it read until it is dropped.
    pub(super) fn cache(&self) -> ReadCache<Cursor<'_>> {
        ReadCache::new(Cursor { source: self, position: 0 })
    }
}

/// A position in a [`Source`] of its own, so that two passes over one file do not move each other's.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    source: &'a Source,
    position: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read_at(self.position, buffer)?;
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(delta) => self.source.len()?.checked_add_signed(delta),
            SeekFrom::Current(delta) => self.position.checked_add_signed(delta),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// A [`ReadCache`] that refuses reads of absurd size before it reserves memory for them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded<'a, 'source>(pub(super) &'a ReadCache<Cursor<'source>>);

impl<'a> ReadRef<'a> for Bounded<'a, '_> {
    fn len(self) -> Result<u64, ()> {
        self.0.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size > MAX_READ {
            return Err(());
        }
        self.0.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        self.0.read_bytes_at_until(range, delimiter)
    }
}
