//! An ELF file that the target maps: where its code lies, and which functions it defines.

mod bindings;
mod debug_file;
mod debug_frames;
mod frame_pointers;
mod open;
pub(crate) use open::open_in_root;
mod packed;
mod source;
mod symbols;
#[cfg(test)]
mod tests;
mod unwind;

use std::path::PathBuf;

use object::LittleEndian;
use object::elf::{self, FileHeader64};
use object::read::elf::{
    CompressionHeader as _, Dyn as _, FileHeader as _, ProgramHeader as _, SectionHeader as _,
};

use super::maps::{FileId, Mapping};
pub use bindings::Binding;
pub use debug_file::DebugLink;
pub use debug_frames::DebugFrames;
pub use frame_pointers::FramePointers;
pub use symbols::{Symbol, SymbolSource};
pub use unwind::UnwindTables;

use source::{Bounded, Source};

/// The most program headers that are looked at; the kernel's own loader takes no more than 64 KiB of them.
const MAX_SEGMENTS: usize = 1170;
/// The most bytes of code one question may ask for.
const MAX_CODE: usize = 1 << 20;

/// Why a file could not be read as an object.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// The file could not be opened or read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The file is not a 64-bit little-endian ELF file, or is damaged.
    #[error("{0}")]
    Malformed(#[from] object::read::Error),
    /// The name now leads to another file than the one that is mapped.
    #[error("the file was replaced since it was mapped")]
    Replaced,
    /// A device, pipe or directory: opening it could have effects, so it is left alone.
    #[error("not a regular file")]
    NotRegular,
    /// Another processor's code.
    #[error("not x86-64 code")]
    OtherMachine,
}

/// What an object is to the process that maps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// A program that is loaded by the dynamic linker.
    Executable,
    /// A program without dynamic linker (`-static`, `-static-pie`).
    StaticExecutable,
    /// A shared object.
    Shared,
}

/// A loadable segment (PT_LOAD).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address of its first byte, as the file names addresses.
    pub vaddr: u64,
    /// Bytes in memory.
    pub memory_size: u64,
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_size: u64,
    /// Whether it holds code.
    pub executable: bool,
}

impl Segment {
    /// Whether the byte at an offset of the file is one of its own.
    pub(crate) fn holds(&self, offset: u64) -> bool {
        offset.checked_sub(self.offset).is_some_and(|within| within < self.file_size)
    }

    /// Whether its mapping shows that byte: whole pages are mapped.
    fn shows(&self, offset: u64) -> bool {
        const PAGE: u64 = 4096;
        let end = self.offset.saturating_add(self.file_size);
        offset >= self.offset - self.offset % PAGE
            && offset < end.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX)
    }
}

/// A section by its name: where its bytes are in the file.
#[derive(Clone, Copy, Debug)]
struct Section {
    /// How they are compressed, if they are (`ELFCOMPRESS_…`).
    compression: Option<u32>,
    offset: u64,
    size: u64,
}

/// An ELF file of the target, held open.
#[derive(Debug)]
pub struct Object {
    /// Which file it is, as `/proc/PID/maps` names files.
    pub identity: FileId,
    /// A path by which the kernel (for an attach) and we reach exactly this file while this object lives:
    /// `/proc/self/fd/N`. No rename, unmap, mount namespace or symbolic link can lead it elsewhere.
    pub open_path: PathBuf,
    /// The path as the target sees it, for people.
    pub display_path: String,
    /// The build id in hex.
    pub build_id: Option<String>,
    /// What it is to the process.
    pub kind: ObjectKind,
    /// Its loadable segments.
    pub segments: Vec<Segment>,
    /// Name and checksum of the debug file, if the file has a `.gnu_debuglink`.
    pub debug_link: Option<DebugLink>,
    /// Whether the file has a `.go.buildinfo` section, as Go programs do.
    pub has_go_buildinfo: bool,
    /// The target, to look for debug files in its root directory; 0 for bytes in memory.
    pid: u32,
    source: Source,
}

