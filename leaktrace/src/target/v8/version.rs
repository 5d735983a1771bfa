//! V8's version: `v8::V8::GetVersion` returns a pointer that stands in a variable, and so its code tells where.

use iced_x86::{Code, Decoder, DecoderOptions, Mnemonic, OpKind, Register};

/// Versions are shorter, with what the embedder adds: `13.6.233.17-node.53`.
const LONGEST: usize = 64;

/// Reads from the variable, by its address in the file, or from the string, by its address in memory; says whether all
/// was read.
type Read<'a> = &'a dyn Fn(u64, &mut [u8]) -> bool;

/// The version that the function with this code, at `address` of the file, returns.
pub(super) fn read(code: &[u8], address: u64, variable: Read<'_>, string: Read<'_>) -> Option<String> {
    let mut pointer = [0; 8];
    if !variable(variable_of(code, address)?, &mut pointer) {
        return None;
    }
    let start = u64::from_le_bytes(pointer);
    let mut text = Vec::new();
    for at in 0..LONGEST as u64 {
        let mut byte = [0];
        if !string(start.checked_add(at)?, &mut byte) || byte == [0] {
            break;
        }
        text.extend(byte);
    }
    let text = String::from_utf8(text).ok()?;
    is_version(&text).then_some(text)
}

/// The address that is loaded into `rax` before the function returns.
fn variable_of(code: &[u8], address: u64) -> Option<u64> {
    let mut found = None;
    for instruction in Decoder::with_ip(64, code, address, DecoderOptions::NONE).iter().take(8) {
        match instruction.mnemonic() {
            Mnemonic::Ret => return found,
            Mnemonic::Mov
                if instruction.code() == Code::Mov_r64_rm64
                    && instruction.op0_register() == Register::RAX
                    && instruction.op1_kind() == OpKind::Memory
                    && (instruction.is_ip_rel_memory_operand()
                        || instruction.memory_base() == Register::None) =>
            {
                found = Some(instruction.memory_displacement64());
            }
            Mnemonic::Push | Mnemonic::Pop | Mnemonic::Mov | Mnemonic::Endbr64 => {}
            _ => return None,
        }
    }
    None
}

/// Numbers with dots, perhaps with more behind a hyphen: it comes from the target, and goes into the output.
fn is_version(text: &str) -> bool {
    let numbers = text.split('-').next().unwrap_or_default();
    let all_numbers =
        numbers.split('.').all(|part| !part.is_empty() && part.bytes().all(|one| one.is_ascii_digit()));
    let plain = |one: u8| one.is_ascii_alphanumeric() || matches!(one, b'.' | b'-' | b'_' | b'+');
    all_numbers && numbers.split('.').count() >= 3 && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mov rax, [rip + 0x10]; ret`, with a frame around it or not.
    #[test]
    fn the_variable_is_found_with_and_without_a_frame() {
        assert_eq!(variable_of(&[0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0xc3], 0x1000), Some(0x1017));
        let framed = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0x5d, 0xc3];
        assert_eq!(variable_of(&framed, 0x1000), Some(0x101b));
        assert_eq!(variable_of(&[0xe8, 0, 0, 0, 0, 0xc3], 0), None);
        assert_eq!(variable_of(&[0xc3], 0), None);
    }

    #[test]
    fn only_what_looks_like_a_version_is_one() {
        for text in ["9.4.146.26-node.26", "14.6.202.34-node.34", "12.4.254"] {
            assert!(is_version(text), "{text}");
        }
        for text in ["", "1.2", "a.b.c", "1..2.3", "1.2.3-\u{1b}[31m", "1.2.3 x"] {
            assert!(!is_version(text), "{text}");
        }
    }

    #[test]
    fn a_version_is_read_through_the_variable() {
        let code = [0x48, 0x8b, 0x05, 0x10, 0, 0, 0, 0xc3];
        let variable = |at: u64, buffer: &mut [u8]| {
            buffer.copy_from_slice(&0x5000_u64.to_le_bytes());
            at == 0x1017
        };
        let text = b"11.3.244.8-node.38\0";
        let string = |at: u64, buffer: &mut [u8]| {
            let byte = text.get((at - 0x5000) as usize).copied();
            buffer.fill(byte.unwrap_or(0));
            byte.is_some()
        };
        assert_eq!(read(&code, 0x1000, &variable, &string).as_deref(), Some("11.3.244.8-node.38"));
    }
}
