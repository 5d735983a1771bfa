//! Bounded decoding of a function's code: which instructions a call can reach, and where its branches lead.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderError, DecoderOptions, FlowControl, Instruction, OpKind};

/// The most instructions that are decoded for one decision; larger functions are not understood.
pub const MAX_INSTRUCTIONS: usize = 20_000;

/// The code of one function, as its file has it.
#[derive(Clone, Copy, Debug)]
pub struct Code<'a> {
    /// Virtual address of the function in its object.
    pub address: u64,
    /// Exactly the function's bytes, or a bounded window from its start where its size is not known.
    pub bytes: &'a [u8],
    /// Whether the bytes end where the function ends.
    pub size_known: bool,
}

impl Code<'_> {
    /// How far into the code an address lies, if it does. Wraps, so that no address is special.
    pub(super) fn offset_of(&self, address: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.address);
        (offset < self.bytes.len() as u64).then_some(offset)
    }
}

/// Why the reachable code of a function is not all known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Bytes that are no instruction, at this offset.
    Undecodable(u64),
    /// A path runs past the last byte, from the instruction at this offset.
    RunsOut(u64),
    /// A jump to an address that only a register or memory knows, at this offset.
    IndirectJump(u64),
    /// More instructions than are worth decoding.
    TooLarge,
}

/// A direct branch out of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    /// Address of the branch.
    pub(super) from: u64,
    /// Address that it goes to.
    pub(super) target: u64,
}

/// The instructions that can be reached, by following branches rather than byte after byte: code may have data in it.
pub(super) struct Function<'a> {
    pub(super) code: Code<'a>,
    instructions: BTreeMap<u64, Instruction>,
    branch_targets: BTreeSet<u64>,
    leaves: Vec<Leave>,
    gap: Option<Gap>,
}

impl<'a> Function<'a> {
    /// Nothing decoded yet.
    pub(super) fn new(code: &Code<'a>) -> Self {
        Self {
            code: *code,
            instructions: BTreeMap::new(),
            branch_targets: BTreeSet::new(),
            leaves: Vec::new(),
            gap: None,
        }
    }

    /// Everything that can be reached from the function's first byte.
    pub(super) fn decode(code: &Code<'a>) -> Self {
        let mut function = Self::new(code);
        function.explore(0, &mut { MAX_INSTRUCTIONS });
        function
    }

    /// The instruction at an offset, if it is reachable.
    pub(super) fn at(&self, offset: u64) -> Option<&Instruction> {
        self.instructions.get(&offset)
    }

    /// The bytes of the instruction at an offset.
    pub(super) fn bytes_at(&self, offset: u64) -> &'a [u8] {
        let length = self.at(offset).map_or(0, Instruction::len);
        let rest = self.code.bytes.get(offset as usize..).unwrap_or_default();
        rest.get(..length).unwrap_or_default()
    }

    /// The reachable instructions by offset.
    pub(super) fn instructions(&self) -> impl Iterator<Item = (u64, &Instruction)> {
        self.instructions.iter().map(|(&offset, instruction)| (offset, instruction))
    }

    /// Whether a branch of the function goes to an offset within `range`.
    pub(super) fn is_branch_target(&self, range: impl std::ops::RangeBounds<u64>) -> bool {
        self.branch_targets.range(range).next().is_some()
    }

    /// The direct branches out of the code.
    pub(super) fn leaves(&self) -> &[Leave] {
        &self.leaves
    }

    /// The first reason met why there may be more to the function than was decoded.
    pub(super) fn gap(&self) -> Option<Gap> {
        self.gap
    }

    /// Decodes what can be reached from `start`, beside what is known already, within a budget of instructions.
    pub(super) fn explore(&mut self, start: u64, budget: &mut usize) {
        let mut pending = vec![start];
        while let Some(offset) = pending.pop() {
            if self.instructions.contains_key(&offset) {
                continue;
            }
            let Some(left) = budget.checked_sub(1) else {
                self.note(Gap::TooLarge);
                return;
            };
            *budget = left;
            let Some(instruction) = self.decode_one(offset) else { continue };
            self.instructions.insert(offset, instruction);
            self.follow(offset, &instruction, &mut pending);
        }
    }

    fn decode_one(&mut self, offset: u64) -> Option<Instruction> {
        let rest = self.code.bytes.get(offset as usize..).unwrap_or_default();
        let address = self.code.address.wrapping_add(offset);
        let mut decoder = Decoder::with_ip(64, rest, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            let cut_off = decoder.last_error() == DecoderError::NoMoreBytes;
            self.note(if cut_off { Gap::RunsOut(offset) } else { Gap::Undecodable(offset) });
            return None;
        }
        Some(instruction)
    }

    fn follow(&mut self, offset: u64, instruction: &Instruction, pending: &mut Vec<u64>) {
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                self.fall_through(offset, instruction, pending);
            }
            FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
                self.branch(offset, instruction, pending);
                self.fall_through(offset, instruction, pending);
            }
            FlowControl::UnconditionalBranch => self.branch(offset, instruction, pending),
            FlowControl::IndirectBranch => self.note(Gap::IndirectJump(offset)),
            // `int n` comes back, `int3` stands where no path is meant to go.
            FlowControl::Interrupt if instruction.len() > 1 => {
                self.fall_through(offset, instruction, pending);
            }
            FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => {}
        }
    }

    fn fall_through(&mut self, offset: u64, instruction: &Instruction, pending: &mut Vec<u64>) {
        let next = offset.saturating_add(instruction.len() as u64);
        if next < self.code.bytes.len() as u64 {
            pending.push(next);
            return;
        }
        // Nothing follows a function's last call if what it calls does not return (abort, a throw).
        let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        if !(is_call && self.code.size_known) {
            self.note(Gap::RunsOut(offset));
        }
    }

    fn branch(&mut self, offset: u64, instruction: &Instruction, pending: &mut Vec<u64>) {
        let target = match instruction.op0_kind() {
            OpKind::NearBranch64 => instruction.near_branch64(),
            // xend, xabort, and branches with an operand-size prefix, on which processors disagree.
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::FarBranch16 | OpKind::FarBranch32 => {
                self.note(Gap::Undecodable(offset));
                return;
            }
            _ => return,
        };
        if let Some(inside) = self.code.offset_of(target) {
            self.branch_targets.insert(inside);
            pending.push(inside);
        } else {
            self.leaves.push(Leave { from: self.code.address.wrapping_add(offset), target });
        }
    }

    fn note(&mut self, gap: Gap) {
        self.gap.get_or_insert(gap);
    }
}
