//! `leaktrace heapwalk`: where the memory of a running process is, and its heap, read once.

mod advice;
mod ground;
pub(super) mod live;
mod reader;
mod roots;
mod told;

use std::io;
use std::time::Instant;

use self::advice::advice;
use self::ground::{Ground, Layouts, Libc};
use self::reader::Reader;
use self::roots::FoundBy;
use self::told::Walked;
use super::parts::{HeapPages, split};
use super::printer::Printer;
use crate::{
    cli::{GeneralOptions, HeapwalkOptions},
    error::{ExitCode, Failure},
    heap::walk::{HeapWalk, WalkedBlock, walk},
    output::{record::Record, walk_record::HeapWalkRecord, walk_text::heap_walk},
    target::{
        maps::Mapping,
        pages::{Area, Pages, areas},
        process::Process,
        resident::ResidentMemory,
    },
};

/// Columns of text that goes to no terminal.
const COLUMNS: u16 = 100;

/// Walks as the command line asks.
pub(super) fn run(options: &HeapwalkOptions, general: &GeneralOptions) -> Result<(), Failure> {
    let process = Process::open(options.pid)?;
    let maps = maps_of(&process)?;
    let ground = Ground::of(&process, &maps, Layouts::chosen(options.heap_walk_untested))?;
    let (record, _) = walk_process(&process, &maps, &ground, &mut |_| {})?;
    let mut printer = Printer::open(options.format, general, COLUMNS);
    printer.print(|look| heap_walk(&record, look), || vec![Record::HeapWalk(Box::new(record.clone()))])
}

fn maps_of(process: &Process) -> Result<Vec<Mapping>, Failure> {
    process.maps().map_err(|error| unreadable(process.pid, &error))
}

/// Reads it once; each block that is handed out or in a thread's cache is shown to `visit`. Which are in a cache comes with
/// the record.
fn walk_process(
    process: &Process,
    maps: &[Mapping],
    ground: &Ground,
    visit: &mut dyn FnMut(WalkedBlock),
) -> Result<(HeapWalkRecord, Option<HeapWalk>), Failure> {
    let begin = Instant::now();
    let areas = areas(process.pid).map_err(|error| unreadable(process.pid, &error))?;
    let mut record = HeapWalkRecord {
        pid: process.pid,
        comm: process.comm.clone(),
        allocator: ground.allocator.clone(),
        ..HeapWalkRecord::default()
    };
    let mut walked = None;
    if let Some(libc) = &ground.libc {
        let (heap, found_by) = walk_heap(process, maps, &areas, libc, visit)?;
        let figures = Walked { layout: libc.layout, found_by, heap: &heap }.figures();
        record.advice = advice(&figures);
        (record.heap, walked) = (Some(figures), Some(heap));
    }
    let heap = match &walked {
        Some(walk) => HeapPages::Walked { mapped_resident_bytes: walk.mapped.resident_bytes },
        None => HeapPages::Unknown,
    };
    let live = record.heap.as_ref().map(|heap| heap.live_bytes);
    record.rss = split(&Pages::of(&areas), heap, ground.has_runtime, live);
    record.walk_ms = begin.elapsed().as_secs_f64() * 1000.0;
    Ok((record, walked))
}

fn walk_heap(
    process: &Process,
    maps: &[Mapping],
    areas: &[Area],
    libc: &Libc,
    visit: &mut dyn FnMut(WalkedBlock),
) -> Result<(HeapWalk, FoundBy), Failure> {
    let pid = process.pid;
    let memory = ResidentMemory::open(pid, areas).map_err(|error| unreadable(pid, &error))?;
    let mut reader = Reader(memory);
    let Some((roots, found_by)) = roots::find(libc, maps, &mut reader) else {
        let message = format!(
            "the allocator's variables of process {pid} were not found: it has not allocated yet, or install the debug \
             symbols of its C library ({})",
            libc.object.display_path
        );
        return Err(Failure::new(ExitCode::Unsupported, message));
    };
    let walked = walk(&mut reader, libc.layout, &roots, visit);
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

fn unreadable(pid: u32, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let message = format!("no permission to read the memory of process {pid}: run leaktrace by sudo");
            Failure::new(ExitCode::NoPermission, message)
        }
        _ => super::safety::gone(pid, error),
    }
}
