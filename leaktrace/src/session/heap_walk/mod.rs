//! `leaktrace heapwalk`: where the memory of a running process is, and its heap, read once.

mod advice;
pub(super) mod live;
mod reader;
mod roots;
mod rss;
mod told;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use self::advice::advice;
use self::reader::Reader;
use self::roots::FoundBy;
use self::told::Walked;
use crate::{
    cli::{Format, GeneralOptions, HeapwalkOptions, WalkOptions},
    error::{ExitCode, Failure},
    heap::walk::{HeapWalk, Layout, layout_of, walk},
    output::{
        ndjson::NdjsonWriter, record::Record, sink::SinkError, verdict_text::Look,
        walk_record::HeapWalkRecord, walk_text::heap_walk,
    },
    target::{
        allocator::{Allocator, AllocatorKind, DiscoverOptions, discover},
        glibc,
        maps::Mapping,
        pages::areas,
        process::Process,
        resident::ResidentMemory,
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
    const fn chosen(untested_too: bool) -> Self {
        if untested_too { Self::Known } else { Self::Tested }
    }

    /// For the walks of a trace, where it has any.
    pub(super) fn of(options: &WalkOptions) -> Option<Self> {
        options.heap_walk.then(|| Self::chosen(options.heap_walk_untested))
    }
}

/// Walks as the command line asks.
pub(super) fn run(options: &HeapwalkOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let process = Process::open(options.pid)?;
    let record = walk_process(&process, Layouts::chosen(options.heap_walk_untested))?;
    print(record, options.format, general).or_else(|error| error.into_failure().map_or(Ok(()), Err))
}

fn walk_process(process: &Process, layouts: Layouts) -> Result<HeapWalkRecord, Failure> {
    let unreadable = |error: io::Error| unreadable(process.pid, &error);
    let maps = process.maps().map_err(unreadable)?;
    let discovery = discover(process, &maps, &DiscoverOptions::default())?;
    let mut record =
        HeapWalkRecord { pid: process.pid, comm: process.comm.clone(), ..HeapWalkRecord::default() };
    let begin = Instant::now();
    let mut walked = None;
    match in_charge(&discovery.allocators) {
        Some(libc) if libc.kind == AllocatorKind::Glibc => {
            let layout = layout(process.pid, libc, layouts)?;
            let (heap, found_by) = walk_heap(process, &maps, libc, layout)?;
            let figures = Walked { layout, found_by, heap: &heap }.figures();
            record.advice = advice(&figures);
            (record.heap, walked) = (Some(figures), Some(heap));
            "glibc".clone_into(&mut record.allocator);
        }
        other => record.allocator = other.map_or_else(|| "unknown".to_owned(), |other| other.name.clone()),
    }
    let areas = areas(process.pid).map_err(unreadable)?;
    let heap = walked.as_ref().map_or(rss::Heap::Unknown, rss::Heap::Walked);
    record.rss = rss::split(&areas, heap, !discovery.runtimes.is_empty());
    record.walk_ms = begin.elapsed().as_secs_f64() * 1000.0;
    Ok(record)
}

fn walk_heap(
    process: &Process,
    maps: &[Mapping],
    libc: &Allocator,
    layout: &Layout,
) -> Result<(HeapWalk, FoundBy), Failure> {
    let pid = process.pid;
    let mut reader = Reader(ResidentMemory::open(pid).map_err(|error| unreadable(pid, &error))?);
    let Some((roots, found_by)) = roots::find(&libc.object, maps, layout, &mut reader) else {
        let message = format!(
            "the allocator's variables of process {pid} were not found: it has not allocated yet, or install the debug \
             symbols of its C library ({})",
            libc.object.display_path
        );
        return Err(Failure::new(ExitCode::Unsupported, message));
    };
    let walked = walk(&mut reader, layout, &roots, &mut |_| {});
    if !process.is_alive() || !reader.0.is_same_program(roots.main_arena) {
        let message = format!("process {pid} ended, or ran another program, while its heap was read");
        return Err(Failure::new(ExitCode::NoSuchProcess, message));
    }
    let heap = walked.map_err(|error| {
        let message =
            format!("the heap of process {pid} cannot be read: {error}; it may be damaged, or swapped out");
        Failure::new(ExitCode::Unsupported, message)
    })?;
    Ok((heap, found_by))
}

/// The allocator that the program's malloc is of. One that defines malloc itself stands before the C library's; one that
/// has other names is used beside it.
fn in_charge(allocators: &[Allocator]) -> Option<&Allocator> {
    let is_other = |allocator: &&Allocator| {
        let mut functions = allocator.functions.iter();
        let is_malloc = |name: &String| name == "malloc";
        allocator.kind != AllocatorKind::Glibc
            && functions.any(|function| is_malloc(&function.symbol) || function.aliases.iter().any(is_malloc))
    };
    let libc = || allocators.iter().find(|allocator| allocator.kind == AllocatorKind::Glibc);
    allocators.iter().find(is_other).or_else(libc).or(allocators.first())
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

fn unreadable(pid: u32, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let message = format!("no permission to read the memory of process {pid}: run leaktrace by sudo");
            Failure::new(ExitCode::NoPermission, message)
        }
        _ => super::safety::gone(pid, error),
    }
}

fn print(record: HeapWalkRecord, format: Format, general: &GeneralOptions) -> Result<(), SinkError> {
    let is_terminal = io::stdout().is_terminal();
    if format == Format::Ndjson || format == Format::Auto && !is_terminal {
        return NdjsonWriter::new(io::stdout(), "standard output").write(&Record::HeapWalk(Box::new(record)));
    }
    let colour = is_terminal && general.colour(std::env::var_os("NO_COLOR").as_deref());
    let columns = if is_terminal { crossterm::terminal::size().map_or(100, |size| size.0) } else { 100 };
    let text = heap_walk(&record, Look { columns, colour });
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| SinkError::from_io("standard output", error))
}
