//! Which allocators the target uses: every object with code is asked for the functions it defines.

mod judge;
mod scan;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::elf::{ElfError, Object, ObjectKind};
use super::maps::{FileId, MappedPath, Mapping};
use super::process::Process;
use super::runtime::{self, Runtime};
use super::v8::{self, V8};
use crate::error::{ExitCode, Failure};
pub use judge::calls_any;
pub(crate) use scan::Scan;
pub use table::{FUNCTIONS, Family, FunctionSpec};

/// The most objects of one process that are looked at; programs with a thousand plug-ins exist.
const MAX_OBJECTS: usize = 4096;
/// So many objects that could not be read are named.
const MAX_UNREADABLE_NOTICES: usize = 5;

/// A known allocator, or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllocatorKind {
    /// The GNU C library's malloc.
    Glibc,
    /// musl's malloc.
    Musl,
    /// jemalloc, under any prefix.
    Jemalloc,
    /// gperftools' or Google's tcmalloc.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// Anything else that defines malloc and free.
    Other,
}

impl AllocatorKind {
    /// The name, as users know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Glibc => "glibc",
            Self::Musl => "musl",
            Self::Jemalloc => "jemalloc",
            Self::Tcmalloc => "tcmalloc",
            Self::Mimalloc => "mimalloc",
            Self::Other => "unknown allocator",
        }
    }
}

/// A function to probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFunction {
    /// Its number: index into [`FUNCTIONS`].
    pub function: u8,
    /// Its name in the object, with prefix.
    pub symbol: String,
    /// Other names of the same address.
    pub aliases: Vec<String>,
    /// Its address, as the file names addresses.
    pub vaddr: u64,
    /// Its size in bytes; 0 if unknown.
    pub size: u64,
}

impl FoundFunction {
    /// What is known of it. Numbers come from the table, so there is always something.
    pub fn spec(&self) -> Option<&'static FunctionSpec> {
        table::function(self.function)
    }
}

/// An allocator within an object of the target.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// Which one.
    pub kind: AllocatorKind,
    /// Its name for people, with its prefix if it has one.
    pub name: String,
    /// The object that holds it.
    pub object: Arc<Object>,
    /// Its functions, one an address, ascending.
    pub functions: Vec<FoundFunction>,
    /// Why it was taken for one.
    pub why: String,
    /// It is part of a program without dynamic linker.
    pub is_static: bool,
}

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct DiscoverOptions {
    /// Take PREFIXmalloc, PREFIXfree and so on for an allocator.
    pub symbols_prefix: Option<String>,
    /// Take this file (a path in the target's root directory) for an allocator, mapped or not.
    pub object: Option<PathBuf>,
    /// Trace mmap, munmap, mremap and mprotect too.
    pub mappings: bool,
}

/// What was found in a target.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The allocators, the program's own first, then by address.
    pub allocators: Vec<Allocator>,
    /// The dynamic linker and the function by which it announces changes.
    pub linker: Option<(Arc<Object>, FoundFunction)>,
    /// Runtimes with a heap of their own.
    pub runtimes: Vec<Runtime>,
    /// V8, in each object that contains it.
    pub v8: Vec<V8>,
    /// What the user should know: objects that could not be read, functions that are not traced.
    pub notices: Vec<String>,
}

/// Looks for allocators in all code that `process` maps.
pub fn discover(
    process: &Process,
    maps: &[Mapping],
    options: &DiscoverOptions,
) -> Result<Discovery, Failure> {
    let (mut objects, notices) = open_all(process, maps);
    let mut forced = None;
    if let Some(path) = &options.object {
        forced = Some(named_object(process, path, &mut objects)?);
    }
    let mut discovery = examine(objects, options, forced);
    discovery.notices.splice(0..0, notices);
    if let (Some(path), Some(forced)) = (&options.object, forced)
        && !discovery.allocators.iter().any(|allocator| allocator.object.identity == forced)
    {
        let path = path.display();
        return Err(unsupported(format!(
            "{path} defines no allocation function: name its prefix by --symbols-prefix"
        )));
    }
    if let Some(prefix) = &options.symbols_prefix
        && !discovery
            .allocators
            .iter()
            .any(|found| found.functions.iter().any(|one| is_prefixed(one, prefix)))
    {
        let pid = process.pid;
        return Err(unsupported(format!(
            "no object of process {pid} defines {prefix}malloc and {prefix}free: check --symbols-prefix with nm"
        )));
    }
    // A runtime with a heap of its own is worth watching even where no function can be probed.
    if discovery.allocators.is_empty() && discovery.runtimes.is_empty() {
        let program = process.exe.as_deref().unwrap_or(Path::new(&process.comm)).display();
        return Err(unsupported(format!(
            "no allocation function found in {program} or its libraries: install the program's debug symbols, \
             or name its allocator by --symbols-prefix or --object"
        )));
    }
    Ok(discovery)
}

