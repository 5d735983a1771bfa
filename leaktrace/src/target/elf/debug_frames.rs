//! Unwind tables for debuggers (`.debug_frame`): of code that was compiled without those for exceptions.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use gimli::{
    BaseAddresses, CieOrFde, DebugFrame, EndianSlice, LittleEndian, UnwindContext, UnwindSection as _,
};
use leaktrace_common::Rule;
use object::elf;

use super::unwind::{ADDRESS_SIZE, MAX_TABLES, rule};
use super::{Object, Section};

/// Entries beyond are not looked at; a browser has a million functions.
const MAX_ENTRIES: usize = 1 << 20;

/// The section, and where its entries are: it has no index of its own.
#[derive(Debug)]
pub struct DebugFrames {
    bytes: Vec<u8>,
    /// Start and length of each piece of code, and its entry's offset; ascending.
    index: Vec<(u64, u64, usize)>,
}

impl Object {
    /// The object's own, else those of the debug file that has its build id.
    pub fn debug_frames(&self) -> Option<DebugFrames> {
        let bytes = self.debug_frame_section();
        let bytes = bytes.or_else(|| self.debug_file_by_build_id()?.debug_frame_section());
        bytes.map(DebugFrames::new).filter(|frames| !frames.index.is_empty())
    }

    fn debug_frame_section(&self) -> Option<Vec<u8>> {
        let Section { compression, offset, size } = self.section(b".debug_frame")?;
        let read = || self.source.read_up_to(offset, size.min(MAX_TABLES as u64) as usize).ok();
        match compression {
            None => return read(),
            Some(elf::ELFCOMPRESS_ZLIB) => {}
            Some(_) => return None,
        }
        let mut bytes = Vec::new();
        let packed = read()?;
        ZlibDecoder::new(packed.as_slice()).take(MAX_TABLES as u64).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

impl DebugFrames {
    fn new(bytes: Vec<u8>) -> Self {
        let mut index = Vec::new();
        let frames = section(&bytes);
        let bases = BaseAddresses::default();
        let mut entries = frames.entries(&bases);
        while index.len() < MAX_ENTRIES
            && let Ok(Some(entry)) = entries.next()
        {
            let CieOrFde::Fde(partial) = entry else { continue };
            let Ok(entry) = partial.parse(DebugFrame::cie_from_offset) else { continue };
            index.push((entry.initial_address(), entry.len(), entry.offset()));
        }
        index.sort_unstable();
        Self { bytes, index }
    }

    /// How to come from a return address to that of the next frame outwards; `address` is one that the call before it
    /// covers. `None` where nothing is said of it.
    pub fn rule_at(&self, address: u64) -> Option<Rule> {
        let behind = self.index.partition_point(|&(start, ..)| start <= address);
        let &(start, length, offset) = self.index.get(behind.checked_sub(1)?)?;
        if address - start >= length {
            return None;
        }
        let (frames, bases) = (section(&self.bytes), BaseAddresses::default());
        let entry = frames.fde_from_offset(&bases, offset.into(), DebugFrame::cie_from_offset).ok()?;
        let mut context = UnwindContext::new();
        let row = entry.unwind_info_for_address(&frames, &bases, &mut context, address).ok();
        Some(row.and_then(rule).unwrap_or(Rule::INEXPRESSIBLE))
    }
}

fn section(bytes: &[u8]) -> DebugFrame<EndianSlice<'_, LittleEndian>> {
    let mut frames = DebugFrame::new(bytes, LittleEndian);
    frames.set_address_size(ADDRESS_SIZE);
    frames
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A program without tables for exceptions: what debuggers are told is the same, compressed or not.
    #[test]
    fn rules_are_those_of_the_tables_for_exceptions() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("a.c");
        std::fs::write(&source, "int f(int a) { char b[99]; return puts(b) + a; } void _start() { f(1); }")
            .unwrap();
        let build = |name: &str, flags: &[&str]| {
            let program = directory.path().join(name);
            let common = [
                "-w",
                "-g",
                "-O1",
                "-fomit-frame-pointer",
                "-nostdlib",
                "-static",
                "-Wl,--defsym=puts=0",
                "-o",
            ];
            let built =
                Command::new("cc").args(common).arg(&program).arg(&source).args(flags).status().unwrap();
            assert!(built.success());
            Object::from_bytes(std::fs::read(program).unwrap()).unwrap()
        };
        let without = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
        let usual = build("usual", &[]);
        assert!(usual.debug_frames().is_none());
        let tables = usual.unwind_tables().unwrap();
        let text = usual.segments.iter().find(|segment| segment.executable).unwrap();
        let rules: Vec<_> = (text.vaddr..text.vaddr + 128).filter_map(|at| tables.rule_at(at)).collect();
        assert!(rules.iter().any(|rule| rule.cfa_offset > 99), "{rules:?}");
        for (name, flag) in [("plain", "-gz=none"), ("packed", "-gz=zlib")] {
            let object = build(name, &[without.as_slice(), &[flag]].concat());
            let text = object.segments.iter().find(|segment| segment.executable).unwrap();
            assert!(object.unwind_tables().is_none_or(|tables| tables.rule_at(text.vaddr).is_none()));
            let frames = object.debug_frames().unwrap();
            let found: Vec<_> = (text.vaddr..text.vaddr + 128).filter_map(|at| frames.rule_at(at)).collect();
            assert_eq!(found, rules, "{name}");
        }
    }
}
