//! Builds the BPF object, and checks that the committed one is what its sources give.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::privilege::Root;
use crate::workspace;

mod provenance;
mod toolchain;

pub(crate) use toolchain::install as install_toolchain;
use toolchain::{TARGET, Toolchain};

/// What a check found, where it found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// The toolchain of the committed object gives the same bytes.
    Identical,
    /// Another toolchain gives other bytes, which passed the exactness test.
    Equivalent {
        /// What the toolchains differ in.
        difference: String,
    },
    /// The committed object belongs to its sources, but it could not be built again.
    NotRebuilt {
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for Checked {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identical => write!(out, "the BPF object is bit-identical to a new build"),
            Self::Equivalent { difference } => {
                write!(
                    out,
                    "another toolchain gives another object, which passes the exactness test: {difference}"
                )
            }
            Self::NotRebuilt { reason } => {
                write!(out, "the BPF object fits its sources, but was not built again: {reason}")
            }
        }
    }
}

/// Builds the object and writes it and its record into the workspace.
pub(crate) fn build() -> Result<()> {
    let root = workspace::root();
    let toolchain = Toolchain::find()?;
    let object = compile(&toolchain, &root)?;
    let path = root.join(provenance::OBJECT);
    let directory = path.parent().context("the object has no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let before = fs::read(&path).ok();
    fs::write(&path, &object).with_context(|| format!("cannot write {}", path.display()))?;
    let record = provenance::Provenance {
        source_sha256: provenance::source_digest(&root)?,
        object_sha256: provenance::sha256(&object),
        toolchain: toolchain.versions()?,
    };
    provenance::write(&root, &record)?;
    let changed = if before.is_some_and(|before| before == object) { "unchanged" } else { "changed" };
    println!("{}: {} bytes, {changed}, sha256 {}", provenance::OBJECT, object.len(), record.object_sha256);
    Ok(())
}

/// Builds the object again and compares it with the committed one.
pub(crate) fn check() -> Result<Checked> {
    let root = workspace::root();
    let record = provenance::read(&root)?;
    if record.source_sha256 != provenance::source_digest(&root)? {
        bail!("the BPF object is stale: run cargo xtask bpf build");
    }
    let path = root.join(provenance::OBJECT);
    let committed = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if record.object_sha256 != provenance::sha256(&committed) {
        bail!(
            "{} is not the object that its record describes: run cargo xtask bpf build",
            provenance::OBJECT
        );
    }
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(missing) => return Ok(Checked::NotRebuilt { reason: missing.to_string() }),
    };
    let object = compile(&toolchain, &root)?;
    if object == committed {
        return Ok(Checked::Identical);
    }
    let versions = toolchain.versions()?;
    if versions == record.toolchain {
        bail!(
            "the toolchain that PROVENANCE.toml names gives another object (sha256 {}): run cargo xtask bpf build",
            provenance::sha256(&object)
        );
    }
    let difference = format!("recorded {:?}, here {versions:?}", record.toolchain);
    test_exactness(&object)?;
    Ok(Checked::Equivalent { difference })
}

/// Compiles, links and strips the BPF programs, and returns the object.
fn compile(toolchain: &Toolchain, root: &Path) -> Result<Vec<u8>> {
    let target_directory = workspace::target_directory().join("bpf");
    toolchain
        .cargo()
        .dir(root)
        .args(["build", "--release", "--locked", "--package", "leaktrace-ebpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_directory)
        // BTF is made from full debug information; one unit and LTO so that nothing depends on how work was split.
        .args(["--config", "profile.release.debug=2", "--config", "profile.release.opt-level=3"])
        .args(["--config", "profile.release.codegen-units=1", "--config", "profile.release.lto=true"])
        .args(["--config", "profile.release.panic=\"abort\""])
        .args(toolchain.core_arguments())
        // An incremental build divides the code otherwise, and gives other bytes.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain.linker(), root)?.join("\x1f"))
        .run()?;
    let built = target_directory.join(TARGET).join("release/leaktrace-ebpf");
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let object = scratch.path().join("leaktrace.bpf.o");
    fs::copy(&built, &object).with_context(|| format!("cannot copy {}", built.display()))?;
    toolchain.strip(&object)?;
    fs::read(&object).with_context(|| format!("cannot read {}", object.display()))
}

/// rustc's flags: the linker, BTF, and no path of this machine in the object, so that every directory gives the
/// same bytes. Of several remappings that match, rustc takes the last.
fn flags(linker: &Path, root: &Path) -> Result<Vec<String>> {
    let mut flags = vec![format!("-Clinker={}", linker.display()), "-Clink-arg=--btf".to_owned()];
    let mut remap =
        |from: &Path, to: &str| flags.push(format!("--remap-path-prefix={}={to}", from.display()));
    if let Some(home) = env::var_os("HOME") {
        remap(Path::new(&home), "/home");
    }
    for registry in registries()? {
        remap(&registry, "/cargo");
    }
    remap(root, "/leaktrace");
    Ok(flags)
}

/// The directories that hold the sources of dependencies; their names differ from mirror to mirror.
fn registries() -> Result<Vec<PathBuf>> {
    let Some(sources) = toolchain::cargo_home().map(|home| home.join("registry/src")) else {
        return Ok(Vec::new());
    };
    if !sources.is_dir() {
        // Nothing was downloaded yet; fetch first, or the remapping would miss what the build downloads.
        workspace::cargo().args(["fetch", "--locked"]).run()?;
    }
    let Ok(entries) = fs::read_dir(&sources) else { return Ok(Vec::new()) };
    let mut directories = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .with_context(|| format!("cannot list {}", sources.display()))?;
    directories.sort();
    Ok(directories)
}

/// Runs the exactness test with `object` in the place of the embedded one.
fn test_exactness(object: &[u8]) -> Result<()> {
    let root = Root::find();
    if !root.unattended() {
        bail!("the object of this toolchain differs, and testing it needs root: run this as root");
    }
    let scratch = tempfile::tempdir().context("cannot make a temporary directory")?;
    let path = scratch.path().join("leaktrace.bpf.o");
    fs::write(&path, object).with_context(|| format!("cannot write {}", path.display()))?;
    let tests = workspace::build_tests()?;
    for program in tests.privileged() {
        tests.as_root(root, program).arg("exact").env("LEAKTRACE_BPF_OBJECT", &path).run()?;
    }
    Ok(())
}