/// Looks for allocators in `objects`; `forced` is one that is taken for an allocator whatever it defines.
pub fn examine(objects: Vec<Object>, options: &DiscoverOptions, forced: Option<FileId>) -> Discovery {
    let mut discovery = Discovery::default();
    for object in objects {
        let scan = Scan::of(&object, options.symbols_prefix.as_deref());
        let is_forced = forced == Some(object.identity);
        let object = Arc::new(object);
        for judgement in judge::allocators(&object, &scan, options, is_forced) {
            discovery.notices.extend(judgement.notices);
            discovery.allocators.push(Allocator {
                kind: judgement.kind,
                name: judgement.name,
                object: Arc::clone(&object),
                functions: judgement.functions,
                why: judgement.why,
                is_static: object.is_static(),
            });
        }
        if v8::is_in(&scan) {
            discovery.v8.push(V8::find(&object));
        }
        if let Some(found) = runtime::recognise(&object, &scan)
            && !discovery.runtimes.contains(&found)
        {
            discovery.runtimes.push(found);
        }
        keep_linker(&mut discovery, object, &scan);
    }
    discovery
}

/// Keeps the dynamic linker; a file called `ld-…` is believed before any other that defines its function.
fn keep_linker(discovery: &mut Discovery, object: Arc<Object>, scan: &Scan) {
    let known = discovery.linker.as_ref().is_some_and(|(known, _)| known.file_name().starts_with("ld-"));
    if object.kind != ObjectKind::Shared || known {
        return;
    }
    if let Some(hit) = scan.hits.iter().find(|hit| hit.function == 0 && !hit.indirect)
        && object.file_offset(hit.vaddr).is_some()
        && (discovery.linker.is_none() || object.file_name().starts_with("ld-"))
    {
        let found = FoundFunction {
            function: hit.function,
            symbol: hit.symbol.clone(),
            aliases: Vec::new(),
            vaddr: hit.vaddr,
            size: hit.size,
        };
        discovery.linker = Some((object, found));
    }
}

/// Opens each file with an executable mapping once, the program itself first.
fn open_all(process: &Process, maps: &[Mapping]) -> (Vec<Object>, Vec<String>) {
    let is_program = |mapping: &&Mapping| matches!((&mapping.path, &process.exe), (MappedPath::File(path), Some(exe)) if path == exe);
    let mut seen = BTreeSet::new();
    let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
    let executable = || maps.iter().filter(|mapping| mapping.executable);
    let rest = executable().filter(|mapping| !is_program(mapping));
    for mapping in executable().filter(is_program).chain(rest) {
        let Some(identity) = mapping.file_id() else { continue };
        if seen.len() >= MAX_OBJECTS || !seen.insert(identity) {
            continue;
        }
        match Object::open(process.pid, mapping) {
            Ok(object) => objects.push(object),
            // Code caches and devices are mapped executable too, and are no objects.
            Err(ElfError::Malformed(_) | ElfError::NotRegular | ElfError::OtherMachine) => {}
            Err(error) => unreadable.push((mapping, error)),
        }
    }
    let notices =
        unreadable.iter().take(MAX_UNREADABLE_NOTICES).map(|(mapping, error)| match &mapping.path {
            MappedPath::File(path) => {
                format!("{} could not be read ({error}): it is not traced", path.display())
            }
            _ => format!("the mapping at {:#x} could not be read ({error}): it is not traced", mapping.start),
        });
    (objects, notices.collect())
}

/// The object at a path that the user named: one of those that are mapped, or else one more.
fn named_object(process: &Process, path: &Path, objects: &mut Vec<Object>) -> Result<FileId, Failure> {
    let named = Object::open_path_of(process.pid, path).map_err(|error| {
        let pid = process.pid;
        let message = format!(
            "--object {} cannot be used in the root directory of process {pid} ({error}): name a program or library there",
            path.display()
        );
        Failure::new(ExitCode::Usage, message)
    })?;
    // On btrfs and overlayfs the devices differ; the same inode number under the same name will do.
    let mapped = objects.iter().find(|object| {
        object.identity == named.identity
            || (object.identity.inode == named.identity.inode
                && Path::new(&object.display_path).file_name() == path.file_name())
    });
    if let Some(object) = mapped {
        return Ok(object.identity);
    }
    let identity = named.identity;
    objects.push(named);
    Ok(identity)
}

fn is_prefixed(found: &FoundFunction, prefix: &str) -> bool {
    std::iter::once(&found.symbol).chain(&found.aliases).any(|name| name.starts_with(prefix))
}

fn unsupported(message: String) -> Failure {
    Failure::new(ExitCode::Unsupported, message)
}

/// The allocator that the program's malloc is of. One that defines malloc itself stands before the C library's; one that
/// has other names is used beside it.
pub fn in_charge<'a>(allocators: &[&'a Allocator]) -> Option<&'a Allocator> {
    let all = || allocators.iter().copied();
    let is_other = |allocator: &&Allocator| {
        let mut functions = allocator.functions.iter();
        let is_malloc = |name: &String| name == "malloc";
        allocator.kind != AllocatorKind::Glibc
            && functions.any(|function| is_malloc(&function.symbol) || function.aliases.iter().any(is_malloc))
    };
    let libc = || all().find(|allocator| allocator.kind == AllocatorKind::Glibc);
    all().find(is_other).or_else(libc).or_else(|| all().next())
}
