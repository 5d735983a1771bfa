//! `cargo xtask gen`: the files that are made from leaktrace's own types.

use anyhow::Result;

#[cfg(not(feature = "library"))]
use crate::workspace::{self, Profile};

/// Writes the files, or with `check` only compares them with the committed ones.
#[cfg(not(feature = "library"))]
pub(crate) fn run(check: bool) -> Result<()> {
    workspace::run_with_library(Profile::Dev, if check { &["gen", "--check"] } else { &["gen"] })
}

#[cfg(feature = "library")]
pub(crate) use with_library::run;

#[cfg(feature = "library")]
mod with_library {
    use std::fs;
    use std::path::PathBuf;

    use anyhow::{Context as _, bail};
    use clap::CommandFactory as _;
    use clap_complete::Shell;

    use super::Result;
    use crate::workspace;

    /// Writes the files, or with `check` only compares them with the committed ones.
    pub(crate) fn run(check: bool) -> Result<()> {
        let root = workspace::root();
        let mut drifted = Vec::new();
        for (name, contents) in files()? {
            let path = root.join(&name);
            if fs::read(&path).is_ok_and(|committed| committed == contents) {
                continue;
            }
            drifted.push(name.display().to_string());
            if !check {
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory)
                        .with_context(|| format!("cannot make {}", directory.display()))?;
                }
                fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        match (check, drifted.as_slice()) {
            (_, []) => println!("generated files are up to date"),
            (true, _) => bail!("out of date: {}: run cargo xtask gen", drifted.join(", ")),
            (false, _) => println!("written: {}", drifted.join(", ")),
        }
        Ok(())
    }

    /// Every generated file, by its name relative to the root of the workspace.
    fn files() -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut files = vec![(
            PathBuf::from("docs/schema/leaktrace-1.json"),
            leaktrace::output::schema::schema_json().into_bytes(),
        )];
        for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut leaktrace::cli::Cli::command(), "leaktrace", &mut script);
            files.push((PathBuf::from("completions").join(name), script));
        }
        let mut command = leaktrace::cli::Cli::command();
        command.build();
        add_man_pages(&command, &mut files)?;
        Ok(files)
    }

    /// The man page of a command and those of its visible subcommands.
    fn add_man_pages(command: &clap::Command, files: &mut Vec<(PathBuf, Vec<u8>)>) -> Result<()> {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        let mut page = Vec::new();
        clap_mangen::Man::new(command.clone())
            .title(name.as_str())
            .render(&mut page)
            .with_context(|| format!("cannot render the man page of {name}"))?;
        files.push((PathBuf::from("docs/man").join(format!("{name}.1")), page));
        for child in command.get_subcommands() {
            if !child.is_hide_set() && child.get_name() != "help" {
                add_man_pages(child, files)?;
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn the_committed_files_are_what_the_types_give() {
            super::run(true).expect("run cargo xtask gen");
        }
    }
}
