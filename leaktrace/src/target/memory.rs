//! Reads the target's memory through `/proc/PID/mem`: no stop, no injection, no unsafe code.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The memory of the program that a process runs; after an exec it reads nothing, and is to be opened anew.
#[derive(Debug)]
pub struct Memory(File);

impl Memory {
    /// Opens the memory of process `pid` for reading.
    pub fn open(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/mem")).map(Self)
    }

    /// Reads at `address` and says how many bytes it got: fewer than asked where the next page is not mapped.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, address.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(filled)
    }
}

/// Reads once from the memory of process `pid`; see [`Memory::read`].
pub fn read(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    Memory::open(pid)?.read(address, buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_what_we_wrote() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|number| number as u8).collect();
        let mut seen = vec![0; bytes.len()];
        let count = read(std::process::id(), bytes.as_ptr() as u64, &mut seen).unwrap();
        assert_eq!(count, bytes.len());
        assert_eq!(seen, bytes);
    }

    #[test]
    fn what_is_not_mapped_is_an_error() {
        let memory = Memory::open(std::process::id()).unwrap();
        for address in [0, 8, 0x7fff_ffff_f000, u64::MAX - 4, 1 << 63] {
            assert_ne!(memory.read(address, &mut [0; 16]).unwrap_or(0), 16, "{address:x}");
        }
    }
}
