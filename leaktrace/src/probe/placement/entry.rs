//! Places the probe that sees a function's calls with their arguments.

use iced_x86::{
    Code as Opcode, ConditionCode, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register, RflagsBits,
};
use leaktrace_common::Argument;
use thiserror::Error;

use super::cost::{CostClass, NOP5};
use super::function::{Code, Function, Gap};

/// What the program behind a probe wants to find when it fires.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// The arguments that it reads: their registers must not have been written yet.
    pub arguments: &'a [Argument],
    /// An argument of which NULL means that there is nothing to see (`free`): the probe may stand behind the
    /// function's own test of it, where such calls do not come by.
    pub null_test: Option<Argument>,
    /// Whether the kernel turns a probe on a five-byte `nop` into a call (6.18 and later on x86-64). Earlier ones
    /// single-step it.
    pub nop5_is_cheap: bool,
}

/// Where an entry probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes from the start of the function.
    pub offset: u64,
    /// What a hit costs there.
    pub cost: CostClass,
    /// Whether calls with NULL in [`Need::null_test`] pass by unseen.
    pub skips_null: bool,
    /// Why this place.
    pub why: &'static str,
}

/// Why no probe can stand at the entry of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// There is no code.
    #[error("the function has no code")]
    Empty,
    /// The first bytes are no instruction.
    #[error("the function's first bytes are no instruction")]
    Undecodable,
    /// The kernel takes no probe at the only places that would do.
    #[error("the kernel takes no probe on the function's first instruction")]
    Unprobeable,
}

/// The cheapest instruction that every call passes exactly once, with the needed arguments still in their registers
/// and the stack pointer still at the return address.
pub fn place_entry(code: &Code<'_>, need: &Need<'_>) -> Result<Placement, PlacementError> {
    if code.bytes.is_empty() {
        return Err(PlacementError::Empty);
    }
    let function = Function::decode(code);
    let first = function.at(0).ok_or(PlacementError::Undecodable)?;
    if let Some(why) = only_the_first_byte(&function) {
        let cost = CostClass::of(first, function.bytes_at(0), need.nop5_is_cheap);
        let cost = cost.ok_or(PlacementError::Unprobeable)?;
        return Ok(Placement { offset: 0, cost, skips_null: false, why });
    }
    let candidates = EntryWalk::new(&function, need).candidates();
    let best = candidates.into_iter().min_by_key(|place| (place.cost, !place.skips_null, place.offset));
    best.ok_or(PlacementError::Unprobeable)
}

/// Where a function that does nothing but jump elsewhere jumps to: a probe there sees all its calls as well.
pub fn forwards_to(code: &Code<'_>) -> Option<u64> {
    let function = Function::decode(code);
    let mut offset = 0;
    while let Some(instruction) = function.at(offset) {
        if instruction.is_jmp_short_or_near() && instruction.op0_kind() == OpKind::NearBranch64 {
            let target = instruction.near_branch64();
            let within = code.offset_of(target);
            // A window of unknown size may show the next function too; only the way here is surely ours.
            let is_own = within.is_some_and(|target| code.size_known || target <= offset);
            return (!is_own).then_some(target);
        }
        if !does_nothing(instruction) {
            return None;
        }
        offset = offset.saturating_add(instruction.len() as u64);
    }
    None
}

/// The address of the pointer that a PLT stub (`jmp *slot(%rip)`) jumps through, if the code is one: the relocation
/// of that slot tells which function is meant.
pub fn stub_slot(code: &Code<'_>) -> Option<u64> {
    let function = Function::decode(code);
    let mut offset = 0;
    loop {
        let instruction = function.at(offset)?;
        if instruction.code() == Opcode::Jmp_rm64 && instruction.is_ip_rel_memory_operand() {
            return Some(instruction.ip_rel_memory_address());
        }
        if !does_nothing(instruction) {
            return None;
        }
        offset = offset.saturating_add(instruction.len() as u64);
    }
}

fn does_nothing(instruction: &Instruction) -> bool {
    matches!(
        instruction.code(),
        Opcode::Endbr64
            | Opcode::Nopd
            | Opcode::Nopw
            | Opcode::Nopq
            | Opcode::Nop_rm16
            | Opcode::Nop_rm32
            | Opcode::Nop_rm64
    )
}

