//! The `leaktrace` command: parse, run, exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use leaktrace::{cli::Cli, panics, session};
use tracing_subscriber::{EnvFilter, fmt};

fn main() -> ExitCode {
    session::play_other_parts();
    panics::silence_caught_panics();
    let cli = Cli::parse();
    log_to_stderr(cli.general.verbose);
    match session::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The exit code tells it also where standard error cannot be written; `eprintln` would panic.
            let _ = writeln!(io::stderr(), "leaktrace: {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Standard output carries data only. `RUST_LOG` overrides what `-v` chooses.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "leaktrace=warn",
        1 => "info",
        _ => "debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}
