//! One open file that a target maps, held so that it can be read after the target or its path is gone.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::packed::PackedNames;
use crate::panics::catch;
use crate::target::maps::Mapping;

/// Files held open over all processes: descriptors are scarce, the usual soft limit is 1024. Frames in further modules
/// have no function names.
pub(super) const HELD_LIMIT: usize = 384;

/// A mapped file, held open.
#[derive(Debug)]
pub(super) struct Module {
    file: File,
    /// Whether its debug information can be read; cleared on the first failure.
    pub(super) lines: Cell<bool>,
    /// Whether its symbols can be read; cleared when reading them panics.
    pub(super) readable: Cell<bool>,
    /// Names that the file carries packed; unpacked when they are first asked for.
    packed: OnceCell<Option<PackedNames>>,
}

impl Module {
    pub(super) fn hold(file: File) -> Self {
        Self { file, lines: Cell::new(true), readable: Cell::new(true), packed: OnceCell::new() }
    }

    /// Names that the file carries packed, if it does.
    pub(super) fn packed(&self) -> Option<&PackedNames> {
        let unpack = || catch(|| PackedNames::of(&self.file)).flatten();
        self.packed.get_or_init(unpack).as_ref()
    }

    /// A path that opens this very file for as long as the module lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
}

/// All held modules by device and inode: processes of one image share them.
#[derive(Debug, Default)]
pub(super) struct Modules {
    held: HashMap<(u64, u64), Weak<Module>>,
}

impl Modules {
    /// The module behind a file mapping; none when it cannot be opened or too many are held.
    pub(super) fn open(&mut self, pid: u32, mapping: &Mapping, path: &Path) -> Option<Rc<Module>> {
        let file = open_mapped(pid, mapping).or_else(|_| open_by_name(pid, path, mapping.inode)).ok()?;
        let metadata = file.metadata().ok()?;
        let key = (metadata.dev(), metadata.ino());
        if let Some(module) = self.held.get(&key).and_then(Weak::upgrade) {
            return Some(module);
        }
        self.held.retain(|_, module| module.strong_count() > 0);
        if self.held.len() >= HELD_LIMIT {
            return None;
        }
        let module = Rc::new(Module::hold(file));
        self.held.insert(key, Rc::downgrade(&module));
        Some(module)
    }
}

/// Opens the mapped inode itself: right in any mount namespace, and for deleted files. Needs CAP_SYS_ADMIN or
/// CAP_CHECKPOINT_RESTORE.
fn open_mapped(pid: u32, mapping: &Mapping) -> io::Result<File> {
    let path = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
    // Asked before opening: opening a device that the target maps would have effects.
    if !std::fs::metadata(&path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    regular(file)
}

/// Opens the path inside the target's root (containers) or ours (the kernel prints paths of a plain chroot that way),
/// and refuses another file than the mapped one: a replaced file would give wrong names, which is worse than none.
pub(super) fn open_by_name(pid: u32, path: &Path, inode: u64) -> io::Result<File> {
    let mapped = |file: File| {
        if file.metadata()?.ino() == inode { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    };
    open_in_root(pid, path)
        .and_then(mapped)
        .or_else(|_| open_in_root(std::process::id(), path).and_then(mapped))
}

/// Opens a regular file below the target's root. Links are resolved by the kernel inside that root: the target cannot
/// lead us to a file of ours.
pub(super) fn open_in_root(pid: u32, path: &Path) -> io::Result<File> {
    let root = rustix::fs::open(format!("/proc/{pid}/root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // A path-only descriptor first: opening a FIFO or device of the target would have effects.
    let found = rustix::fs::openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    if !rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode).is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    regular(rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?)
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}
