//! The unwind tables of mapped files, read once for all processes.

use std::ops::Deref;
use std::sync::Arc;

use framehop::{ExplicitModuleSectionInfo, Module};
use leaktrace_common::Rule;
use rustc_hash::FxHashMap;

use crate::target::{
    elf::{Object, UnwindTables},
    maps::{FileId, Mapping},
};

/// Tables of so many files are kept at most; a process has rarely more than some hundred.
const MAX_FILES: usize = 4096;

/// Bytes of a section, shared.
#[derive(Clone, Debug)]
pub(super) struct Bytes(Arc<[u8]>);

impl Default for Bytes {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A mapping whose tables are in use.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) end: u64,
    pub(super) file: FileId,
    /// What is to be added to an address of the file to get the one in memory.
    bias: u64,
    tables: Arc<UnwindTables>,
}

impl Loaded {
    /// How to come from a return address to the next frame; `address` lies within the call before it.
    pub(super) fn rule_at(&self, address: u64) -> Rule {
        self.tables.rule_at(address.wrapping_sub(self.bias))
    }

    /// Whether the tables may be followed at an address in memory.
    pub(super) fn is_sane_at(&self, address: u64) -> bool {
        self.tables.ends_at(address.wrapping_sub(self.bias))
    }
}

/// The files whose tables were read.
#[derive(Debug, Default)]
pub struct Files {
    known: FxHashMap<FileId, Option<Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    object: Arc<Object>,
    tables: Arc<UnwindTables>,
}

impl Files {
    /// Makes a file known that was read already, as tests and fuzzing do.
    pub fn add(&mut self, object: Object) {
        let known = object.unwind_tables().map(|tables| (object.identity, tables));
        if let Some((file, tables)) = known {
            self.known.insert(file, Some(Known { object: Arc::new(object), tables: Arc::new(tables) }));
        }
    }

    /// The tables of a mapping; `None` where it has none.
    pub(super) fn load(&mut self, pid: u32, mapping: &Mapping) -> Option<(Loaded, Module<Bytes>)> {
        let file = mapping.file_id()?;
        if self.known.len() >= MAX_FILES {
            self.known.clear();
        }
        let Known { object, tables } =
            self.known.entry(file).or_insert_with(|| read(pid, mapping)).clone()?;
        let bias = mapping.start.wrapping_sub(object.vaddr_of(mapping, mapping.start)?);
        let (frames_at, frames) = tables.frames();
        let range = |at: u64, bytes: &[u8]| at..at.saturating_add(bytes.len() as u64);
        let index = tables.index();
        let sections = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: Some(tables.text()..u64::MAX),
            eh_frame_svma: Some(range(frames_at, &frames)),
            eh_frame: Some(Bytes(frames)),
            eh_frame_hdr_svma: index.as_ref().map(|(at, bytes)| range(*at, bytes)),
            eh_frame_hdr: index.map(|(_, bytes)| Bytes(bytes)),
            ..ExplicitModuleSectionInfo::default()
        };
        let name = object.file_name().to_owned();
        let module = Module::new(name, mapping.start..mapping.end, bias, sections);
        Some((Loaded { end: mapping.end, file, bias, tables }, module))
    }
}

fn read(pid: u32, mapping: &Mapping) -> Option<Known> {
    let object = Object::open(pid, mapping).ok()?;
    let tables = object.unwind_tables()?;
    Some(Known { object: Arc::new(object), tables: Arc::new(tables) })
}
