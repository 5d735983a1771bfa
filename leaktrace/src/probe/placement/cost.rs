//! What a probe at an instruction costs, and whether the kernel takes one there.

use iced_x86::Instruction;

/// How the kernel gets past the probed instruction, cheapest first.
///
/// Decided by `branch_setup_xol_ops` and `push_setup_xol_ops` in the kernel's `arch/x86/kernel/uprobes.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostClass {
    /// The five-byte `nop`, which kernels from 6.18 replace by a call: no trap at all.
    Nop5,
    /// `push`, `nop`, `jmp`, `jcc`, `call`: one trap, and the kernel does the instruction's work itself.
    Emulated,
    /// Anything else: the kernel runs a copy of the instruction elsewhere, with a second trap after it.
    SingleStep,
}

impl CostClass {
    /// The name in the output's `cost_class`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nop5 => "nop5",
            Self::Emulated => "emulated",
            Self::SingleStep => "single_step",
        }
    }

    /// The class of an instruction, or `None` where a probe must not stand.
    pub(super) fn of(instruction: &Instruction, bytes: &[u8], nop5_is_cheap: bool) -> Option<Self> {
        let encoding = Encoding::split(bytes)?;
        if encoding.is_refused(instruction) || repeats(instruction) {
            return None;
        }
        if nop5_is_cheap && bytes == NOP5 {
            return Some(Self::Nop5);
        }
        Some(encoding.class())
    }
}

/// `nopl 0(%rax,%rax,1)`.
pub(super) const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// An instruction's bytes as the kernel's decoder divides them.
struct Encoding<'a> {
    prefixes: &'a [u8],
    rex: Option<u8>,
    opcode: u8,
    /// The second opcode byte, or whatever follows a one-byte opcode.
    second: Option<u8>,
}

impl<'a> Encoding<'a> {
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let is_prefix =
            |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
        let (prefixes, rest) =
            bytes.split_at_checked(bytes.iter().take_while(|byte| is_prefix(byte)).count())?;
        let (rex, rest) = match rest.split_first()? {
            (rex @ 0x40..=0x4f, rest) => (Some(*rex), rest),
            _ => (None, rest),
        };
        let (&opcode, rest) = rest.split_first()?;
        Some(Self { prefixes, rex, opcode, second: rest.first().copied() })
    }

    /// Whether the kernel refuses a probe here (`is_prefix_bad` and its tables of good opcodes), or would get the
    /// instruction wrong.
    fn is_refused(&self, instruction: &Instruction) -> bool {
        let bad_prefix = self.prefixes.iter().any(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0xf0));
        let bad_opcode = match self.opcode {
            // ins, outs, int3, int, into, iret, in, out, icebp, hlt, cli, sti; EVEX, which has no entry in the tables.
            0x62 | 0x6c..=0x6f | 0xcc..=0xcf | 0xe4..=0xe7 | 0xec..=0xef | 0xf1 | 0xf4 | 0xfa | 0xfb => true,
            // syscall, sysret, ud2 and the system instructions around them; wrmsr, sysenter, sysexit.
            0x0f => matches!(self.second, Some(0x00..=0x0b | 0x30 | 0x34..=0x37) | None),
            // With REX.B this is `xchg %r8,%rax`, which the kernel takes for a nop.
            0x90 => self.rex.is_some(),
            _ => false,
        };
        let operand_size = self.prefixes.contains(&0x66);
        bad_prefix || bad_opcode || (self.is_near_branch() && operand_size) || instruction.is_privileged()
    }

    fn is_near_branch(&self) -> bool {
        match self.opcode {
            0xe8 | 0xe9 | 0xeb | 0x70..=0x7f => true,
            0x0f => matches!(self.second, Some(0x80..=0x8f)),
            _ => false,
        }
    }

    fn class(&self) -> CostClass {
        let emulated = match self.opcode {
            0x50..=0x57 => self.prefixes.is_empty() && matches!(self.rex, None | Some(0x41)),
            0x90 => self.prefixes.is_empty(),
            _ => self.is_near_branch(),
        };
        if emulated { CostClass::Emulated } else { CostClass::SingleStep }
    }
}

/// A repeated string instruction traps after each element when it is single-stepped, and its address is still that
/// of the probe then: one call would count as many.
fn repeats(instruction: &Instruction) -> bool {
    (instruction.has_rep_prefix() || instruction.has_repne_prefix()) && instruction.is_string_instruction()
}
