//! What a small function of the target would return, by evaluating its code without calling it.
//!
//! For functions that only compute from what they read: no branch, no call, no store. Anything else gives no answer.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// Longer functions are not evaluated.
const MAX_INSTRUCTIONS: usize = 32;

/// Reads the target's memory; says whether all was read.
type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// The result of the function with this code at `address`, called with `argument` as its first one.
pub(super) fn evaluate(code: &[u8], address: u64, argument: u64, read: Read<'_>) -> Option<u64> {
    let mut machine = Machine { registers: [0; 16], carry: false, read };
    machine.set(Register::RDI, argument)?;
    let instructions = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    for instruction in instructions.into_iter().take(MAX_INSTRUCTIONS) {
        if instruction.mnemonic() == Mnemonic::Ret {
            return machine.get(Register::RAX);
        }
        machine.step(&instruction)?;
    }
    None
}

struct Machine<'a> {
    registers: [u64; 16],
    carry: bool,
    read: Read<'a>,
}

impl Machine<'_> {
    fn step(&mut self, instruction: &Instruction) -> Option<()> {
        let operand = |machine: &Self, index| machine.operand(instruction, index);
        match instruction.mnemonic() {
            // The frame pointer is kept and given back: nothing of the result depends on it.
            Mnemonic::Push | Mnemonic::Pop => (instruction.op0_register() == Register::RBP).then_some(()),
            Mnemonic::Endbr64 | Mnemonic::Nop => Some(()),
            Mnemonic::Mov | Mnemonic::Movzx => {
                let value = operand(self, 1)?;
                self.write(instruction, value)
            }
            Mnemonic::Lea => {
                let address = self.address(instruction, 1)?;
                self.write(instruction, address)
            }
            Mnemonic::Cmp => {
                self.carry = operand(self, 0)? < operand(self, 1)?;
                Some(())
            }
            Mnemonic::Adc => {
                let sum =
                    operand(self, 0)?.wrapping_add(operand(self, 1)?).wrapping_add(u64::from(self.carry));
                self.write(instruction, sum)
            }
            Mnemonic::Imul => {
                let (a, b) = match instruction.op_count() {
                    2 => (operand(self, 0)?, operand(self, 1)?),
                    3 => (operand(self, 1)?, operand(self, 2)?),
                    _ => return None,
                };
                self.write(instruction, a.wrapping_mul(b))
            }
            arithmetic => {
                let (a, b) = (operand(self, 0)?, operand(self, 1)?);
                let result = match arithmetic {
                    Mnemonic::Add => a.wrapping_add(b),
                    Mnemonic::Sub => a.wrapping_sub(b),
                    Mnemonic::Xor => a ^ b,
                    Mnemonic::And => a & b,
                    Mnemonic::Or => a | b,
                    // The processor takes the count modulo the width.
                    Mnemonic::Shl | Mnemonic::Sal if size_of_operand(instruction, 0) == 8 => a << (b & 63),
                    Mnemonic::Shr if size_of_operand(instruction, 0) == 8 => a >> (b & 63),
                    _ => return None,
                };
                self.write(instruction, result)
            }
        }
    }

    fn operand(&self, instruction: &Instruction, index: u32) -> Option<u64> {
        match instruction.op_kind(index) {
            OpKind::Register => self.get(instruction.op_register(index)),
            OpKind::Memory => {
                let mut bytes = [0; 8];
                let size = instruction.memory_size().size();
                let wanted = bytes.get_mut(..size).filter(|wanted| !wanted.is_empty())?;
                (self.read)(self.address(instruction, index)?, wanted).then_some(u64::from_le_bytes(bytes))
            }
            _ => instruction.try_immediate(index).ok(),
        }
    }

    fn address(&self, instruction: &Instruction, index: u32) -> Option<u64> {
        instruction.virtual_address(index, 0, |register, _, _| match register {
            Register::CS | Register::DS | Register::ES | Register::SS => Some(0),
            other => self.get(other),
        })
    }

    fn get(&self, register: Register) -> Option<u64> {
        let full = *self.registers.get(index_of(register)?)?;
        match register.size() {
            8 => Some(full),
            4 => Some(u64::from(full as u32)),
            2 => Some(u64::from(full as u16)),
            1 if !is_high_byte(register) => Some(u64::from(full as u8)),
            _ => None,
        }
    }

    fn write(&mut self, instruction: &Instruction, value: u64) -> Option<()> {
        (instruction.op0_kind() == OpKind::Register).then_some(())?;
        self.set(instruction.op0_register(), value)
    }

    fn set(&mut self, register: Register, value: u64) -> Option<()> {
        let size = register.size();
        let slot = self.registers.get_mut(index_of(register)?)?;
        *slot = match size {
            8 => value,
            // Half a register clears the other half; less leaves the rest.
            4 => u64::from(value as u32),
            2 => (*slot & !0xffff) | u64::from(value as u16),
            1 if !is_high_byte(register) => (*slot & !0xff) | u64::from(value as u8),
            _ => return None,
        };
        Some(())
    }
}