impl Object {
    /// Reads an object from bytes, as tests and fuzzing do.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, ElfError> {
        Self::parse(Source::Bytes(bytes), FileId::default(), PathBuf::new(), String::from("(memory)"), 0)
    }

    fn parse(
        source: Source,
        identity: FileId,
        open_path: PathBuf,
        display_path: String,
        pid: u32,
    ) -> Result<Self, ElfError> {
        let mut object = Self {
            identity,
            open_path,
            display_path,
            build_id: None,
            kind: ObjectKind::Shared,
            segments: Vec::new(),
            debug_link: None,
            has_go_buildinfo: false,
            pid,
            source: Source::Bytes(Vec::new()),
        };
        let cache = source.cache();
        object.read_headers(Bounded(&cache))?;
        drop(cache);
        object.source = source;
        Ok(object)
    }

    fn read_headers(&mut self, data: Bounded<'_, '_>) -> Result<(), ElfError> {
        let header = FileHeader64::<LittleEndian>::parse(data)?;
        let endian = header.endian()?;
        if header.e_machine(endian) != elf::EM_X86_64 {
            return Err(ElfError::OtherMachine);
        }
        let (mut interpreter, mut pie, mut soname) = (false, false, false);
        for segment in header.program_headers(endian, data)?.iter().take(MAX_SEGMENTS) {
            match segment.p_type(endian) {
                elf::PT_LOAD => self.segments.push(Segment {
                    vaddr: segment.p_vaddr(endian),
                    memory_size: segment.p_memsz(endian),
                    offset: segment.p_offset(endian),
                    file_size: segment.p_filesz(endian),
                    executable: segment.p_flags(endian) & elf::PF_X != 0,
                }),
                elf::PT_INTERP => interpreter = true,
                elf::PT_DYNAMIC => {
                    let entries = segment.dynamic(endian, data).ok().flatten().unwrap_or_default();
                    let flags = entries.iter().find(|entry| entry.tag(endian) == elf::DT_FLAGS_1);
                    soname = entries.iter().any(|entry| entry.tag(endian) == elf::DT_SONAME);
                    pie = flags.is_some_and(|entry| entry.val(endian) & u64::from(elf::DF_1_PIE) != 0);
                }
                elf::PT_NOTE if self.build_id.is_none() => {
                    let notes = segment.notes(endian, data).ok().flatten();
                    self.build_id =
                        notes.and_then(|notes| NoteWalk(notes).find_map(|note| build_id_of(&note, endian)));
                }
                _ => {}
            }
        }
        // libc.so.6 names an interpreter too, because it can be run; but it has a name to be linked by.
        let is_program = header.e_type(endian) == elf::ET_EXEC || pie || (interpreter && !soname);
        self.kind = match (is_program, interpreter) {
            (true, true) => ObjectKind::Executable,
            (true, false) => ObjectKind::StaticExecutable,
            (false, _) => ObjectKind::Shared,
        };
        // Section headers are optional: a file stripped of them is still mapped and run.
        if let Ok(sections) = header.sections(endian, data) {
            self.has_go_buildinfo = sections.section_by_name(endian, b".go.buildinfo").is_some();
            let link = sections.section_by_name(endian, b".gnu_debuglink");
            self.debug_link = link
                .filter(|(_, section)| section.sh_size(endian) <= 4096)
                .and_then(|(_, section)| section.data(endian, data).ok())
                .and_then(DebugLink::parse);
        }
        Ok(())
    }

    /// Whether the object is a program without dynamic linker.
    pub fn is_static(&self) -> bool {
        self.kind == ObjectKind::StaticExecutable
    }

    /// Last part of the path, without the mark of a deleted file.
    pub fn file_name(&self) -> &str {
        self.display_path.rsplit('/').next().unwrap_or_default()
    }

    /// Offset in the file of an address of the file; none for what is not in the file (`.bss`, outside).
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let within = vaddr.checked_sub(segment.vaddr).filter(|within| *within < segment.file_size)?;
            segment.offset.checked_add(within)
        })
    }

    /// The bytes at `vaddr` in the file: `len` of them (at most 1 MiB), fewer where the segment ends.
    pub fn code(&self, vaddr: u64, len: usize) -> Option<Vec<u8>> {
        let segment = self.segments.iter().find(|segment| {
            segment.executable
                && vaddr.checked_sub(segment.vaddr).is_some_and(|within| within < segment.file_size)
        })?;
        let within = vaddr - segment.vaddr;
        let len = (segment.file_size - within).min(len.min(MAX_CODE) as u64) as usize;
        let bytes = self.source.read_up_to(segment.offset.checked_add(within)?, len).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    }

    /// The first section of this name that has bytes in the file.
    fn section(&self, name: &[u8]) -> Option<Section> {
        let cache = self.source.cache();
        let data = Bounded(&cache);
        let header = FileHeader64::<LittleEndian>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, data).ok()?;
        let (_, section) = sections.section_by_name(endian, name)?;
        if section.sh_type(endian) == elf::SHT_NOBITS {
            return None;
        }
        Some(match section.compression(endian, data).ok()? {
            Some((compression, offset, size)) => {
                Section { compression: Some(compression.ch_type(endian)), offset, size }
            }
            None => Section {
                compression: None,
                offset: section.sh_offset(endian),
                size: section.sh_size(endian),
            },
        })
    }

    /// What stands at the first place of the file that begins with `prefix`: `len` bytes, fewer at the end of the file.
    /// The first 64 MiB are searched.
    pub fn find_bytes(&self, prefix: &[u8], len: usize) -> Option<Vec<u8>> {
        const BLOCK: usize = 1 << 20;
        const BLOCKS: u64 = 64;
        let finder = memchr::memmem::Finder::new(prefix);
        (0..BLOCKS).find_map(|block| {
            let start = block * BLOCK as u64;
            let bytes = self.source.read_up_to(start, BLOCK + prefix.len()).ok()?;
            let at = finder.find(&bytes)?;
            self.source.read_up_to(start + at as u64, len).ok()
        })
    }

    /// The file's own address of a run-time address inside `mapping`, which must map this object.
    pub fn vaddr_of(&self, mapping: &Mapping, address: u64) -> Option<u64> {
        if !mapping.contains(address) {
            return None;
        }
        let offset = (address - mapping.start).checked_add(mapping.offset)?;
        let same_kind = |segment: &&Segment| segment.executable == mapping.executable;
        // Segments may share a page of the file, so the one with the mapping's own permission goes first; also for what
        // stands before it in its first page, which is another's by the file and this one's in memory.
        let segment = (self.segments.iter().filter(same_kind).find(|segment| segment.holds(offset)))
            .or_else(|| self.segments.iter().filter(same_kind).find(|segment| segment.shows(offset)))
            .or_else(|| self.segments.iter().find(|segment| segment.holds(offset)))?;
        segment.vaddr.checked_add(offset)?.checked_sub(segment.offset)
    }

    /// The run-time address of an address of the file: in the first executable mapping that shows it.
    pub fn address_of(&self, vaddr: u64, maps: &[Mapping]) -> Option<u64> {
        let offset = self.file_offset(vaddr)?;
        maps.iter().filter(|mapping| mapping.executable && mapping.file_id() == Some(self.identity)).find_map(
            |mapping| {
                let within = offset.checked_sub(mapping.offset)?;
                mapping.start.checked_add(within).filter(|address| mapping.contains(*address))
            },
        )
    }
}

/// Notes one by one; a damaged note ends the walk.
struct NoteWalk<'a>(object::read::elf::NoteIterator<'a, FileHeader64<LittleEndian>>);

impl<'a> Iterator for NoteWalk<'a> {
    type Item = object::read::elf::Note<'a, FileHeader64<LittleEndian>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().ok().flatten()
    }
}

fn build_id_of(
    note: &object::read::elf::Note<'_, FileHeader64<LittleEndian>>,
    endian: LittleEndian,
) -> Option<String> {
    let is_id = note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID;
    // SHA-1 ids have 20 bytes; nothing that builds programs writes more than 64.
    (is_id && (2..=64).contains(&note.desc().len())).then(|| {
        use std::fmt::Write as _;
        note.desc().iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    })
}
