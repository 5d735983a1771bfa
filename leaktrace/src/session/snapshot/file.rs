//! A file that has its name only once it is complete.

use std::{
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::{
    error::{ExitCode, Failure},
    output::dump::create_new_private,
};

/// A file under `NAME.partial`, which is removed unless it is kept.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    until_kept: PathBuf,
    file: File,
    is_kept: bool,
}

impl Partial {
    /// Creates it, for its owner alone. Neither name may be in use.
    pub(super) fn create(path: PathBuf) -> Result<Self, Failure> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        let mut partial: OsString = path.clone().into();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = create_new_private(&partial)?;
        Ok(Self { path, until_kept: partial, file, is_kept: false })
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name; it does not replace what has come there meanwhile.
    pub(super) fn keep(mut self) -> Result<PathBuf, Failure> {
        let failed = |error: std::io::Error| {
            let message = format!("could not complete {}: {error}; choose another path", self.path.display());
            Failure::new(ExitCode::OutputFailed, message)
        };
        self.file.sync_all().map_err(failed)?;
        let renamed = renameat_with(CWD, &self.until_kept, CWD, &self.path, RenameFlags::NOREPLACE);
        match renamed {
            // Some file systems cannot promise that; it was not there a moment ago.
            Err(rustix::io::Errno::INVAL) => std::fs::rename(&self.until_kept, &self.path).map_err(failed)?,
            Err(rustix::io::Errno::EXIST) => return Err(exists(&self.path)),
            other => other.map_err(|errno| failed(errno.into()))?,
        }
        self.is_kept = true;
        Ok(self.path.clone())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = std::fs::remove_file(&self.until_kept);
        }
    }
}

fn exists(path: &Path) -> Failure {
    let message = format!("refused to write {}: it exists; choose another path", path.display());
    Failure::new(ExitCode::OutputFailed, message)
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn what_is_complete_has_its_name_and_what_is_not_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.heapsnapshot");
        let partial = Partial::create(path.clone()).unwrap();
        partial.file().write_all(b"{}").unwrap();
        assert!(!path.exists() && directory.path().join("a.heapsnapshot.partial").exists());
        assert_eq!(partial.keep().unwrap(), path);
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(Partial::create(directory.path().join("b")).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let partial = Partial::create(path.clone()).unwrap();
        let busy = Partial::create(path.clone()).unwrap_err();
        assert_eq!(busy.code, ExitCode::OutputFailed);
        fs::write(&path, "somebody else's").unwrap();
        assert!(partial.keep().unwrap_err().message.contains("exists"));
        assert!(Partial::create(path.clone()).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
        std::os::unix::fs::symlink("/nonexistent", directory.path().join("link")).unwrap();
        assert!(Partial::create(directory.path().join("link")).is_err());
    }
}
