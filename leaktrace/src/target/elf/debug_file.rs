//! Finds the separate debug file of a stripped object: by build id, else by name and checksum.

use std::path::{Path, PathBuf};

use super::open::open_in_root;
use super::source::Source;
use super::{ElfError, Object};
use crate::target::maps::FileId;

/// The most bytes that are read for a checksum: a debug file of a large program, and no more.
const MAX_CHECKSUMMED: u64 = 2 << 30;

/// The `.gnu_debuglink` of an object: the name of its debug file, and the CRC-32 of that file's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// A file name without directory.
    pub name: String,
    /// CRC-32 (IEEE) of the whole debug file.
    pub crc: u32,
}

impl DebugLink {
    /// Reads the section: a name that ends in a zero byte, padding to four bytes, the checksum. None for names
    /// that could lead elsewhere than into the directories where debug files belong.
    pub(super) fn parse(section: &[u8]) -> Option<Self> {
        let end = section.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(section.get(..end)?).ok()?;
        let checksum = section.get((end + 1).next_multiple_of(4)..)?.first_chunk()?;
        let crc = u32::from_le_bytes(*checksum);
        let plain =
            !name.is_empty() && name.len() < 256 && !name.contains('/') && name != "." && name != "..";
        plain.then(|| Self { name: name.to_owned(), crc })
    }
}

impl Object {
    /// The debug file that belongs to this object: in the target's root directory, then in ours.
    pub(super) fn debug_file(&self) -> Option<Self> {
        if self.pid == 0 {
            return None;
        }
        self.debug_file_by_build_id().or_else(|| self.by_link())
    }

    /// The debug file with the object's build id, which is found without reading all of it.
    pub(super) fn debug_file_by_build_id(&self) -> Option<Self> {
        if self.pid == 0 {
            return None;
        }
        let id = self.build_id.as_deref()?;
        let (first, rest) = id.split_at_checked(2)?;
        let path = PathBuf::from(format!("/usr/lib/debug/.build-id/{first}/{rest}.debug"));
        self.candidates(&[path]).find(|debug| debug.build_id.as_deref() == Some(id))
    }

    fn by_link(&self) -> Option<Self> {
        let link = self.debug_link.as_ref()?;
        let directory = Path::new(&self.display_path).parent()?;
        let inside = directory.strip_prefix("/").ok()?;
        let paths = [
            directory.join(&link.name),
            directory.join(".debug").join(&link.name),
            Path::new("/usr/lib/debug").join(inside).join(&link.name),
        ];
        // The object's own name may be the link's: a file is not its own debug file.
        self.candidates(&paths)
            .filter(|debug| debug.identity.inode != self.identity.inode)
            .find(|debug| debug.source.crc32().is_ok_and(|crc| crc == link.crc))
    }

    fn candidates<'a>(&self, paths: &'a [PathBuf]) -> impl Iterator<Item = Self> + use<'a> {
        let roots = [self.pid, std::process::id()];
        let places = roots.into_iter().flat_map(move |root| paths.iter().map(move |path| (root, path)));
        places.filter_map(|(root, path)| Self::open_debug(root, path).ok())
    }

    fn open_debug(root: u32, path: &Path) -> Result<Self, ElfError> {
        use std::os::unix::fs::MetadataExt as _;
        let file = open_in_root(root, path)?;
        let identity = FileId { device: (0, 0), inode: file.metadata()?.ino() };
        Self::from_file(file, identity, path.to_string_lossy().into_owned(), 0)
    }
}

impl Source {
    fn crc32(&self) -> std::io::Result<u32> {
        if self.len()? > MAX_CHECKSUMMED {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut offset = 0;
        while offset < MAX_CHECKSUMMED {
            let block = self.read_up_to(offset, 1 << 20)?;
            if block.is_empty() {
                break;
            }
            hasher.update(&block);
            offset += block.len() as u64;
        }
        Ok(hasher.finalize())
    }
}
