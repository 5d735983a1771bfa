//! Measures what hits cost on this machine: in a child of our own, under the programs and links that a target gets.
//!
//! Machines differ by a factor of three, and virtual ones by more in what a single step costs. The child calls functions
//! whose code is known to the byte; each round is timed by itself, and the medians of rounds with and without probes are
//! compared. Nothing of it is told: the child has an index that no traced process gets, and what it caused is discarded.

mod child;
mod code;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write as _},
    num::NonZeroU32,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use leaktrace_common::{
    Argument, Cookie, Role,
    sampling::{Control, MAX_INTERVAL},
};

use super::{
    detach::detach_aside,
    links::{AttachPoint, Link, Program},
    own_child::{OURSELVES, Ready, file_offset, read_some, start},
    plan::Returns,
    prices::{Passed, Prices},
    programs::Programs,
    run_times::PROGRAMS,
};
pub use child::run_child_if_asked;
use child::{ASKED, CALLS, READY, Round, STEPS, TOLD_STEPS};
use code::{Code, RET};

/// Some tens of milliseconds are needed; on a machine that is busy otherwise more.
const PATIENCE: Duration = Duration::from_secs(1);
/// Rounds before the probes come, with them, where samples are taken, and while the kernel measures runs.
const ROUNDS: (usize, usize, usize, usize) = (5, 9, 5, 2);
/// A line of numbers is shorter.
const MAX_LINE: usize = 20 * (STEPS.len() + 1);
/// A ring that a round does not fill to the point where its reader is woken: nobody reads it during a round.
const RING: u32 = 2 << 20;
/// The index that processes get is one of those below.
const PROCESS: u16 = u16::MAX;
/// The number of no function, so that nobody reads how many of its calls were passed.
const FUNCTION: u8 = u8::MAX;
/// A hit that costs less was none; one that costs more is no price but a disturbance.
const SANE_NS: std::ops::RangeInclusive<i64> = 30..=200_000;

/// What hits cost here; estimates where that cannot be measured.
///
/// Takes some hundredths of a second, and starts this program anew: its `main` must begin with [`run_child_if_asked`].
/// The ring must not have been taken.
pub fn prices(programs: &mut Programs, returns: Returns) -> Prices {
    // Perf links are taken away one after the other, each after a grace period under a lock of the whole machine: the
    // target's would wait for them.
    if programs.link_kind() == "perf" || programs.ring_sizes().bytes < RING {
        return Prices::ESTIMATES;
    }
    let prices = measure(command(), programs, returns);
    // The child is gone by now, however it went.
    programs.discard(PROCESS);
    prices.unwrap_or_else(|error| {
        tracing::debug!("what a hit costs could not be measured, and is estimated: {error}");
        Prices::ESTIMATES
    })
}

fn command() -> Command {
    let mut command = Command::new(OURSELVES);
    command.env(ASKED, "1");
    command
}

fn measure(command: Command, programs: &mut Programs, returns: Returns) -> io::Result<Prices> {
    let mut child = Calibrated::start(command)?;
    let bare = (0..ROUNDS.0).map(|_| child.round()).collect::<io::Result<Vec<Round>>>()?;
    let links = attach(programs, returns, child.child.pid)?;
    let probed = probed_rounds(&mut child, programs, ROUNDS.1);
    let run_ns = run_times(&mut child, programs);
    let passing =
        if programs.may_sample_later() { passing_rounds(&mut child, programs).map(Some) } else { Ok(None) };
    drop(child);
    // It takes a grace period of the kernel, for which there is nothing to wait here.
    let _ = detach_aside(links);
    let mut costs = Costs::of(&bare, &probed?);
    if let Some(passing) = passing? {
        costs.take_passed(&Costs::of(&bare, &passing));
    }
    let prices = costs.prices(returns, programs.passes_calls())?;
    Ok(Prices { run_ns, ..prices })
}

/// What a run of each program takes here; 0 where that cannot be known.
fn run_times(child: &mut Calibrated, programs: &mut Programs) -> [u32; PROGRAMS] {
    let Some(measuring) = programs.measure() else { return [0; PROGRAMS] };
    if probed_rounds(child, programs, ROUNDS.3).is_err() {
        return [0; PROGRAMS];
    }
    programs.ran(&measuring).map(|run| run.mean_ns().unwrap_or(0))
}

/// Rounds as if samples were taken, which they may be later on: calls are passed then.
fn passing_rounds(child: &mut Calibrated, programs: &mut Programs) -> io::Result<Vec<Round>> {
    programs.control(Control::samples(MAX_INTERVAL, 1)).map_err(io::Error::other)?;
    let rounds = probed_rounds(child, programs, ROUNDS.2);
    programs.control(Control::EVERYTHING).map_err(io::Error::other)?;
    rounds
}

/// The first round is thrown away: it sends the stack, and has the nop replaced.
fn probed_rounds(child: &mut Calibrated, programs: &mut Programs, count: usize) -> io::Result<Vec<Round>> {
    let mut rounds = Vec::with_capacity(count + 1);
    for _ in 0..=count {
        rounds.push(child.round()?);
        programs.discard_records();
    }
    Ok(rounds.split_off(1))
}

/// A child at work.
struct Calibrated {
    child: Ready,
    deadline: Instant,
}

