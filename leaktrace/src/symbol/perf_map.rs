//! Names of compiled code that a runtime writes into `perf-PID.map`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{bounded, module};

/// Bytes of one map that we read; runtimes append for as long as they live.
const READ_LIMIT: u64 = 256 << 20;
/// Functions of one map that we keep.
const FUNCTIONS_LIMIT: usize = 500_000;
/// A longer line is cut: what follows is read as a line of its own, and dropped as it does not parse.
const LINE_LIMIT: usize = 64 << 10;
const CHUNK: usize = 256 << 10;

/// A perf map, read as far as it was written at the last look.
#[derive(Debug)]
pub(super) struct PerfMap {
    file: File,
    read: u64,
    /// The start of a line whose end has not been written yet.
    unfinished: Vec<u8>,
    functions: BTreeMap<u64, (u64, Box<str>)>,
}

impl PerfMap {
    /// Opens `/tmp/perf-PID.map` of a target, in its root and under the id it has in its own PID namespace.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let inner = inner_pid(pid)?;
        let file = module::open_in_root(pid, Path::new(&format!("/tmp/perf-{inner}.map")))?;
        Ok(Self::from_file(file))
    }

    fn from_file(file: File) -> Self {
        Self { file, read: 0, unfinished: Vec::new(), functions: BTreeMap::new() }
    }

    /// The function at an address, and the address's offset into it.
    pub(super) fn find(&self, address: u64) -> Option<(&str, u64)> {
        let (start, (size, name)) = self.functions.range(..=address).next_back()?;
        let offset = address - start;
        (offset < *size).then_some((name, offset))
    }

    /// Reads what was appended since the last look.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        while self.read < READ_LIMIT {
            let count = self.file.read_at(&mut chunk, self.read)?;
            let Some(fresh) = chunk.get(..count).filter(|fresh| !fresh.is_empty()) else { break };
            self.read += count as u64;
            self.take(fresh);
        }
        Ok(())
    }

    fn take(&mut self, fresh: &[u8]) {
        for piece in fresh.split_inclusive(|&byte| byte == b'\n') {
            self.unfinished.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.unfinished.len() > LINE_LIMIT {
                let line = std::mem::take(&mut self.unfinished);
                if let Some((start, size, name)) = parse_line(&line)
                    && (self.functions.len() < FUNCTIONS_LIMIT || self.functions.contains_key(&start))
                {
                    // A later line wins: the runtime has reused the memory.
                    self.functions.insert(start, (size, name));
                }
            }
        }
    }
}

/// `START SIZE name`, both numbers hexadecimal; some runtimes write `0x` before them.
fn parse_line(line: &[u8]) -> Option<(u64, u64, Box<str>)> {
    let line = String::from_utf8_lossy(line.trim_ascii());
    let mut fields = line.splitn(3, ' ');
    let mut number = || {
        let field = fields.next()?;
        u64::from_str_radix(field.strip_prefix("0x").unwrap_or(field), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name = fields.next()?.trim();
    (size > 0 && !name.is_empty()).then(|| (start, size, bounded(name.to_owned()).into()))
}

/// The id a process has in its innermost PID namespace.
fn inner_pid(pid: u32) -> io::Result<u32> {
    let status = std::fs::read(format!("/proc/{pid}/status"))?;
    let inner = String::from_utf8_lossy(&status)
        .lines()
        .find_map(|line| line.strip_prefix("NStgid:")?.split_ascii_whitespace().next_back()?.parse().ok());
    // Kernels without PID namespaces print no such line.
    Ok(inner.unwrap_or(pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    #[test]
    fn appended_lines_are_found_and_broken_ones_passed_over() {
        let mut writer = tempfile::NamedTempFile::new().unwrap();
        let mut map = PerfMap::from_file(writer.reopen().unwrap());
        writer
            .write_all(b"1000 20 LazyCompile:*leak a.js:3\nnonsense\n\xff 1 x\n2000 10 b\xffd\n30")
            .unwrap();
        map.refresh().unwrap();
        assert_eq!(map.find(0x101f), Some(("LazyCompile:*leak a.js:3", 0x1f)));
        assert_eq!(map.find(0x1020), None);
        assert_eq!(map.find(0x2000), Some(("b\u{fffd}d", 0)));
        assert_eq!(map.find(0x3000), None);
        writer.write_all(b"00 8 late\n1000 4 moved\n").unwrap();
        map.refresh().unwrap();
        assert_eq!(map.find(0x3007), Some(("late", 7)));
        assert_eq!(map.find(0x1001), Some(("moved", 1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000), address: u64) {
            let mut map = PerfMap::from_file(tempfile::tempfile().unwrap());
            map.take(&bytes);
            let _function = map.find(address);
        }
    }
}
