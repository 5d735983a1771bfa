//! What a walk stands on: the allocator of a process, and where it keeps its variables. It stays the same from walk to walk.

use std::sync::Arc;

use crate::{
    error::{ExitCode, Failure},
    heap::walk::{Layout, layout_of},
    target::{
        allocator::{Allocator, AllocatorKind, DiscoverOptions, discover, in_charge},
        elf::Object,
        glibc::{self, Variables},
        maps::Mapping,
        process::Process,
    },
};

/// Which versions of the C library are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layouts {
    /// Those that were tested.
    Tested,
    /// All that are known.
    Known,
}

impl Layouts {
    pub(super) const fn chosen(untested_too: bool) -> Self {
        if untested_too { Self::Known } else { Self::Tested }
    }
}

/// What is known of a process before its heap is read.
#[derive(Debug)]
pub(super) struct Ground {
    /// The allocator that the program's malloc is of.
    pub(super) allocator: String,
    /// The C library, where that is the allocator.
    pub(super) libc: Option<Libc>,
    /// It has a runtime with a heap of its own.
    pub(super) has_runtime: bool,
}

/// The C library of a process.
#[derive(Debug)]
pub(super) struct Libc {
    pub(super) object: Arc<Object>,
    pub(super) layout: &'static Layout,
    /// As far as symbols name them.
    pub(super) variables: Variables,
}

impl Ground {
    /// Looks for the allocator; a C library whose heap may not be read is refused.
    pub(super) fn of(process: &Process, maps: &[Mapping], layouts: Layouts) -> Result<Self, Failure> {
        let discovery = discover(process, maps, &DiscoverOptions::default())?;
        let (allocator, libc) = match in_charge(&discovery.allocators.iter().collect::<Vec<_>>()) {
            Some(libc) if libc.kind == AllocatorKind::Glibc => {
                let (object, layout) = (Arc::clone(&libc.object), layout(process.pid, libc, layouts)?);
                let variables = Variables::of(&object, maps);
                ("glibc".to_owned(), Some(Libc { object, layout, variables }))
            }
            other => (other.map_or_else(|| "unknown".to_owned(), |other| other.name.clone()), None),
        };
        Ok(Self { allocator, libc, has_runtime: !discovery.runtimes.is_empty() })
    }
}

fn layout(pid: u32, libc: &Allocator, layouts: Layouts) -> Result<&'static Layout, Failure> {
    let unsupported = |message| Err(Failure::new(ExitCode::Unsupported, message));
    let Some(version) = glibc::version(&libc.object) else {
        let path = &libc.object.display_path;
        return unsupported(format!(
            "the version of the C library of process {pid} is not known: {path} does not tell it"
        ));
    };
    let (major, minor) = version;
    match layout_of(version) {
        Some(layout) if layout.is_tested || layouts == Layouts::Known => Ok(layout),
        Some(_) => unsupported(format!(
            "process {pid} runs glibc {major}.{minor}, whose heap was never read in a test: --heap-walk-untested reads \
             it all the same"
        )),
        None => unsupported(format!(
            "process {pid} runs glibc {major}.{minor}, whose heap leaktrace does not know: it knows 2.30 to 2.41"
        )),
    }
}
