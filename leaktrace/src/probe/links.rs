//! One small interface for what holds a probe in place, so that other kinds of kernel link can stand beside aya's.

use std::{io, num::NonZeroU32, path::PathBuf};

use aya::{
    Ebpf,
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope},
    },
};

use super::run_times::Runs;

/// The BPF programs that can be put on an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Entry of a function of the C family.
    AllocEnter,
    /// Its return, by a return probe.
    AllocReturn,
    /// Both, by a session.
    AllocSession,
    /// Its return, by a plain probe on a `ret`.
    AllocRet,
    /// Entry of `operator new`.
    NewEnter,
    /// A `ret` of `operator new`.
    NewRet,
    /// Entry of a freeing function.
    FreeEnter,
    /// The dynamic linker's list of objects changed.
    ObjectsChanged,
    /// Entry of a mapping function.
    MappingEnter,
    /// Its return, by a return probe.
    MappingReturn,
    /// Its return, by a plain probe on a `ret`.
    MappingRet,
    /// Entry of a step of a V8 collection.
    GcStep,
    /// Entry of a V8 function that gives a size.
    MeasureEnter,
    /// Its return, by a return probe.
    MeasureReturn,
    /// Its return, by a plain probe on a `ret`.
    MeasureRet,
}

impl Program {
    /// All programs, as they are loaded.
    pub const ALL: [Self; 15] = [
        Self::AllocEnter,
        Self::AllocReturn,
        Self::AllocSession,
        Self::AllocRet,
        Self::NewEnter,
        Self::NewRet,
        Self::FreeEnter,
        Self::ObjectsChanged,
        Self::MappingEnter,
        Self::MappingReturn,
        Self::MappingRet,
        Self::GcStep,
        Self::MeasureEnter,
        Self::MeasureReturn,
        Self::MeasureRet,
    ];

    /// Does it see what a trace is about: calls of allocation functions, or V8's collections?
    pub const fn sees_calls(self) -> bool {
        matches!(self, Self::AllocEnter | Self::AllocSession | Self::NewEnter | Self::MeasureEnter)
    }

    /// Does it see blocks come or go?
    pub const fn sees_blocks(self) -> bool {
        matches!(
            self,
            Self::AllocEnter
                | Self::AllocReturn
                | Self::AllocSession
                | Self::AllocRet
                | Self::NewEnter
                | Self::NewRet
                | Self::FreeEnter
        )
    }

    /// Is it about mappings, which are traced on request?
    pub const fn is_mapping(self) -> bool {
        matches!(self, Self::MappingEnter | Self::MappingReturn | Self::MappingRet)
    }

    /// Does it run at the return of a function, by the kernel's return probe?
    pub const fn is_return_probe(self) -> bool {
        matches!(self, Self::AllocReturn | Self::MappingReturn | Self::MeasureReturn)
    }

    /// Is it about V8's heap? Such programs are loaded once a process has one.
    pub const fn is_v8(self) -> bool {
        matches!(self, Self::GcStep | Self::MeasureEnter | Self::MeasureReturn | Self::MeasureRet)
    }

    /// Name of the program in the BPF object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllocEnter => "alloc_enter",
            Self::AllocReturn => "alloc_return",
            Self::AllocSession => "alloc_session",
            Self::AllocRet => "alloc_ret",
            Self::NewEnter => "new_enter",
            Self::NewRet => "new_ret",
            Self::FreeEnter => "free_enter",
            Self::ObjectsChanged => "objects_changed",
            Self::MappingEnter => "mapping_enter",
            Self::MappingReturn => "mapping_return",
            Self::MappingRet => "mapping_ret",
            Self::GcStep => "gc_step",
            Self::MeasureEnter => "measure_enter",
            Self::MeasureReturn => "measure_return",
            Self::MeasureRet => "measure_ret",
        }
    }
}

/// An instruction of a file, in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachPoint {
    /// What runs there.
    pub program: Program,
    /// A path by which the kernel finds the file (in /proc, as the target's own names mean nothing to us).
    pub path: PathBuf,
    /// Offset of the instruction in the file.
    pub file_offset: u64,
    /// What the program is told; see [`leaktrace_common::Cookie`].
    pub cookie: u64,
    /// The process; its threads and whoever shares its memory belong to it.
    pub pid: NonZeroU32,
}

impl AttachPoint {
    /// May both be held by one link: the same program, in the same file and process?
    pub fn is_like(&self, other: &Self) -> bool {
        (self.program, &self.path, self.pid) == (other.program, &other.path, other.pid)
    }
}

/// Holds probes in place until it is dropped.
pub trait Link: Send {}

/// Why a probe could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// By a perf link.
    #[error(transparent)]
    Perf(#[from] ProgramError),
    /// The kernel does not take a program.
    #[error("{0}: {1}")]
    Load(&'static str, #[source] ProgramError),
    /// By a link of many probes.
    #[error(transparent)]
    Multi(#[from] io::Error),
    /// The BPF object is not what it should be.
    #[error("the BPF object cannot be used for uprobe_multi links: {0}")]
    Object(String),
}

impl From<io::ErrorKind> for LinkError {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Multi(kind.into())
    }
}

/// Puts probes in place.
pub trait Linker {
    /// The kind of kernel link, as the output names it.
    fn kind(&self) -> &'static str;

    /// Whether one link sees a call and its return.
    fn has_sessions(&self) -> bool {
        false
    }

    /// Loads a program, whose probes may then be put in place.
    fn load(&mut self, ebpf: &mut Ebpf, program: Program) -> Result<(), LinkError>;

    /// How often and how long programs have run so far, where that is known.
    fn runs(&self) -> Runs {
        Runs::default()
    }

    /// Puts probes in place that are [alike](AttachPoint::is_like): all of them, or none.
    fn attach(&self, ebpf: &mut Ebpf, points: &[AttachPoint]) -> Result<Vec<Box<dyn Link>>, LinkError>;
}

/// aya's links: one perf event a probe. They work on every kernel that we support.
#[derive(Debug, Default)]
pub struct PerfLinks;

struct PerfLink {
    _link: aya::programs::uprobe::UProbeLink,
}

impl Link for PerfLink {}

impl Linker for PerfLinks {
    fn kind(&self) -> &'static str {
        "perf"
    }

    fn load(&mut self, ebpf: &mut Ebpf, program: Program) -> Result<(), LinkError> {
        uprobe(ebpf, program)?.load().map_err(|error| LinkError::Load(program.name(), error))
    }

    fn attach(&self, ebpf: &mut Ebpf, points: &[AttachPoint]) -> Result<Vec<Box<dyn Link>>, LinkError> {
        points.iter().map(|point| perf_link(ebpf, point)).collect()
    }
}

fn uprobe(ebpf: &mut Ebpf, program: Program) -> Result<&mut UProbe, ProgramError> {
    ebpf.program_mut(program.name()).ok_or(ProgramError::NotLoaded)?.try_into()
}

fn perf_link(ebpf: &mut Ebpf, point: &AttachPoint) -> Result<Box<dyn Link>, LinkError> {
    let program = uprobe(ebpf, point.program)?;
    let at = UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(point.file_offset),
        cookie: Some(point.cookie),
    };
    let id = program.attach(at, &point.path, UProbeScope::OneProcess(point.pid))?;
    let link = program.take_link(id)?;
    Ok(Box::new(PerfLink { _link: link }))
}
