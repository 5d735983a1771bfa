//! Opens files of the target: the mapped file itself, or a path inside the target's root directory.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::source::Source;
use super::{ElfError, Object};
use crate::target::maps::{FileId, MappedPath, Mapping};

impl Object {
    /// Opens the file behind a mapping: through `map_files`, which always leads to the mapped file itself
    /// (deleted, replaced or of another mount namespace), or else by its path in the target's root directory.
    pub fn open(pid: u32, mapping: &Mapping) -> Result<Self, ElfError> {
        let MappedPath::File(path) = &mapping.path else { return Err(ElfError::NotRegular) };
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end);
        let file = match open_regular(Path::new(&link)) {
            Ok(file) => file,
            // map_files wants CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE; the path does not.
            Err(_) if !mapping.deleted => {
                let file = open_in_root(pid, path)?;
                // Only the inode number is compared: btrfs and overlayfs show another device in maps than in stat.
                if file.metadata()?.ino() != mapping.inode {
                    return Err(ElfError::Replaced);
                }
                file
            }
            Err(error) => return Err(error),
        };
        let identity = FileId { device: mapping.device, inode: mapping.inode };
        Self::from_file(file, identity, path.to_string_lossy().into_owned(), pid)
    }

    /// Opens a file by its path in the target's root directory, mapped or not.
    pub fn open_path_of(pid: u32, path: &Path) -> Result<Self, ElfError> {
        let file = open_in_root(pid, path)?;
        let meta = file.metadata()?;
        let device = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
        let identity = FileId { device, inode: meta.ino() };
        Self::from_file(file, identity, path.to_string_lossy().into_owned(), pid)
    }

    /// Reads an open file, whoever it belongs to; no debug file is looked for beside it.
    pub(crate) fn of_file(file: File) -> Result<Self, ElfError> {
        Self::from_file(file, FileId::default(), String::from("(open file)"), 0)
    }

    pub(super) fn from_file(
        file: File,
        identity: FileId,
        display_path: String,
        pid: u32,
    ) -> Result<Self, ElfError> {
        let open_path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Self::parse(Source::File(file), identity, open_path, display_path, pid)
    }
}

/// Opens `path` if it is a regular file. Asks before it opens: opening a device can have effects.
fn open_regular(path: &Path) -> Result<File, ElfError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(ElfError::NotRegular);
    }
    checked(rustix::fs::open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()))
}

/// Opens `path` as the target would: symbolic links, absolute ones too, stay inside its root directory.
pub(crate) fn open_in_root(pid: u32, path: &Path) -> Result<File, ElfError> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{pid}/root"), directory, Mode::empty())
        .map_err(std::io::Error::from)?;
    let in_root = |flags| {
        rustix::fs::openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
            .map_err(std::io::Error::from)
    };
    // O_PATH opens nothing yet, so that a device is recognised before it is touched.
    let place = File::from(in_root(OFlags::PATH)?);
    if !place.metadata()?.is_file() {
        return Err(ElfError::NotRegular);
    }
    let reopened = format!("/proc/self/fd/{}", place.as_raw_fd());
    checked(rustix::fs::openat(CWD, reopened, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))
}

fn checked(opened: rustix::io::Result<rustix::fd::OwnedFd>) -> Result<File, ElfError> {
    let file = File::from(opened.map_err(std::io::Error::from)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(ElfError::NotRegular) }
}
