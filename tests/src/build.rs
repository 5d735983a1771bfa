//! Builds victims with the system's compilers, once for each content of their sources and flags.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// A compiler, and what a victim's source is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// C, dynamic glibc.
    C,
    /// C, as a shared object.
    SharedC,
    /// C, 32 bit.
    C32,
    /// C, static musl.
    Musl,
    /// C++ with libstdc++.
    Cpp,
    /// Go.
    Go,
}

impl Language {
    const fn compiler(self) -> &'static str {
        match self {
            Self::C | Self::SharedC | Self::C32 => "gcc",
            Self::Musl => "musl-gcc",
            Self::Cpp => "g++",
            Self::Go => "go",
        }
    }

    /// The Debian package that is missing when the compiler, or what it needs, is.
    const fn package(self) -> &'static str {
        match self {
            Self::C | Self::SharedC => "gcc",
            Self::C32 => "gcc-multilib",
            Self::Musl => "musl-tools linux-libc-dev",
            Self::Cpp => "g++",
            Self::Go => "golang-go",
        }
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::C => &["-std=gnu11", "-fno-builtin", "-pthread"],
            Self::SharedC => &["-std=gnu11", "-fno-builtin", "-shared", "-fPIC"],
            Self::C32 => &["-std=gnu11", "-m32"],
            // musl brings no kernel headers, and falls back to the system's.
            Self::Musl => &[
                "-std=gnu11",
                "-fno-builtin",
                "-pthread",
                "-static",
                "-idirafter/usr/include",
                "-idirafter/usr/include/x86_64-linux-gnu",
            ],
            Self::Cpp => &["-std=c++17", "-pthread"],
            Self::Go => &["build"],
        }
    }
}

/// One victim program to be built.
#[derive(Clone, Debug)]
pub struct Build {
    source: String,
    language: Language,
    flags: Vec<String>,
    symbols: Symbols,
}

/// Where a victim's symbols and debugging information are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbols {
    Inside,
    /// In a file beside it, which it names (`.gnu_debuglink`).
    Beside,
    Nowhere,
}

/// Two tests that want the same victim at once must not build it twice into one file.
static BUILDING: Mutex<()> = Mutex::new(());

impl Build {
    /// A victim by the name of its source below `tests/victims`.
    pub fn new(source: &str, language: Language) -> Self {
        Self { source: source.to_owned(), language, flags: Vec::new(), symbols: Symbols::Inside }
    }

    /// Further flags for the compiler, behind the source (so `-ljemalloc` works).
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Without any symbols (`strip -s`).
    #[must_use]
    pub const fn stripped(mut self) -> Self {
        self.symbols = Symbols::Nowhere;
        self
    }

    /// Stripped, with its symbols and debugging information in a file beside it, as distributions have it.
    #[must_use]
    pub const fn debug_file(mut self) -> Self {
        self.symbols = Symbols::Beside;
        self
    }

    /// The path of the program, built now if it has not been built before.
    pub fn path(&self) -> Result<PathBuf> {
        let source = victim_source(&self.source);
        let program = cache_directory()?.join(self.file_name(&source)?);
        let _guard = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !program.exists() {
            // Another test process may build the same: only a finished program gets the final name.
            let unfinished = program.with_extension(format!("{}.tmp", std::process::id()));
            self.compile(&source, &unfinished)?;
            fs::rename(&unfinished, &program)?;
        }
        Ok(program)
    }

    fn file_name(&self, source: &Path) -> Result<String> {
        let mut digest = Sha256::new();
        for path in [source.to_owned(), victim_source("victim.h"), victim_source("paths.h")] {
            digest.update(fs::read(&path).with_context(|| format!("no victim source {}", path.display()))?);
        }
        digest.update(format!(
            "{:?} {:?} {:?} {:?}",
            self.language,
            self.language.flags(),
            self.flags,
            self.symbols
        ));
        let key = digest.finalize().iter().take(8).fold(0u64, |key, byte| key << 8 | u64::from(*byte));
        let stem = source.file_stem().and_then(OsStr::to_str).unwrap_or("victim");
        // The command name keeps 15 bytes, so the readable part comes first.
        Ok(format!("{stem}-{key:016x}"))
    }

    fn compile(&self, source: &Path, program: &Path) -> Result<()> {
        let mut command = Command::new(self.language.compiler());
        command.args(self.language.flags());
        if self.language != Language::Go {
            command.args(["-O1", "-g", "-fno-omit-frame-pointer", "-Wall", "-Wextra"]);
        }
        command.arg("-o").arg(program).arg(source).args(&self.flags);
        run(&mut command, self.language.package(), &self.source)?;
        match self.symbols {
            Symbols::Inside => Ok(()),
            Symbols::Nowhere => self.strip(program),
            Symbols::Beside => self.move_symbols(program),
        }
    }
}

impl Build {
    fn strip(&self, program: &Path) -> Result<()> {
        run(Command::new("strip").arg("-s").arg(program), "binutils", &self.source)
    }

    fn move_symbols(&self, program: &Path) -> Result<()> {
        let beside = program.with_extension("debug");
        let mut copy = Command::new("objcopy");
        run(copy.arg("--only-keep-debug").arg(program).arg(&beside), "binutils", &self.source)?;
        self.strip(program)?;
        let mut link = OsString::from("--add-gnu-debuglink=");
        link.push(&beside);
        run(Command::new("objcopy").arg(link).arg(program), "binutils", &self.source)
    }
}

/// Builds a package of `tests/victims/rust` in release mode: the path of its program.
pub fn rust_victim(name: &str) -> Result<PathBuf> {
    let target = cache_directory()?.join("rust");
    let _guard = BUILDING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--locked", "--quiet", "--package", name]);
    command.arg("--manifest-path").arg(victim_source("rust/Cargo.toml")).arg("--target-dir").arg(&target);
    run(&mut command, "cargo", name)?;
    Ok(target.join("release").join(name))
}

/// The path of a file below `tests/victims`.
pub fn victim_source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("victims").join(name)
}

/// Where built victims are kept: beside the test programs, below cargo's target directory.
pub fn cache_directory() -> Result<PathBuf> {
    // target/debug/deps/TEST -> target
    let test = env::current_exe()?;
    let target = test.ancestors().nth(3).context("the test program lies outside a target directory")?;
    let directory = target.join("victims");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn run(command: &mut Command, package: &str, what: &str) -> Result<()> {
    let compiler = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("cannot build {what}: no {compiler}; install the Debian package {package}")
    })?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("cannot build {what} with {compiler} (Debian package {package}): {}", errors.trim());
    }
    Ok(())
}
