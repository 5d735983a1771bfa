//! The target's mappings: `/proc/PID/maps`, and which of them hold code.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// `vm.max_map_count` is 65,530 by default and rarely above a million; a longer list is cut.
const MAX_MAPPINGS: usize = 1 << 20;
/// What the kernel appends to the path of a file that has no name any more.
const DELETED: &[u8] = b" (deleted)";

/// A file, as `/proc/PID/maps` tells files apart. On btrfs and overlayfs the device differs from `stat`'s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Major and minor device number.
    pub device: (u32, u32),
    /// Inode number.
    pub inode: u64,
}

/// What is mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappedPath {
    /// A file, by the path it has in the target's mount namespace.
    File(PathBuf),
    /// Memory without a name.
    Anonymous,
    /// What the kernel names itself: `[heap]`, `[stack]`, `[vdso]`, `[uprobes]`, `[anon:name]`, `anon_inode:…`.
    Special(String),
}

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the kernel shows permissions one by one")]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Where in the file the mapping begins, in bytes.
    pub offset: u64,
    /// May be executed.
    pub executable: bool,
    /// May be read.
    pub readable: bool,
    /// May be written.
    pub writable: bool,
    /// Major and minor number of the file's device.
    pub device: (u32, u32),
    /// Inode number of the file; 0 for memory.
    pub inode: u64,
    /// What is mapped.
    pub path: MappedPath,
    /// The file has no name any more (or its name ends in " (deleted)": the two look the same).
    pub deleted: bool,
}

impl Mapping {
    /// Whether an address lies in it.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// The file that is mapped, if one is.
    pub fn file_id(&self) -> Option<FileId> {
        let is_file = matches!(self.path, MappedPath::File(_)) && self.inode != 0;
        is_file.then_some(FileId { device: self.device, inode: self.inode })
    }
}

/// Reads the mappings of a process, by ascending address.
pub fn read(pid: u32) -> io::Result<Vec<Mapping>> {
    Ok(parse(&std::fs::read(format!("/proc/{pid}/maps"))?))
}

/// Parses `/proc/PID/maps`; lines that cannot be one are left out.
pub fn parse(text: &[u8]) -> Vec<Mapping> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).take(MAX_MAPPINGS).collect()
}

fn parse_line(line: &[u8]) -> Option<Mapping> {
    // Five fields with one blank between them, then blanks up to column 73, then the path, which may hold blanks.
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut field = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?.as_bytes();
    let offset = hex(field()?)?;
    let (major, minor) = field()?.split_once(':')?;
    let inode = field()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    let (path, deleted) = match path.strip_suffix(DELETED) {
        Some(path) => (path, true),
        None => (path, false),
    };
    let (start, end) = (hex(start)?, hex(end)?);
    let flag = |index: usize, set: u8| permissions.get(index) == Some(&set);
    (start < end).then(|| Mapping {
        start,
        end,
        offset,
        executable: flag(2, b'x'),
        readable: flag(0, b'r'),
        writable: flag(1, b'w'),
        device: (hex(major).unwrap_or(0) as u32, hex(minor).unwrap_or(0) as u32),
        inode,
        path: classify(path),
        deleted,
    })
}

fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

fn classify(path: &[u8]) -> MappedPath {
    match path.first() {
        None => MappedPath::Anonymous,
        Some(b'/') => MappedPath::File(PathBuf::from(OsString::from_vec(unescape(path)))),
        Some(_) => MappedPath::Special(String::from_utf8_lossy(path).into_owned()),
    }
}

/// The kernel writes a line feed in a path as `\012` and nothing else so; a path that really holds these four
/// characters cannot be told apart, and is opened through `map_files` all the same.
fn unescape(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = behind;
        } else {
            plain.push(*byte);
            rest = behind;
        }
    }
    plain
}

/// The files that code is mapped from: of each the first such mapping.
pub fn code_files(maps: &[Mapping]) -> impl Iterator<Item = &Mapping> {
    let mut seen = HashSet::new();
    let code = maps.iter().filter(|mapping| mapping.executable);
    code.filter(move |mapping| mapping.file_id().is_some_and(|file| seen.insert(file)))
}

/// The executable mappings, for quick look-ups of return addresses.
#[derive(Clone, Debug, Default)]
pub struct ExecutableRanges(Vec<Mapping>);

