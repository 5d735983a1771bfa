//! Where the committed BPF object comes from, and whether it still belongs to its sources.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The record beside the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provenance {
    /// SHA-256 over the names and contents of the sources, see [`source_digest`].
    pub(crate) source_sha256: String,
    /// SHA-256 of the object.
    pub(crate) object_sha256: String,
    /// What compiled and linked it.
    pub(crate) toolchain: Versions,
}

/// The versions that decide the object's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Versions {
    /// First line of `rustc --version --verbose`.
    pub(crate) rustc: String,
    /// Version of the LLVM in rustc.
    pub(crate) llvm: String,
    /// What `bpf-linker --version` prints.
    pub(crate) bpf_linker: String,
    /// Version of the aya-ebpf crate.
    pub(crate) aya_ebpf: String,
    /// Where `core` came from: prebuilt by the distribution, or built from rust-src.
    pub(crate) core: String,
}

/// The object, relative to the root of the workspace.
pub(crate) const OBJECT: &str = "leaktrace/bpf/leaktrace.bpf.o";
/// The record, relative to the root of the workspace.
const RECORD: &str = "leaktrace/bpf/PROVENANCE.toml";
/// The packages whose sources make the object.
const PACKAGES: [&str; 2] = ["leaktrace-common", "leaktrace-ebpf"];

/// Reads the committed record.
pub(crate) fn read(root: &Path) -> Result<Provenance> {
    let path = root.join(RECORD);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// Writes the record.
pub(crate) fn write(root: &Path, provenance: &Provenance) -> Result<()> {
    let path = root.join(RECORD);
    let body = toml::to_string(provenance).context("cannot write the provenance as TOML")?;
    let text = format!(
        "# Written by `cargo xtask bpf build`; `cargo xtask bpf check` builds again and compares.\n{body}"
    );
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// SHA-256 of some bytes, in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 over Cargo.toml and src/** of the packages behind the object: for each file, in the order of the names,
/// its name relative to `root`, a zero byte, its length as 8 bytes, and its contents.
pub(crate) fn source_digest(root: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for name in source_files(root)? {
        let path = root.join(&name);
        let contents = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        digest.update(name.as_os_str().as_encoded_bytes());
        digest.update([0]);
        digest.update((contents.len() as u64).to_le_bytes());
        digest.update(&contents);
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// The sources behind the object, relative to `root`, sorted.
fn source_files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for package in PACKAGES {
        files.push(Path::new(package).join("Cargo.toml"));
        let mut directories = vec![Path::new(package).join("src")];
        while let Some(directory) = directories.pop() {
            let path = root.join(&directory);
            let entries = fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))?;
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot list {}", path.display()))?;
                let name = directory.join(entry.file_name());
                if entry.path().is_dir() { directories.push(name) } else { files.push(name) }
            }
        }
    }
    files.sort();
    Ok(files)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    const STALE: &str = "the BPF object is stale: run cargo xtask bpf build";

    #[test]
    fn the_committed_object_belongs_to_the_committed_sources() {
        let root = workspace::root();
        let provenance = read(&root).expect(STALE);
        assert_eq!(provenance.source_sha256, source_digest(&root).expect("readable sources"), "{STALE}");
        let object = fs::read(root.join(OBJECT)).expect(STALE);
        assert_eq!(provenance.object_sha256, sha256(&object), "{STALE}");
    }

    #[test]
    fn the_digest_depends_on_names_and_contents_only() {
        let digest_of = |files: &[(&str, &str)]| {
            let directory = tempfile::tempdir().unwrap();
            for (name, contents) in files {
                let path = directory.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, contents).unwrap();
            }
            source_digest(directory.path()).unwrap()
        };
        let base = [
            ("leaktrace-common/Cargo.toml", "c"),
            ("leaktrace-common/src/lib.rs", "l"),
            ("leaktrace-ebpf/Cargo.toml", "e"),
            ("leaktrace-ebpf/src/main.rs", "m"),
        ];
        let same = digest_of(&base);
        assert_eq!(same, digest_of(&base));
        let with = |index: usize, file| {
            let mut files = base.to_vec();
            files[index] = file;
            digest_of(&files)
        };
        assert_ne!(same, with(3, ("leaktrace-ebpf/src/main.rs", "changed")));
        assert_ne!(same, with(1, ("leaktrace-common/src/deep/renamed.rs", "l")));
    }

    #[test]
    fn the_record_survives_writing_and_reading() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("leaktrace/bpf")).unwrap();
        let provenance = Provenance {
            source_sha256: sha256(b"sources"),
            object_sha256: sha256(b""),
            toolchain: Versions {
                rustc: "rustc 1.96.0".into(),
                llvm: "22.1.8".into(),
                bpf_linker: "bpf-linker 0.13.0".into(),
                aya_ebpf: "0.2.1".into(),
                core: "prebuilt".into(),
            },
        };
        write(directory.path(), &provenance).unwrap();
        assert_eq!(read(directory.path()).unwrap(), provenance);
        assert_eq!(
            provenance.object_sha256,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
