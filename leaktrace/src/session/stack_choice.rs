//! How the stacks of a process are taken: by frame pointers, or by unwind tables.

use std::collections::HashMap;

use crate::{
    cli::Unwind,
    output::record::CodeFile,
    target::{
        elf::FramePointers,
        maps::{FileId, Mapping, code_files},
    },
    unwind::Trust,
};

/// More files of code of a process are not looked at.
const MAX_FILES: usize = 256;

/// Chooses for all processes of a trace.
#[derive(Debug)]
pub(super) struct StackChoice {
    asked: Unwind,
    /// The programs are loaded that can copy stacks.
    can_copy: bool,
    /// Each file is looked at once.
    known: HashMap<FileId, Option<Trust>>,
}

impl StackChoice {
    pub(super) fn new(asked: Unwind, can_copy: bool) -> Self {
        Self { asked, can_copy, known: HashMap::new() }
    }

    /// Whether stacks are copied and followed by unwind tables.
    pub(super) fn are_copied(&mut self, pid: u32, maps: &[Mapping]) -> bool {
        self.can_copy
            && match self.asked {
                Unwind::Fp => false,
                Unwind::Dwarf => true,
                // What cannot be opened does not count.
                Unwind::Auto => !self.trust(pid, maps).iter().all(Trust::leads_through),
            }
    }

    /// The files of code of a process that can be opened.
    pub(super) fn trust(&mut self, pid: u32, maps: &[Mapping]) -> Vec<Trust> {
        let files = code_files(maps).take(MAX_FILES);
        let trust = files.filter_map(|mapping| {
            self.known.entry(mapping.file_id()?).or_insert_with(|| Trust::of(pid, mapping)).clone()
        });
        trust.collect()
    }
}

/// As the header has them.
pub(super) fn code_records(trust: Vec<Trust>) -> Vec<CodeFile> {
    let record = |trust: Trust| {
        let frame_pointers = trust.frame_pointers.map(|kept| match kept {
            FramePointers::Kept => "kept",
            FramePointers::Mixed => "in_part",
            FramePointers::Omitted => "missing",
        });
        CodeFile {
            module: trust.path,
            build_id: trust.build_id,
            frame_pointers: frame_pointers.map(str::to_owned),
        }
    };
    trust.into_iter().map(record).collect()
}
