//! Writes a recording.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::{
    BLOCK_HEADER, BLOCK_TARGET, END, FILE_HEADER, FRAME_HEADER, MAGIC, MAX_FRAME, VERSION, checksum,
};
use crate::error::{ExitCode, Failure};

/// The fastest level: an event stream compresses well at any, and the trace must not wait.
const LEVEL: i32 = 1;

/// Room that is kept below the size limit for the last frame and the end.
const RESERVE: u64 = 64 << 10;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the recording, or will be with the next flush.
    Kept,
    /// It and everything after it is left out, because the size limit is reached. Said once.
    LimitReached,
    /// It is left out, for a reason said before.
    Dropped,
}

/// A recording being written. What was not flushed is lost if the process dies.
#[derive(Debug)]
pub struct Writer {
    file: File,
    /// Frames of the next block.
    raw: Vec<u8>,
    /// The block as it goes to disk.
    block: Vec<u8>,
    /// Bytes of the file that are whole.
    written: u64,
    limit: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Full,
    Failed,
}

impl Writer {
    /// Creates a recording of at most `limit` bytes, readable by its owner only.
    ///
    /// An older regular file is replaced by a new one. Links, devices and pipes are refused: we often run as root,
    /// and the directory may be somebody else's.
    pub fn create(path: &Path, limit: u64) -> Result<Self, Failure> {
        let failure = |what: &str| {
            let message = format!("cannot write the recording {}: {what}", path.display());
            Failure::new(ExitCode::OutputFailed, message)
        };
        match fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.is_file() => {
                return Err(failure("it exists and is not a regular file, so choose another path"));
            }
            Ok(_) => fs::remove_file(path).map_err(|error| failure(&error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failure(&error.to_string())),
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| failure(&error.to_string()))?;
        Self::start(file, limit).map_err(|error| failure(&error.to_string()))
    }

    fn start(mut file: File, limit: u64) -> io::Result<Self> {
        let mut header = Vec::with_capacity(FILE_HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&[0; 4]);
        file.write_all(&header)?;
        let written = header.len() as u64;
        Ok(Self { file, raw: Vec::new(), block: Vec::new(), written, limit, state: State::Open })
    }

    /// Adds a frame of at most [`MAX_FRAME`] bytes. An error is said once; after it frames are dropped.
    pub fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<Written> {
        if self.state != State::Open {
            return Ok(Written::Dropped);
        }
        if payload.len() > MAX_FRAME {
            self.state = State::Failed;
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame is too large for a recording"));
        }
        self.append(kind, payload);
        if self.raw.len() >= BLOCK_TARGET { self.flush() } else { Ok(Written::Kept) }
    }

    /// Writes what was collected as one block. Call it at each tick: a crash then loses a tick at most.
    pub fn flush(&mut self) -> io::Result<Written> {
        if self.state != State::Open {
            return Ok(Written::Dropped);
        }
        if self.raw.is_empty() {
            return Ok(Written::Kept);
        }
        self.compress()?;
        if self.written + self.block.len() as u64 + RESERVE > self.limit {
            self.state = State::Full;
            return Ok(Written::LimitReached);
        }
        self.write_block()?;
        Ok(Written::Kept)
    }

    /// Ends the recording, with a `last` frame that finds room even if the limit is reached (unless it is larger
    /// than 60 KiB compressed). After an error nothing more is written.
    pub fn finish(mut self, last: Option<(u8, &[u8])>) -> io::Result<()> {
        self.flush()?;
        if self.state == State::Failed {
            return Ok(());
        }
        self.raw.clear();
        if let Some((kind, payload)) = last.filter(|(_, payload)| payload.len() <= MAX_FRAME) {
            self.append(kind, payload);
            self.compress()?;
            let is_full = self.state == State::Full;
            if !is_full || self.block.len() as u64 + (BLOCK_HEADER as u64) < RESERVE {
                self.write_block()?;
            }
        }
        self.block.clear();
        let full = u32::from(self.state == State::Full);
        for word in [END, full, checksum(END, full, &[])] {
            self.block.extend_from_slice(&word.to_le_bytes());
        }
        self.write_block()
    }

    /// Bytes on disk so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    fn append(&mut self, kind: u8, payload: &[u8]) {
        self.raw.reserve(FRAME_HEADER + payload.len());
        self.raw.push(kind);
        self.raw.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.raw.extend_from_slice(payload);
    }

    /// Makes a block of the collected frames.
    fn compress(&mut self) -> io::Result<()> {
        self.block.resize(BLOCK_HEADER + zstd::zstd_safe::compress_bound(self.raw.len()), 0);
        let (header, body) = self.block.split_at_mut(BLOCK_HEADER);
        let compressed = zstd::bulk::compress_to_buffer(&self.raw, body, LEVEL);
        let compressed = compressed.inspect_err(|_| self.state = State::Failed)?;
        let (length, raw_length) = (compressed as u32, self.raw.len() as u32);
        let sum = checksum(length, raw_length, body.get(..compressed).unwrap_or(&[]));
        let words = [length, raw_length, sum].map(u32::to_le_bytes);
        header.copy_from_slice(words.as_flattened());
        self.block.truncate(BLOCK_HEADER + compressed);
        self.raw.clear();
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.write_all(&self.block) {
            self.state = State::Failed;
            // Cutting works on a full disk, too; where it does not, the reader stops at the cut block anyway.
            let _ = self.file.set_len(self.written);
            return Err(error);
        }
        self.written += self.block.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut writer = Writer {
            file,
            raw: Vec::new(),
            block: Vec::new(),
            written: 0,
            limit: u64::MAX,
            state: State::Open,
        };
        assert_eq!(writer.frame(1, b"x").unwrap(), Written::Kept);
        assert_eq!(writer.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(writer.frame(1, b"x").unwrap(), Written::Dropped);
        assert_eq!(writer.flush().unwrap(), Written::Dropped);
        writer.finish(Some((2, b"end"))).unwrap();
    }
}
