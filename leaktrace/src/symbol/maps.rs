//! One snapshot of `/proc/PID/maps`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

/// `vm.max_map_count` may be raised by hand; beyond this many mappings we stop reading.
const MAPPINGS_LIMIT: usize = 262_144;
/// A line is a path (4 KiB, each byte at most escaped to four) and about 80 bytes more.
const LINE_LIMIT: u64 = 20_000;

/// One line of the maps file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) executable: bool,
    /// Where in the file `start` lies.
    pub(super) file_offset: u64,
    pub(super) inode: u64,
    /// The path or the special name as the kernel prints it; empty for anonymous memory.
    pub(super) name: Rc<[u8]>,
}

impl Mapping {
    /// Whether the mapping is backed by a file.
    pub(super) fn is_file(&self) -> bool {
        self.inode != 0 && self.name.starts_with(b"/")
    }
}

/// The mappings of a process in address order.
///
/// A process that is gone, or a zombie, whose maps are empty, is an error.
pub(super) fn read(pid: u32) -> io::Result<Vec<Mapping>> {
    let mappings = parse(BufReader::new(File::open(format!("/proc/{pid}/maps"))?))?;
    if mappings.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(mappings) }
}

fn parse(mut lines: impl BufRead) -> io::Result<Vec<Mapping>> {
    let mut mappings: Vec<Mapping> = Vec::new();
    let mut line = Vec::new();
    while mappings.len() < MAPPINGS_LIMIT {
        line.clear();
        if lines.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let Some(mut mapping) = parse_line(line.trim_ascii_end()) else { continue };
        // An object has several mappings in a row: they share one copy of the name.
        if let Some(before) = mappings.last()
            && before.name == mapping.name
        {
            mapping.name = Rc::clone(&before.name);
        }
        mappings.push(mapping);
    }
    mappings.sort_by_key(|mapping| mapping.start);
    Ok(mappings)
}

/// `start-end perms offset major:minor inode   name`.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut rest = line;
    let mut field = || {
        let trimmed = rest.trim_ascii_start();
        let end = trimmed.iter().position(|&byte| byte == b' ').unwrap_or(trimmed.len());
        let (field, after) = trimmed.split_at(end);
        rest = after;
        std::str::from_utf8(field).ok()
    };
    let (start, end) = field()?.split_once('-')?;
    let permissions = field()?;
    let file_offset = field()?;
    let _device = field()?;
    let inode = field()?;
    let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
    (start < end).then_some(())?;
    Some(Mapping {
        start,
        end,
        executable: permissions.as_bytes().get(2) == Some(&b'x'),
        file_offset: u64::from_str_radix(file_offset, 16).ok()?,
        inode: inode.parse().ok()?,
        name: rest.trim_ascii_start().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_with_spaces_in_its_path() {
        let mapping =
            parse_line(b"7f00-8f00 r-xp 00001000 fe:01 42                         /a b/c (deleted)").unwrap();
        assert_eq!(
            (mapping.start, mapping.end, mapping.file_offset, mapping.inode),
            (0x7f00, 0x8f00, 0x1000, 42)
        );
        assert!(mapping.executable && mapping.is_file());
        assert_eq!(&*mapping.name, b"/a b/c (deleted)");
    }

    #[test]
    fn anonymous_and_special_mappings_are_no_files() {
        let anonymous = parse_line(b"1000-2000 rwxp 00000000 00:00 0 ").unwrap();
        assert!(anonymous.name.is_empty() && !anonymous.is_file());
        assert!(!parse_line(b"1000-2000 r-xp 00000000 00:00 0    [vdso]").unwrap().is_file());
    }

    #[test]
    fn our_own_maps_hold_this_function() {
        let here = anonymous_and_special_mappings_are_no_files as fn() as usize as u64;
        let mappings = read(std::process::id()).unwrap();
        assert!(mappings.iter().any(|m| m.executable && m.is_file() && (m.start..m.end).contains(&here)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _mappings = parse(&bytes[..]);
        }
    }
}
