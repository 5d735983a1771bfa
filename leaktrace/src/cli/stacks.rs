//! Options that write call sites for other tools.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::help;

/// Files with the call sites, written at the end.
#[derive(Clone, Debug, Default, Args)]
pub struct StackOptions {
    /// Those that count one kind of bytes.
    #[command(flatten)]
    pub drawn: DrawnOptions,

    /// At the end, write the call sites as a profile for pprof
    ///
    /// A gzip'd profile.proto: blocks and bytes, in use and allocated since attach, by function and line. Read it with
    /// `go tool pprof FILE`. The file is readable by its owner only.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = help::VIEW)]
    pub pprof: Option<PathBuf>,

    /// Which bytes --folded and --flamegraph count
    #[arg(long, value_enum, value_name = "WHICH", default_value_t, requires = "drawn")]
    #[arg(help_heading = help::VIEW)]
    pub bytes: StackBytes,
}

/// Files with one figure a stack.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "drawn", multiple = true)]
pub struct DrawnOptions {
    /// At the end, write the call sites as folded stacks, for flame graph tools
    ///
    /// One line a call site: its functions from the outermost to the innermost, separated by semicolons, a space, and
    /// its bytes. The file is readable by its owner only.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = help::VIEW)]
    pub folded: Option<PathBuf>,

    /// At the end, draw the call sites as a flame graph, as SVG
    ///
    /// For a browser: a click zooms, Ctrl-F searches. The file is readable by its owner only.
    #[cfg(feature = "flamegraph")]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = help::VIEW)]
    pub flamegraph: Option<PathBuf>,
}

/// Which bytes of a call site count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum StackBytes {
    /// Those that are live, with --older-than only of old blocks
    #[default]
    Live,
    /// All that were allocated since attach
    Allocated,
    /// Those that are live, of call sites that are a leak or a suspect
    Leaked,
}

impl StackOptions {
    /// Nothing is asked for.
    pub fn is_none(&self) -> bool {
        self.files().next().is_none()
    }

    /// The files that are asked for.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let files = self.drawn.folded.iter().chain(&self.pprof);
        #[cfg(feature = "flamegraph")]
        let files = files.chain(&self.drawn.flamegraph);
        files
    }
}
