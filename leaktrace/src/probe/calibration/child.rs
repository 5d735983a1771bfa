//! The child of a calibration: whenever it is asked it calls all functions, and tells how long that took.

use std::io::{self, Read as _, Write as _};

use rustix::time::{ClockId, clock_gettime};

use super::code::{Code, STRIDE};

/// Set in the environment of a child.
pub(super) const ASKED: &str = "LEAKTRACE_CALIBRATION";
/// What a child writes when it can be asked.
pub(super) const READY: &str = "ready for rounds\n";

/// Calls of a function that are timed together.
pub(super) const CALLS: u64 = 256;
/// Calls before them that are not: the child has slept, and caches have been others'.
const WARM_UP: u64 = 16;
/// The first of the blocks. Nobody reads what is there.
const BLOCKS: u64 = 1 << 32;

/// Every trace takes a block of this size: the longest gap between samples is shorter.
const LARGE: u64 = 1 << 40;
/// Hardly any that does not take all takes one of this.
const SMALL: u64 = 0;

/// Many calls of one function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    code: Code,
    size: u64,
}

const fn step(code: Code, size: u64) -> Step {
    Step { code, size }
}

/// What is done, in this order: a free has a record only where the allocation before it had one.
pub(super) const STEPS: [Step; 9] = [
    step(Code::Leaf, LARGE),
    step(Code::Nop5, 0),
    step(Code::Leaf, LARGE),
    step(Code::Emulated, 0),
    step(Code::Plain, LARGE),
    step(Code::SingleStep, 0),
    step(Code::Leaf, SMALL),
    step(Code::Inner, SMALL),
    step(Code::Emulated, 0),
];

/// So many come first whose calls are told, whatever is sampled.
pub(super) const TOLD_STEPS: usize = 6;

/// Nanoseconds of each step.
pub(super) type Round = [u64; STEPS.len()];

/// Becomes the child of a calibration, and then does not return, if that is what this process was started for.
pub fn run_child_if_asked() {
    if std::env::var_os(ASKED).is_some() {
        std::process::exit(i32::from(serve().is_err()));
    }
}

/// Each byte asks for a round, and the answer is a line.
fn serve() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    output.write_all(READY.as_bytes())?;
    output.flush()?;
    while input.read(&mut [0])? > 0 {
        let words = STEPS.map(|step| timed(step).to_string());
        writeln!(output, "{}", words.join(" "))?;
        output.flush()?;
    }
    Ok(())
}

fn timed(step: Step) -> u64 {
    step.code.call(BLOCKS, step.size, WARM_UP);
    let begin = cpu_ns();
    step.code.call(BLOCKS + WARM_UP * STRIDE, step.size, CALLS);
    cpu_ns().saturating_sub(begin)
}

/// Time that this thread was running: others that want the CPU meanwhile do not count.
fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.cast_unsigned().saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.cast_unsigned())
}
