//! The live blocks as a file (`--dump-live`), and files that only their owner can read.

use std::fs::File;
use std::io::{self, BufWriter};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use super::ndjson::NdjsonWriter;
use super::record::SiteKind;
use super::sink::SinkError;
use crate::error::{ExitCode, Failure};

/// One live block.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveBlock {
    /// Where it is.
    pub address: u64,
    /// Requested bytes.
    pub size: u64,
    /// Id of the call site that allocated it.
    pub site: u32,
    /// A block of the heap, or memory that was mapped directly.
    pub kind: SiteKind,
    /// Seconds since it was allocated.
    pub age_s: f64,
    /// Process that it lives in.
    pub pid: u32,
}

/// A [`LiveBlock`] as it is written.
#[derive(Serialize)]
struct Line<'a> {
    address: &'a str,
    size: u64,
    site: u32,
    kind: SiteKind,
    age_s: f64,
    pid: u32,
}

/// Writes every block, one JSON object a line, into a file that only its owner can read; returns how many.
pub fn write_live_blocks(path: &Path, blocks: impl IntoIterator<Item = LiveBlock>) -> Result<u64, Failure> {
    let file = create_private(path)?;
    let failed = |error: SinkError| {
        let message = format!("could not write {}: its reader went away", path.display());
        error.into_failure().unwrap_or_else(|| Failure::new(ExitCode::OutputFailed, message))
    };
    let mut writer = NdjsonWriter::new(BufWriter::new(file), path.display().to_string());
    let mut count = 0;
    for block in blocks {
        let address = format!("{:#x}", block.address);
        let LiveBlock { size, site, kind, age_s, pid, .. } = block;
        writer.line(&Line { address: &address, size, site, kind, age_s, pid }).map_err(failed)?;
        count += 1;
    }
    writer.flush().map_err(failed)?;
    Ok(count)
}

/// Creates or empties a regular file that only its owner (who runs leaktrace) can read and write.
///
/// leaktrace runs as root, perhaps in a directory where others write: a symbolic link, a device, a pipe or another user's
/// file at `path` is refused, so that nobody can turn the output into a weapon or be handed its contents.
pub fn create_private(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| {
        let message = match rustix::io::Errno::from_io_error(&error) {
            Some(rustix::io::Errno::LOOP) => {
                format!("refused to write {}: it is a symbolic link; name its target instead", path.display())
            }
            _ => format!("could not create {}: {error}; choose another path", path.display()),
        };
        Failure::new(ExitCode::OutputFailed, message)
    };
    // NONBLOCK: opening a pipe must not wait for its reader. No TRUNC: first see what it is.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file =
        rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
    let file = File::from(file);
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        let message =
            format!("refused to write {}: it is no regular file; choose another path", path.display());
        return Err(Failure::new(ExitCode::OutputFailed, message));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        let message =
            format!("refused to write {}: it belongs to another user; remove it first", path.display());
        return Err(Failure::new(ExitCode::OutputFailed, message));
    }
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR).map_err(|errno| failed(errno.into()))?;
    file.set_len(0).map_err(failed)?;
    Ok(file)
}

/// Creates a regular file that only its owner (who runs leaktrace) can read and write, where nothing was before.
pub fn create_new_private(path: &Path) -> Result<File, Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map(File::from).map_err(|errno| {
        let message = match errno {
            rustix::io::Errno::EXIST => {
                format!("refused to write {}: it exists; remove it or choose another path", path.display())
            }
            _ => format!("could not create {}: {errno}; choose another path", path.display()),
        };
        Failure::new(ExitCode::OutputFailed, message)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::{LiveBlock, SiteKind, create_private, write_live_blocks};
    use crate::error::ExitCode;

    #[test]
    fn blocks_become_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("live.ndjson");
        fs::write(&path, "what was there before, and longer than what comes now").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let kind = SiteKind::Heap;
        let block = |address| LiveBlock { address, size: 24, site: 3, kind, age_s: 1.5, pid: 42 };
        assert_eq!(write_live_blocks(&path, [block(0x7f00_dead_beef), block(16)]).unwrap(), 2);
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"address\":\"0x7f00deadbeef\",\"size\":24,\"site\":3,\"kind\":\"heap\",\"age_s\":1.5,\"pid\":42}\n\
             {\"address\":\"0x10\",\"size\":24,\"site\":3,\"kind\":\"heap\",\"age_s\":1.5,\"pid\":42}\n"
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_devices_and_missing_directories_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        symlink(directory.path().join("elsewhere"), &link).unwrap();
        for path in [link.as_path(), Path::new("/dev/null"), &directory.path().join("no/such/file")] {
            let failure = create_private(path).unwrap_err();
            assert_eq!(failure.code, ExitCode::OutputFailed);
            assert!(failure.message.contains(&path.display().to_string()), "{failure}");
        }
        assert!(!directory.path().join("elsewhere").exists());
    }
}
