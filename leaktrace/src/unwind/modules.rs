//! The unwind tables of mapped files, read once for all processes.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use framehop::{ExplicitModuleSectionInfo, Module};
use leaktrace_common::Rule;
use rustc_hash::FxHashMap;

use crate::target::{
    elf::{DebugFrames, Object, UnwindTables},
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
    known: Known,
}

/// How the frame of an address is left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// As the tables for exceptions say, or by frame pointer where they say nothing.
    Tables,
    /// As those for debuggers say, where there are no others.
    Rule(Rule),
    /// Not at all: what the tables say may have no end.
    Nowhere,
}

impl Loaded {
    /// How to come from a return address to the next frame by the tables for exceptions; `address` lies within the call
    /// before it.
    pub(super) fn rule_at(&self, address: u64) -> Rule {
        let tables = self.known.tables.as_ref();
        tables
            .and_then(|tables| tables.rule_at(address.wrapping_sub(self.bias)))
            .unwrap_or(Rule::FRAME_POINTER)
    }

    /// What is to be followed at an address in memory.
    pub(super) fn way_at(&self, address: u64) -> Way {
        let address = address.wrapping_sub(self.bias);
        if let Some(tables) = self.known.tables.as_ref().filter(|tables| tables.covers(address)) {
            return if tables.ends_at(address) { Way::Tables } else { Way::Nowhere };
        }
        let rule = self.known.debug_frames().and_then(|frames| frames.rule_at(address));
        rule.map_or(Way::Tables, Way::Rule)
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
    /// Those for exceptions.
    tables: Option<Arc<UnwindTables>>,
    /// Those for debuggers, read where they are needed.
    debug_frames: Arc<OnceLock<Option<DebugFrames>>>,
}

impl Known {
    fn new(object: Object) -> Self {
        let tables = object.unwind_tables().map(Arc::new);
        Self { object: Arc::new(object), tables, debug_frames: Arc::default() }
    }

    fn debug_frames(&self) -> Option<&DebugFrames> {
        self.debug_frames.get_or_init(|| self.object.debug_frames()).as_ref()
    }
}

impl Files {
    /// Makes a file known that was read already, as tests and fuzzing do.
    pub fn add(&mut self, object: Object) {
        self.known.insert(object.identity, Some(Known::new(object)));
    }

    /// The tables of a mapping, those for exceptions as a module; `None` where the file cannot be read.
    pub(super) fn load(&mut self, pid: u32, mapping: &Mapping) -> Option<(Loaded, Option<Module<Bytes>>)> {
        let file = mapping.file_id()?;
        if self.known.len() >= MAX_FILES {
            self.known.clear();
        }
        let open = || Some(Known::new(Object::open(pid, mapping).ok()?));
        let known = self.known.entry(file).or_insert_with(open).clone()?;
        let bias = mapping.start.wrapping_sub(known.object.vaddr_of(mapping, mapping.start)?);
        let module = known.tables.as_ref().map(|tables| {
            let name = known.object.file_name().to_owned();
            Module::new(name, mapping.start..mapping.end, bias, sections(tables))
        });
        Some((Loaded { end: mapping.end, file, bias, known }, module))
    }
}

fn sections(tables: &UnwindTables) -> ExplicitModuleSectionInfo<Bytes> {
    let (frames_at, frames) = tables.frames();
    let range = |at: u64, bytes: &[u8]| at..at.saturating_add(bytes.len() as u64);
    let index = tables.index();
    ExplicitModuleSectionInfo {
        base_svma: 0,
        text_svma: Some(tables.text()..u64::MAX),
        eh_frame_svma: Some(range(frames_at, &frames)),
        eh_frame: Some(Bytes(frames)),
        eh_frame_hdr_svma: index.as_ref().map(|(at, bytes)| range(*at, bytes)),
        eh_frame_hdr: index.map(|(_, bytes)| Bytes(bytes)),
        ..ExplicitModuleSectionInfo::default()
    }
}