impl Calibrated {
    fn start(command: Command) -> io::Result<Self> {
        let deadline = Instant::now() + PATIENCE;
        Ok(Self { child: start(command, READY, deadline)?, deadline })
    }

    fn round(&mut self) -> io::Result<Round> {
        self.child.input.write_all(b"g")?;
        let mut said = Vec::new();
        while said.last() != Some(&b'\n') {
            if !read_some(&mut self.child.output, self.deadline, &mut said)? || said.len() > MAX_LINE {
                return Err(io::Error::other("the child ended, or said something else"));
            }
        }
        parse(&said).ok_or_else(|| io::Error::other("the child said something else"))
    }
}

/// Exactly one number a step.
fn parse(line: &[u8]) -> Option<Round> {
    let mut words = str::from_utf8(line).ok()?.split_ascii_whitespace();
    let mut round = Round::default();
    for ns in &mut round {
        *ns = words.next()?.parse().ok()?;
    }
    words.next().is_none().then_some(round)
}

/// What a call of each step costs with probes, more than without, in nanoseconds.
struct Costs([i64; STEPS.len()]);

impl Costs {
    fn of(bare: &[Round], probed: &[Round]) -> Self {
        let mut costs = [0; STEPS.len()];
        for (step, cost) in costs.iter_mut().enumerate() {
            let added = middle(probed, step).saturating_sub(middle(bare, step));
            *cost = i64::try_from(added / CALLS).unwrap_or(i64::MAX);
        }
        Self(costs)
    }

    /// Takes over what calls without a record cost: the last steps.
    fn take_passed(&mut self, other: &Self) {
        for (cost, passed) in self.0.iter_mut().zip(other.0).skip(TOLD_STEPS) {
            *cost = passed;
        }
    }

    /// The order is that of [`STEPS`].
    fn prices(self, returns: Returns, passes: bool) -> io::Result<Prices> {
        let [first, nop5, second, emulated, plain, single_step, leaf, inner, absent] = self.0;
        if !self.0.iter().all(|cost| SANE_NS.contains(cost)) {
            return Err(io::Error::other(format!("a hit cannot cost so much: {:?} ns", self.0)));
        }
        let allocation = i64::midpoint(first, second);
        let estimates = Prices::ESTIMATES;
        Ok(Prices {
            calibrated: true,
            nop5_ns: nop5 as u32,
            emulated_ns: emulated as u32,
            single_step_ns: single_step as u32,
            return_ns: match returns {
                Returns::ReturnProbes => (allocation - emulated) as i32,
                Returns::PlainProbes => estimates.return_ns,
            },
            ret_ns: (plain - emulated - single_step) as i32,
            run_ns: [0; PROGRAMS],
            longer_ns: [0; PROGRAMS],
            trap_longer_ns: 0,
            passed: passes.then_some(Passed {
                free_ns: (absent - emulated) as i32,
                leaf_ns: (leaf - emulated) as i32,
                inner_ns: (inner - emulated) as i32,
            }),
        })
    }
}

/// The median of a step.
fn middle(rounds: &[Round], step: usize) -> u64 {
    let mut all: Vec<u64> = rounds.iter().filter_map(|round| round.get(step).copied()).collect();
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or(0)
}

/// The probes that a target would get on functions like these.
fn attach(programs: &mut Programs, returns: Returns, pid: NonZeroU32) -> io::Result<Vec<Box<dyn Link>>> {
    let mut points = Vec::new();
    let mut add = |program, code: Code, within: u64| -> io::Result<()> {
        points.push(AttachPoint {
            program,
            path: PathBuf::from(OURSELVES),
            file_offset: file_offset(code.address().saturating_add(within))?,
            cookie: cookie(code).to_bits(),
            pid,
        });
        Ok(())
    };
    for code in [Code::Nop5, Code::Emulated, Code::SingleStep] {
        add(Program::FreeEnter, code, 0)?;
    }
    let plain: &[Code] = match returns {
        Returns::ReturnProbes => &[Code::Plain],
        Returns::PlainProbes => &[Code::Plain, Code::Leaf, Code::Inner],
    };
    for &code in plain {
        add(Program::AllocRet, code, RET)?;
    }
    let by_return_probe: &[Code] =
        if returns == Returns::ReturnProbes { &[Code::Leaf, Code::Inner] } else { &[] };
    let sessions = programs.has_sessions();
    for &code in by_return_probe {
        add(if sessions { Program::AllocSession } else { Program::AllocReturn }, code, 0)?;
    }
    for &code in plain.iter().chain(if sessions { &[] } else { by_return_probe }) {
        add(Program::AllocEnter, code, 0)?;
    }
    let mut links = Vec::new();
    for alike in points.chunk_by(AttachPoint::is_like) {
        links.extend(programs.attach(alike).map_err(io::Error::other)?);
    }
    Ok(links)
}

fn cookie(code: Code) -> Cookie {
    let none = Argument::None;
    let (role, size, pointer) = match code {
        Code::Nop5 | Code::Emulated | Code::SingleStep => (Role::Free, none, Argument::First),
        Code::Leaf | Code::Inner | Code::Plain => (Role::Allocate, Argument::Second, none),
    };
    let is_leaf = code != Code::Inner;
    Cookie { function: FUNCTION, role, size, count: none, pointer, process: PROCESS, is_leaf }
}
