//! Finds a compiler that makes BPF objects, or installs one.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::provenance::Versions;
use crate::command::{Cmd, find_program};
use crate::packages;
use crate::workspace;

/// The BPF target of machines that store the low byte first.
pub(super) const TARGET: &str = "bpfel-unknown-none";
/// The linker's version: part of what decides the object's bytes.
const LINKER_VERSION: &str = "0.13.0";
/// Where Debian installs the LLVM that its rustc-web is built with.
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// Debian's compiler, its BPF `core`, and what the linker is built from.
const DEBIAN_PACKAGES: [&str; 8] = [
    "rustc-web",
    "cargo-web",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
    "libxml2-dev",
];

/// Where rustc and `core` come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The distribution's rustc, with a prebuilt `core` for BPF.
    Distribution,
    /// rustup's nightly, which builds `core` from rust-src.
    Nightly,
}

/// A complete toolchain.
#[derive(Debug)]
pub(super) struct Toolchain {
    kind: Kind,
    linker: PathBuf,
    strip: PathBuf,
}

impl Toolchain {
    /// Finds a complete toolchain, or says in one sentence what is missing.
    pub(super) fn find() -> Result<Self> {
        let kind = if has_distribution_core() {
            Kind::Distribution
        } else if has_nightly_source() {
            Kind::Nightly
        } else {
            bail!(
                "no compiler for BPF here: `cargo xtask bpf toolchain` installs Debian's rustc-web and \
                 libstd-rust-web-dev-bpf where apt has them; elsewhere `rustup toolchain install nightly --component rust-src`"
            );
        };
        let linker = find_linker().with_context(|| {
            format!(
                "bpf-linker is missing: `cargo install bpf-linker --version {LINKER_VERSION}` (it needs the LLVM that rustc has)"
            )
        })?;
        let strip = find_strip(kind).context("llvm-strip is missing: install the package llvm-22 or llvm")?;
        Ok(Self { kind, linker, strip })
    }

    /// The toolchain's cargo, in an environment without the marks of another toolchain.
    pub(super) fn cargo(&self) -> Cmd {
        let cargo = match self.kind {
            Kind::Distribution => Cmd::new("/usr/bin/cargo").env("RUSTC", "/usr/bin/rustc"),
            Kind::Nightly => Cmd::new("cargo").arg("+nightly").without_env("RUSTC"),
        };
        // `cargo run` of another toolchain, under which we run, sets these.
        cargo
            .env("RUSTC_BOOTSTRAP", "1")
            .without_env("CARGO")
            .without_env("CARGO_BUILD_TARGET")
            .without_env("LD_LIBRARY_PATH")
            .without_env("RUSTC_WRAPPER")
            .without_env("RUSTC_WORKSPACE_WRAPPER")
            .without_env("RUSTDOC")
            .without_env("RUSTUP_TOOLCHAIN")
    }

    /// Arguments that make `core` where there is no prebuilt one.
    pub(super) fn core_arguments(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Distribution => &[],
            Kind::Nightly => &["-Z", "build-std=core"],
        }
    }

    /// The linker for BPF.
    pub(super) fn linker(&self) -> &Path {
        &self.linker
    }

    /// Takes the DWARF out of `object` and leaves BTF and BTF.ext, which the kernel reads.
    pub(super) fn strip(&self, object: &Path) -> Result<()> {
        Cmd::new(&self.strip).arg("--strip-debug").arg(object).run()
    }

    /// The versions that decide the object's bytes.
    pub(super) fn versions(&self) -> Result<Versions> {
        let rustc = match self.kind {
            Kind::Distribution => Cmd::new("/usr/bin/rustc"),
            Kind::Nightly => Cmd::new("rustc").arg("+nightly"),
        };
        let rustc = rustc.without_env("LD_LIBRARY_PATH").without_env("RUSTUP_TOOLCHAIN").arg("-vV").read()?;
        let llvm = rustc.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("unknown");
        let lock =
            fs::read_to_string(workspace::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
        let core = match self.kind {
            Kind::Distribution => "prebuilt by the distribution",
            Kind::Nightly => "built from rust-src",
        };
        Ok(Versions {
            rustc: rustc.lines().next().unwrap_or("unknown").to_owned(),
            llvm: llvm.to_owned(),
            bpf_linker: Cmd::new(&self.linker).arg("--version").read()?.trim().to_owned(),
            aya_ebpf: locked_version(&lock, "aya-ebpf")
                .ok_or_else(|| anyhow!("Cargo.lock names no aya-ebpf"))?
                .to_owned(),
            core: core.to_owned(),
        })
    }
}

