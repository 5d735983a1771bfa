//! The C library of a process: its version, and where its allocator keeps its variables.

use std::ops::Range;

use super::elf::Object;
use super::maps::{MappedPath, Mapping};

/// What stands in the C library before its version, for people who run it.
const BANNER: &[u8] = b"GNU C Library ";
const RELEASE: &[u8] = b" release version ";
/// The banner is shorter.
const LONGEST: usize = 256;
/// More of its variables are not looked at; glibc has some 80 KiB.
const MAX_DATA: u64 = 4 << 20;

/// The version that an object says it is of, if it is the GNU C library: 2.36 is (2, 36).
pub fn version(object: &Object) -> Option<(u32, u32)> {
    let banner = object.find_bytes(BANNER, LONGEST)?;
    let at = banner.windows(RELEASE.len()).position(|window| window == RELEASE)?;
    let text = banner.get(at + RELEASE.len()..)?;
    let is_number = |byte: &&u8| byte.is_ascii_digit() || **byte == b'.';
    let number: String = text.iter().take_while(is_number).map(|byte| char::from(*byte)).collect();
    let mut parts = number.trim_end_matches('.').split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// Addresses of the allocator's variables, as far as symbols name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    /// `main_arena`.
    pub main_arena: Option<u64>,
    /// `mp_`, its parameters.
    pub parameters: Option<u64>,
}

impl Variables {
    /// Looks in the symbol tables of the object and of its debug file.
    pub fn of(object: &Object, maps: &[Mapping]) -> Self {
        let is_code = |mapping: &&Mapping| mapping.executable && mapping.file_id() == Some(object.identity);
        let code = maps.iter().find(is_code);
        let place = |name: &[u8]| {
            let mapping = code?;
            let &[vaddr] = object.variables(|found| found == name).as_slice() else { return None };
            let base = mapping.start.checked_sub(object.vaddr_of(mapping, mapping.start)?)?;
            base.checked_add(vaddr)
        };
        Self { main_arena: place(b"main_arena"), parameters: place(b"mp_") }
    }
}

/// Where the variables of an object are: what is mapped from its file to be written, and memory that follows it.
pub fn data(object: &Object, maps: &[Mapping]) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    for mapping in maps.iter().filter(|mapping| mapping.writable && mapping.end - mapping.start <= MAX_DATA) {
        let follows = found.last().is_some_and(|last| last.end == mapping.start);
        match found.last_mut() {
            Some(last) if follows && mapping.path == MappedPath::Anonymous => last.end = mapping.end,
            _ if mapping.file_id() == Some(object.identity) => found.push(mapping.start..mapping.end),
            _ => {}
        }
    }
    found
}
