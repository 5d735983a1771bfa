//! Where the workspace is, and how its parts are built.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::Cmd;
use crate::privilege::Root;

/// The root directory of the workspace.
pub(crate) fn root() -> PathBuf {
    // `cargo run` names the package's directory as it is now, the compiler as it was when xtask was compiled.
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let here = PathBuf::from(here);
    here.parent().unwrap_or(&here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |given| root().join(given))
}

/// The cargo that runs us, in the root of the workspace.
pub(crate) fn cargo() -> Cmd {
    Cmd::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).dir(root())
}

/// Which profile of cargo to build with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// What tests use.
    Dev,
    /// What users get.
    Release,
}

/// Builds the program and returns its path.
pub(crate) fn build_leaktrace(profile: Profile) -> Result<PathBuf> {
    let build = cargo().args(["build", "--package", "leaktrace", "--bin", "leaktrace"]);
    let (build, directory) = match profile {
        Profile::Dev => (build, "debug"),
        Profile::Release => (build.arg("--release"), "release"),
    };
    build.run()?;
    Ok(target_directory().join(directory).join("leaktrace"))
}

/// A compiled test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestProgram {
    /// Name of the cargo target.
    pub(crate) name: String,
    /// Directory of its package, where tests expect to be run.
    pub(crate) package: PathBuf,
    /// The program.
    pub(crate) path: PathBuf,
}

/// What one compilation of all tests gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    /// The test programs of the whole workspace.
    pub(crate) programs: Vec<TestProgram>,
    /// leaktrace itself, in the profile of the tests.
    pub(crate) leaktrace: PathBuf,
}

/// What all cargo commands of the tests have in common: the features of a dependency depend on the packages that
/// are built with it, so another selection would compile half of the dependencies again.
pub(crate) const TEST_SELECTION: [&str; 5] =
    ["--workspace", "--exclude", "leaktrace-ebpf", "--all-features", "--locked"];

/// Compiles all tests and leaktrace, without running any.
pub(crate) fn build_tests() -> Result<Tests> {
    let build = cargo()
        .arg("test")
        .args(TEST_SELECTION)
        .args(["--no-run", "--message-format=json-render-diagnostics"]);
    let mut tests = read_messages(&build.read_stdout()?);
    if tests.leaktrace.as_os_str().is_empty() {
        // cargo compiles a package's programs only for its integration tests.
        tests.leaktrace = build_leaktrace(Profile::Dev)?;
    }
    Ok(tests)
}

/// The programs that cargo's JSON messages name.
fn read_messages(messages: &str) -> Tests {
    let mut tests = Tests::default();
    for message in messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let Some(path) = message["executable"].as_str().map(PathBuf::from) else { continue };
        let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
        if message["profile"]["test"] == true {
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            let package = manifest.parent().unwrap_or(manifest).to_owned();
            tests.programs.push(TestProgram { name, package, path });
        } else if name == "leaktrace" {
            tests.leaktrace = path;
        }
    }
    tests
}

impl Tests {
    /// The end-to-end tests, which need root.
    pub(crate) fn privileged(&self) -> impl Iterator<Item = &TestProgram> {
        self.programs.iter().filter(|program| program.is_privileged())
    }

    /// A command that runs a test program as root on this build of leaktrace.
    pub(crate) fn as_root(&self, root: Root, program: &TestProgram) -> Cmd {
        // A shell has jobs in its background ignore SIGINT, and what they start inherits that: tests send it.
        root.command("env")
            .arg("--default-signal=INT")
            .arg(&program.path)
            .dir(&program.package)
            .env("CARGO_MANIFEST_DIR", &program.package)
            .env("LEAKTRACE_BIN", &self.leaktrace)
    }
}

impl TestProgram {
    /// Whether the program is the end-to-end tests.
    pub(crate) fn is_privileged(&self) -> bool {
        self.name == "privileged"
    }
}

/// Whether a program keeps frame pointers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frames {
    Kept,
    Omitted,
}

/// Compiles one of the C programs under `tests/victims` into `directory` and returns its path.
pub(crate) fn compile_victim(name: &str, directory: &Path, frames: Frames) -> Result<PathBuf> {
    let source = root().join("tests/victims").join(format!("{name}.c"));
    let (flag, suffix) = match frames {
        Frames::Kept => ("-fno-omit-frame-pointer", ""),
        Frames::Omitted => ("-fomit-frame-pointer", "-nofp"),
    };
    let program = directory.join(format!("{name}{suffix}"));
    Cmd::new("cc")
        .args(["-O1", "-g", flag, "-fno-optimize-sibling-calls", "-pthread", "-o"])
        .args([&program, &source])
        .run()
        .with_context(|| format!("cannot compile {}: is a C compiler installed?", source.display()))?;
    Ok(program)
}

/// Starts xtask again with the feature that links leaktrace as a library; release code where speed is measured.
#[cfg(not(feature = "library"))]
pub(crate) fn run_with_library(profile: Profile, arguments: &[&str]) -> Result<()> {
    let run = cargo().args(["run", "--quiet", "--package", "xtask", "--features", "library"]);
    let run = if profile == Profile::Release { run.arg("--release") } else { run };
    run.arg("--").args(arguments).run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"leaktrace"},"profile":{"test":false},"executable":"/t/leaktrace"}"#,
            "\n",
            r#"{"manifest_path":"/w/tests/Cargo.toml","target":{"name":"privileged"},"profile":{"test":true},"executable":"/t/p-1"}"#,
            "\n",
            r#"{"target":{"name":"serde"},"profile":{"test":false},"executable":null}"#,
            "\nnot json\n",
        );
        let tests = read_messages(messages);
        assert_eq!(tests.leaktrace, Path::new("/t/leaktrace"));
        let program =
            TestProgram { name: "privileged".into(), package: "/w/tests".into(), path: "/t/p-1".into() };
        assert_eq!(tests.privileged().collect::<Vec<_>>(), [&program]);
    }

    #[test]
    fn the_root_holds_the_workspace() {
        assert!(root().join("leaktrace-common/Cargo.toml").is_file());
    }
}
