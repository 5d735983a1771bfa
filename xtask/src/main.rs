//! Project tasks: `cargo xtask <demo|test|bpf|bench|soak|gen|classification>`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod bpf;
mod classification;
mod command;
mod demo;
mod generate;
mod node;
mod packages;
mod privilege;
mod soak;
mod test;
mod workspace;

/// Tasks of the leaktrace project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds leaktrace, starts a small leaking service, and finds its leak (needs root or sudo).
    Demo {
        /// How long to trace, in seconds.
        #[arg(long, default_value_t = 15)]
        seconds: u32,
    },
    /// Runs every check: formatting, clippy, tests, end-to-end tests as root, BPF object, documentation.
    Test {
        /// Installs what is missing (so does CI=true).
        #[arg(long)]
        install: bool,
    },
    /// The compiled BPF object.
    #[command(subcommand)]
    Bpf(Bpf),
    /// Measures what tracing costs, against no tracer and the shape of bcc's memleak (needs root).
    Bench(bench::Options),
    /// Runs what takes longer than CI may (needs root).
    Soak(soak::Options),
    /// Measures verdicts on generated and recorded series, beside other detectors.
    Classification(classification::Options),
    /// Writes schema, man pages and completions from leaktrace's own types.
    Gen {
        /// Only compares them with the committed files.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Bpf {
    /// Installs what compiles BPF programs, or says what is missing.
    Toolchain,
    /// Compiles the BPF programs and writes the object and its provenance.
    Build,
    /// Compiles the BPF programs and compares with the committed object.
    Check,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo { seconds } => demo::run(seconds),
        Task::Test { install } => test::run(install),
        Task::Bpf(Bpf::Toolchain) => bpf::install_toolchain(),
        Task::Bpf(Bpf::Build) => bpf::build(),
        Task::Bpf(Bpf::Check) => bpf::check().map(|checked| println!("{checked}")),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Classification(options) => classification::run(&options),
        Task::Gen { check } => generate::run(check),
    }
}