/// Installs what is missing: Debian's packages and the linker built against their LLVM. rustup's nightly with
/// rust-src is used where it is present.
pub(crate) fn install() -> Result<()> {
    if let Ok(toolchain) = Toolchain::find() {
        println!("the BPF toolchain is complete: {}", toolchain.versions()?.rustc);
        return Ok(());
    }
    if !has_distribution_core() && !has_nightly_source() {
        if find_program("apt-get").is_none() {
            return Toolchain::find().map(drop);
        }
        packages::apt_install(&DEBIAN_PACKAGES)?;
    }
    if find_linker().is_none() {
        let install =
            workspace::cargo().args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION]);
        // Built by the stable toolchain, but linked with the LLVM whose bitcode it will read.
        let install = if Path::new(LLVM_PREFIX).is_dir() {
            install.env("LLVM_PREFIX", LLVM_PREFIX).args(["--no-default-features", "--features", "llvm-22"])
        } else {
            install
        };
        install.without_env("CARGO_TARGET_DIR").run()?;
    }
    println!("the BPF toolchain is complete: {}", Toolchain::find()?.versions()?.rustc);
    Ok(())
}

/// Whether the distribution's compiler has a `core` for BPF.
fn has_distribution_core() -> bool {
    Path::new("/usr/bin/cargo").is_file()
        && Cmd::new("/usr/bin/rustc")
            .without_env("LD_LIBRARY_PATH")
            .args(["--print", "target-libdir", "--target", TARGET])
            .read()
            .is_ok_and(|directory| Path::new(directory.trim()).is_dir())
}

/// Whether rustup has a nightly with the sources of `core`.
fn has_nightly_source() -> bool {
    Cmd::new("rustc")
        .without_env("RUSTUP_TOOLCHAIN")
        .args(["+nightly", "--print", "sysroot"])
        .read()
        .is_ok_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir())
}

/// The linker, on PATH or where `cargo install` puts it.
fn find_linker() -> Option<PathBuf> {
    find_program("bpf-linker")
        .or_else(|| Some(cargo_home()?.join("bin/bpf-linker")).filter(|file| file.is_file()))
}

/// llvm-strip of the compiler's own LLVM where it is installed, else any.
fn find_strip(kind: Kind) -> Option<PathBuf> {
    let own = Path::new(LLVM_PREFIX).join("bin/llvm-strip");
    if kind == Kind::Distribution && own.is_file() { Some(own) } else { find_program("llvm-strip") }
}

/// cargo's own directory.
pub(super) fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").or_else(|| env::var_os("HOME").map(default_cargo_home)).map(PathBuf::from)
}

fn default_cargo_home(home: OsString) -> OsString {
    PathBuf::from(home).join(".cargo").into_os_string()
}

/// The version of `package` in a Cargo.lock.
fn locked_version<'lock>(lock: &'lock str, package: &str) -> Option<&'lock str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_a_version() {
        let lock = "[[package]]\nname = \"aya\"\nversion = \"0.14.0\"\n\n[[package]]\nname = \"aya-ebpf\"\nversion = \"0.2.1\"\n";
        assert_eq!(locked_version(lock, "aya-ebpf"), Some("0.2.1"));
        assert_eq!(locked_version(lock, "aya-obj"), None);
    }
}