impl ExecutableRanges {
    /// Keeps the executable ones of `maps`.
    pub fn new(maps: &[Mapping]) -> Self {
        let mut ranges: Vec<Mapping> = maps.iter().filter(|mapping| mapping.executable).cloned().collect();
        ranges.sort_by_key(|mapping| mapping.start);
        Self(ranges)
    }

    /// Whether code may be executed at `address`.
    pub fn contains(&self, address: u64) -> bool {
        self.find(address).is_some()
    }

    /// The executable mapping that holds `address`.
    pub fn find(&self, address: u64) -> Option<&Mapping> {
        let behind = self.0.partition_point(|mapping| mapping.start <= address);
        self.0.get(behind.checked_sub(1)?).filter(|mapping| mapping.contains(address))
    }

    /// The mappings, by ascending address.
    pub fn as_slice(&self) -> &[Mapping] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIXTURE: &[u8] = b"\
55d0c0000000-55d0c0002000 r--p 00000000 fe:00 247282                     /usr/bin/redis server
55d0c0002000-55d0c0008000 r-xp 00002000 fe:00 247282                     /usr/bin/redis server (deleted)
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 
7f0000001000-7f0000002000 r-xp 00001000 103:15 99 /opt/line\\012feed
7f0000002000-7f0000003000 rw-s 00000000 00:0e 1041                       anon_inode:[perf_event]
7ffff7fff000-7ffff8000000 --xp 00000000 00:00 0                          [uprobes]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
nonsense
7000-6000 r-xp 00000000 00:00 0
";

    #[test]
    fn lines_are_read_as_the_kernel_writes_them() {
        let maps = parse(FIXTURE);
        assert_eq!(maps.len(), 8);
        assert_eq!(maps[0].path, MappedPath::File("/usr/bin/redis server".into()));
        assert!(maps[0].readable && !maps[0].executable && !maps[0].deleted);
        assert_eq!(maps[1].path, maps[0].path);
        assert!(maps[1].deleted && maps[1].executable);
        assert_eq!((maps[1].offset, maps[1].device, maps[1].inode), (0x2000, (0xfe, 0), 247_282));
        assert_eq!(maps[2].path, MappedPath::Special("[heap]".into()));
        assert!(maps[2].writable);
        assert_eq!(maps[3].path, MappedPath::Anonymous);
        assert_eq!(maps[4].path, MappedPath::File("/opt/line\nfeed".into()));
        assert_eq!(maps[4].device, (0x103, 0x15));
        assert_eq!(maps[5].file_id(), None);
        assert_eq!(maps[7].end, 0xffff_ffff_ff60_1000);
    }

    #[test]
    fn code_is_found_by_address() {
        let ranges = ExecutableRanges::new(&parse(FIXTURE));
        assert!(!ranges.contains(0));
        assert!(!ranges.contains(0x55d0_c000_1fff));
        assert_eq!(ranges.find(0x55d0_c000_2000).map(|mapping| mapping.offset), Some(0x2000));
        assert!(ranges.contains(0x55d0_c000_7fff));
        assert!(!ranges.contains(0x55d0_c000_8000));
        assert!(!ranges.contains(u64::MAX));
    }

    #[test]
    fn our_own_mappings_hold_our_own_code() {
        let ranges = ExecutableRanges::new(&read(std::process::id()).unwrap());
        let here = ranges.find(our_own_mappings_hold_our_own_code as *const () as u64).unwrap();
        assert!(here.file_id().is_some());
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for mapping in parse(&text) {
                prop_assert!(mapping.start < mapping.end);
            }
        }

        #[test]
        fn look_up_agrees_with_a_linear_search(
            starts in proptest::collection::btree_set(1_u64..500, 0..40), address in 0_u64..600,
        ) {
            let text: Vec<String> = starts.iter().map(|start| format!("{start:x}-{:x} r-xp 0 0:0 0\n", start + 1)).collect();
            let maps = parse(text.concat().as_bytes());
            prop_assert_eq!(maps.len(), starts.len());
            prop_assert_eq!(ExecutableRanges::new(&maps).contains(address), maps.iter().any(|map| map.contains(address)));
        }
    }
}