/// Why nothing but the function's first byte is known to be passed once by every call.
fn only_the_first_byte(function: &Function<'_>) -> Option<&'static str> {
    if function.is_branch_target(0..=0) {
        return Some("the function jumps back to its own start");
    }
    match function.gap() {
        Some(Gap::TooLarge) => Some("the function is too large to be decoded"),
        Some(Gap::Undecodable(_)) => Some("part of the function is not decodable"),
        Some(Gap::RunsOut(_)) => Some("a path runs past the known code"),
        Some(Gap::IndirectJump(_)) => Some("an indirect jump might come back"),
        // Where the end of a function is not known, that may be a part of it, which may jump back.
        None if !function.code.size_known && !function.leaves().is_empty() => {
            Some("a branch leaves the known code")
        }
        None => None,
    }
}

/// The straight way in: from the first instruction to the first one that spoils what a probe needs.
struct EntryWalk<'a> {
    function: &'a Function<'a>,
    need: &'a Need<'a>,
    kept: Vec<Register>,
    null_tested: Register,
    skips_null: bool,
    /// Whether the zero flag tells if `null_tested` is NULL.
    zero_means_null: bool,
    info: InstructionInfoFactory,
}

impl<'a> EntryWalk<'a> {
    fn new(function: &'a Function<'a>, need: &'a Need<'a>) -> Self {
        let null_tested = need.null_test.map_or(Register::None, register);
        let mut kept: Vec<Register> = need.arguments.iter().copied().map(register).collect();
        kept.extend([Register::RSP, null_tested]);
        kept.retain(|register| *register != Register::None);
        Self {
            function,
            need,
            kept,
            null_tested,
            skips_null: false,
            zero_means_null: false,
            info: InstructionInfoFactory::new(),
        }
    }

    fn candidates(mut self) -> Vec<Placement> {
        let mut found = Vec::new();
        let mut offset = 0;
        while let Some(instruction) = self.function.at(offset) {
            // Whoever jumps between the entry and here would come by a second time, or for the first time late.
            if offset > 0 && self.function.is_branch_target(1..=offset) {
                break;
            }
            found.extend(self.candidate(offset, instruction));
            if !self.passes(instruction) {
                break;
            }
            offset = offset.saturating_add(instruction.len() as u64);
        }
        found
    }

    fn candidate(&self, offset: u64, instruction: &Instruction) -> Option<Placement> {
        let bytes = self.function.bytes_at(offset);
        let cost = CostClass::of(instruction, bytes, self.need.nop5_is_cheap)?;
        // The kernel rewrites all five bytes of this one.
        if bytes == NOP5 && self.function.is_branch_target(offset + 1..offset + NOP5.len() as u64) {
            return None;
        }
        // An emulated call leaves a user shadow stack behind on some kernels; no function needs to be probed there.
        if offset > 0 && matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            return None;
        }
        let why = match (offset, self.skips_null) {
            (0, _) => "the first instruction",
            (_, false) => "cheapest instruction before an argument or the stack changes",
            (_, true) => "behind the test for NULL",
        };
        Some(Placement { offset, cost, skips_null: self.skips_null, why })
    }

    /// Whether all that a probe needs still holds behind an instruction.
    fn passes(&mut self, instruction: &Instruction) -> bool {
        match instruction.flow_control() {
            FlowControl::Next => {
                self.note_zero_flag(instruction);
                !self.spoils(instruction)
            }
            FlowControl::ConditionalBranch => {
                // Only `je`: behind a `jne` lies the NULL side.
                let is_je = instruction.is_jcc_short_or_near()
                    && instruction.condition_code() == ConditionCode::e
                    && self.zero_means_null;
                self.skips_null |= is_je;
                is_je
            }
            _ => false,
        }
    }

    fn note_zero_flag(&mut self, instruction: &Instruction) {
        if tests_for_null(instruction, self.null_tested) {
            self.zero_means_null = true;
        } else if instruction.rflags_modified() & RflagsBits::ZF != 0 {
            self.zero_means_null = false;
        }
    }

    fn spoils(&mut self, instruction: &Instruction) -> bool {
        let kept = &self.kept;
        let written = |access| {
            matches!(
                access,
                OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            )
        };
        let used = self.info.info(instruction).used_registers();
        used.iter().any(|used| written(used.access()) && kept.contains(&used.register().full_register()))
    }
}

/// `test reg,reg` or `cmp $0,reg` on all 64 bits.
fn tests_for_null(instruction: &Instruction, pointer: Register) -> bool {
    if pointer == Register::None
        || instruction.op0_kind() != OpKind::Register
        || instruction.op0_register() != pointer
    {
        return false;
    }
    match instruction.code() {
        Opcode::Test_rm64_r64 => instruction.op1_register() == pointer,
        Opcode::Cmp_rm64_imm8 | Opcode::Cmp_rm64_imm32 => instruction.immediate(1) == 0,
        _ => false,
    }
}

fn register(argument: Argument) -> Register {
    match argument {
        Argument::First => Register::RDI,
        Argument::Second => Register::RSI,
        Argument::Third => Register::RDX,
        Argument::Fourth => Register::RCX,
        Argument::None => Register::None,
    }
}
