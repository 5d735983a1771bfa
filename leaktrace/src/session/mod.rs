//! Wires the rooms for one run.

mod attach;
mod backoff;
mod budget;
mod classify;
mod clock;
mod copies;
mod doctor;
mod engine;
mod fail_on_leak;
mod follow;
mod gaze;
mod heap;
mod heap_walk;
mod input;
mod js_sites;
mod launch;
mod limited;
mod limits;
mod live;
mod names;
mod parts;
mod pipeline;
mod printer;
mod ranking;
mod recorder;
mod replay;
mod repricing;
mod safety;
pub mod series_file;
mod sinks;
mod slack;
mod snapshot;
mod spend;
mod stack_choice;
mod stacks;
mod supervisor;
mod traced;
mod under_way;
mod v8;
mod verdicts;
mod watch;

#[cfg(test)]
mod tests;

pub use classify::verdict_of;
pub use input::{Child, Fact, Input, ProcessUsage, Tick};
pub use pipeline::Pipeline;
pub use ranking::View;

use crate::{
    cli::{Cli, Command},
    error::Failure,
};

/// The parts of the program that other processes of ours play: called before anything else.
pub fn play_other_parts() {
    crate::probe::trial::run_child_if_asked();
    crate::probe::calibration::run_child_if_asked();
    launch::become_command_if_asked();
}

/// Does what the command line asks.
pub fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        Some(Command::Doctor(options)) => doctor::run(options, &cli.general),
        Some(Command::Replay(options)) => replay::run(options, &cli.general),
        Some(Command::Snapshot(options)) => snapshot::run(options),
        Some(Command::Classify(options)) => classify::run(options, &cli.general),
        Some(Command::Heap(options)) => heap::run(options, &cli.general),
        Some(Command::Heapwalk(options)) => heap_walk::run(options, &cli.general),
        None => live::run(&cli.trace, &cli.general),
    }
}
