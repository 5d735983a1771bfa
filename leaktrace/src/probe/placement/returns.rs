//! Finds every instruction by which a function returns to its caller, through tail jumps and split-off cold parts.

use std::collections::BTreeSet;

use iced_x86::{Code as Opcode, FlowControl};
use thiserror::Error;

use super::cost::CostClass;
use super::function::{Code, Function, Gap, Leave, MAX_INSTRUCTIONS};

/// The most pieces of code that one function's returns are searched in.
pub const MAX_FUNCTIONS: usize = 64;

/// An instruction that returns to the function's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReturnSite {
    /// Virtual address of the instruction.
    pub address: u64,
    /// What a hit costs there.
    pub cost: CostClass,
}

/// All the returns of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returns {
    /// By address. Sites in `followed` functions also see returns of other calls: the stack pointer tells.
    pub sites: Vec<ReturnSite>,
    /// Virtual addresses of the functions and cold parts reached by jumps, whose returns are among the sites.
    pub followed: Vec<u64>,
}

/// Why a function's returns cannot be shown to be complete. Addresses are virtual addresses in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReturnsError {
    /// There is no code.
    #[error("the function has no code")]
    Empty,
    /// The jump may leave the function for any place.
    #[error("the indirect jump at {address:#x} may lead anywhere")]
    IndirectJump {
        /// The jump.
        address: u64,
    },
    /// The function goes on where its code is not known (another object, through the PLT).
    #[error("the jump at {address:#x} leads to unknown code at {target:#x}")]
    UnknownTarget {
        /// The jump.
        address: u64,
        /// Where it leads.
        target: u64,
    },
    /// Bytes that no instruction begins with, where a path leads.
    #[error("the code at {address:#x} is not decodable")]
    Undecodable {
        /// The bytes.
        address: u64,
    },
    /// A path goes on behind the last known byte.
    #[error("the path at {address:#x} runs past the known code")]
    RunsOut {
        /// The last known instruction of the path.
        address: u64,
    },
    /// A return on which no probe can stand.
    #[error("no probe can stand on the return at {address:#x}")]
    Unprobeable {
        /// The return.
        address: u64,
    },
    /// More than [`MAX_INSTRUCTIONS`] instructions or [`MAX_FUNCTIONS`] pieces.
    #[error("the function and what it jumps to are too large to be searched")]
    TooLarge,
}

/// Every return of the function, or the reason why there may be others.
///
/// `lookup` gives the code around an address in the same object, if it is known; for a PLT stub that is bound to a
/// function of the object (see [`stub_slot`](super::stub_slot)), the code of that function. A jump to a function that
/// `is_probed` in its own right is not followed: its own probes see the return.
///
/// It does not matter whether a jump out is a tail call or leads to the function's own cold part: either way the
/// returns behind it may be ours, and a probe at one that is not costs little and is known by its stack pointer.
/// A path that ends in a call (of a function that throws or aborts) or a trap has no return.
pub fn return_sites<'a>(
    code: &Code<'a>,
    lookup: &dyn Fn(u64) -> Option<Code<'a>>,
    is_probed: &dyn Fn(u64) -> bool,
) -> Result<Returns, ReturnsError> {
    if code.bytes.is_empty() {
        return Err(ReturnsError::Empty);
    }
    let mut budget = MAX_INSTRUCTIONS;
    let mut functions = vec![Function::decode_within(code, 0, &mut budget)?];
    let mut followed = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut pending: Vec<Leave> = functions.iter().flat_map(|function| function.leaves().to_vec()).collect();
    while let Some(Leave { from, target }) = pending.pop() {
        if is_probed(target) || !seen.insert(target) {
            continue;
        }
        if functions.len() >= MAX_FUNCTIONS || seen.len() > MAX_INSTRUCTIONS {
            return Err(ReturnsError::TooLarge);
        }
        let unknown = ReturnsError::UnknownTarget { address: from, target };
        let known = functions.iter_mut().find(|function| function.code.offset_of(target).is_some());
        if let Some(function) = known {
            pending.extend(function.go_on(target, &mut budget)?);
            continue;
        }
        let code = lookup(target).ok_or(unknown)?;
        let Some(offset) = code.offset_of(target) else {
            pending.push(Leave { from, target: code.address });
            continue;
        };
        let function = Function::decode_within(&code, offset, &mut budget)?;
        pending.extend_from_slice(function.leaves());
        functions.push(function);
        followed.insert(target);
    }
    let mut sites = Vec::new();
    for function in &functions {
        sites.extend(function.returns()?);
    }
    sites.sort_by_key(|site| site.address);
    sites.dedup();
    Ok(Returns { sites, followed: followed.into_iter().collect() })
}

impl<'a> Function<'a> {
    fn decode_within(code: &Code<'a>, offset: u64, budget: &mut usize) -> Result<Self, ReturnsError> {
        let mut function = Self::new(code);
        function.explore(offset, budget);
        function.complete()?;
        Ok(function)
    }

    /// Explores from one more address; the branches out that this brings to light.
    fn go_on(&mut self, address: u64, budget: &mut usize) -> Result<Vec<Leave>, ReturnsError> {
        let known = self.leaves().len();
        if let Some(offset) = self.code.offset_of(address) {
            self.explore(offset, budget);
        }
        self.complete()?;
        Ok(self.leaves().iter().skip(known).copied().collect())
    }

    fn complete(&self) -> Result<(), ReturnsError> {
        let at = |offset| self.code.address.wrapping_add(offset);
        match self.gap() {
            None => Ok(()),
            Some(Gap::Undecodable(offset)) => Err(ReturnsError::Undecodable { address: at(offset) }),
            Some(Gap::RunsOut(offset)) => Err(ReturnsError::RunsOut { address: at(offset) }),
            Some(Gap::IndirectJump(offset)) => Err(ReturnsError::IndirectJump { address: at(offset) }),
            Some(Gap::TooLarge) => Err(ReturnsError::TooLarge),
        }
    }

    fn returns(&self) -> Result<Vec<ReturnSite>, ReturnsError> {
        let mut sites = Vec::new();
        for (offset, instruction) in self.instructions() {
            if instruction.flow_control() != FlowControl::Return {
                continue;
            }
            let address = self.code.address.wrapping_add(offset);
            let is_near = matches!(instruction.code(), Opcode::Retnq | Opcode::Retnq_imm16);
            let cost = CostClass::of(instruction, self.bytes_at(offset), false).filter(|_| is_near);
            let cost = cost.ok_or(ReturnsError::Unprobeable { address })?;
            sites.push(ReturnSite { address, cost });
        }
        Ok(sites)
    }
}
