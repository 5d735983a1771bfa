//! Bytes with their offset, through one buffer.

use std::io::{ErrorKind, Read};

use super::error::SnapshotError;

/// Bytes that are read at once: large enough that a read costs nothing beside what is done with its bytes.
const BUFFER: usize = 256 << 10;

/// A reader of bytes that knows how far it is.
pub(super) struct Source<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The bytes of the buffer that are still to be taken.
    start: usize,
    end: usize,
    /// Offset of `buffer[0]` in the whole.
    base: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; BUFFER], start: 0, end: 0, base: 0 }
    }

    /// Offset of the next byte.
    pub(super) const fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// A fault at the next byte.
    pub(super) fn fault(&self, message: impl Into<String>) -> SnapshotError {
        SnapshotError::at(self.offset(), message)
    }

    /// The fault of a text that ends too early.
    pub(super) fn cut(&self) -> SnapshotError {
        self.fault("the file ends in the middle of the snapshot")
    }

    /// What waits in the buffer, filled where it is empty; nothing at the end.
    pub(super) fn waiting(&mut self) -> Result<&[u8], SnapshotError> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(self.buffer.get(self.start..self.end).unwrap_or_default())
    }

    /// Takes `count` of the waiting bytes.
    pub(super) fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    fn fill(&mut self) -> Result<(), SnapshotError> {
        self.base += self.end as u64;
        (self.start, self.end) = (0, 0);
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(count) => {
                    self.end = count.min(self.buffer.len());
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SnapshotError::Io(error)),
            }
        }
    }

    /// The next byte, left where it is; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, SnapshotError> {
        Ok(self.waiting()?.first().copied())
    }

    /// Takes the next byte.
    pub(super) fn next(&mut self) -> Result<u8, SnapshotError> {
        match self.peek()? {
            Some(byte) => {
                self.take(1);
                Ok(byte)
            }
            None => Err(self.cut()),
        }
    }

    /// Skips white space and shows the byte behind it.
    pub(super) fn peek_token(&mut self) -> Result<u8, SnapshotError> {
        loop {
            let waiting = self.waiting()?;
            if waiting.is_empty() {
                return Err(self.cut());
            }
            let blank = waiting.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let token = waiting.get(blank).copied();
            self.take(blank);
            if let Some(token) = token {
                return Ok(token);
            }
        }
    }

    /// Skips white space and takes the byte that must come.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), SnapshotError> {
        let found = self.peek_token()?;
        if found == byte {
            self.take(1);
            return Ok(());
        }
        Err(self.fault(format!("expected {}, found {}", shown(byte), shown(found))))
    }
}

/// A byte as a message shows it.
pub(super) fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("'{}'", char::from(byte)) } else { format!("byte 0x{byte:02x}") }
}