fn index_of(register: Register) -> Option<usize> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number())
}

const fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::BH | Register::CH | Register::DH)
}

fn size_of_operand(instruction: &Instruction, index: u32) -> usize {
    instruction.op_register(index).size()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Young and old generation as V8 keeps them: 16 MiB and 2 GiB; a flag at 0x1234.
    fn heap(flag: u8) -> impl Fn(u64, &mut [u8]) -> bool {
        move |at, buffer: &mut [u8]| {
            let value: u64 = match at {
                0x8060 | 0x8030 => 16 << 20,
                0x8078 | 0x8048 | 0x8050 => 2 << 30,
                0x1234 => u64::from(flag),
                _ => return false,
            };
            let bytes = value.to_le_bytes();
            buffer.copy_from_slice(&bytes[..buffer.len()]);
            true
        }
    }

    /// The code of Node 16, 22 and 24, whose three forms differ.
    #[test]
    fn the_limit_is_computed_as_v8_does() {
        let node_16 =
            [0x48, 0x8b, 0x47, 0x60, 0x48, 0x8b, 0x57, 0x78, 0x48, 0x8d, 0x04, 0x40, 0x48, 0x01, 0xd0, 0xc3];
        assert_eq!(evaluate(&node_16, 0, 0x8000, &heap(0)), Some((48 << 20) + (2 << 30)));
        // cmpb $1, 0x1234; mov $2, %eax; mov 0x48(%rdi), %rdx; adc $0, %rax; imul 0x30(%rdi), %rax; add %rdx, %rax
        let node_22 = [
            0x80, 0x3d, 0x2d, 0x02, 0, 0, 0x01, 0xb8, 2, 0, 0, 0, 0x48, 0x8b, 0x57, 0x48, 0x48, 0x83, 0xd0,
            0, 0x48, 0x0f, 0xaf, 0x47, 0x30, 0x48, 0x01, 0xd0, 0xc3,
        ];
        assert_eq!(evaluate(&node_22, 0x1000, 0x8000, &heap(0)), Some((48 << 20) + (2 << 30)));
        assert_eq!(evaluate(&node_22, 0x1000, 0x8000, &heap(1)), Some((32 << 20) + (2 << 30)));
        // movzbl 0x1234, %edx; mov $3, %eax; sub %rdx, %rax; imul 0x30(%rdi), %rax; mov 0x50(%rdi), %rdx; add
        let node_24 = [
            0x0f, 0xb6, 0x15, 0x2d, 0x02, 0, 0, 0xb8, 3, 0, 0, 0, 0x48, 0x29, 0xd0, 0x48, 0x0f, 0xaf, 0x47,
            0x30, 0x48, 0x8b, 0x57, 0x50, 0x48, 0x01, 0xd0, 0xc3,
        ];
        assert_eq!(evaluate(&node_24, 0x1000, 0x8000, &heap(1)), Some((32 << 20) + (2 << 30)));
    }

    #[test]
    fn what_branches_calls_or_stores_has_no_answer() {
        for code in
            [&[0xe8, 0, 0, 0, 0, 0xc3][..], &[0x74, 0, 0xc3], &[0x48, 0x89, 0x07, 0xc3], &[0x90; 64], &[]]
        {
            assert_eq!(evaluate(code, 0, 0x8000, &heap(0)), None);
        }
        // A read that fails.
        assert_eq!(evaluate(&[0x48, 0x8b, 0x07, 0xc3], 0, 0, &heap(0)), None);
    }

    proptest! {
        #[test]
        fn any_code_ends(code in prop::collection::vec(any::<u8>(), 0..64), argument in any::<u64>()) {
            let _ = evaluate(&code, 0x1000, argument, &|_, buffer| { buffer.fill(7); true });
        }
    }
}
