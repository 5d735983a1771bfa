//! V8's functions in a stripped object, by the order of calls in an exported one.
//!
//! `v8::Isolate::GetHeapStatistics` asks the heap for one figure after the other and stores each in the structure that
//! its caller gave. Order and fields of the structure have been the same from V8 9.4 to 14.6: both must fit, or nothing
//! is recovered.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use crate::target::elf::Object;

/// The part of the function that is looked at.
const WINDOW: usize = 1024;
/// Where `HeapStatistics` keeps its figures.
const COMMITTED: u64 = 0x00;
const EXECUTABLE: u64 = 0x08;
const PHYSICAL: u64 = 0x10;
const AVAILABLE: u64 = 0x18;
const USED: u64 = 0x20;
const LIMIT: u64 = 0x28;
/// The order in which they are asked for.
const ORDER: [u64; 6] = [USED, PHYSICAL, COMMITTED, AVAILABLE, EXECUTABLE, LIMIT];

/// Addresses in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) size_of_objects: u64,
    pub(super) committed_memory: u64,
    pub(super) max_reserved: Option<u64>,
}

/// Recovers the functions from the code at `statistics`.
pub(super) fn recover(object: &Object, statistics: u64) -> Option<Recovered> {
    let code = object.code(statistics, WINDOW)?;
    let recovered = from_code(&code, statistics)?;
    let is_code = |at: u64| object.code(at, 16).is_some_and(|bytes| bytes.len() == 16);
    let all = [Some(recovered.size_of_objects), Some(recovered.committed_memory), recovered.max_reserved];
    all.into_iter().flatten().all(is_code).then_some(recovered)
}

fn from_code(code: &[u8], address: u64) -> Option<Recovered> {
    let stored = stores_of_results(code, address);
    let at = |field: u64| stored.iter().position(|(one, _)| *one == field);
    let start = at(USED)?;
    let in_order = stored.get(start..)?.iter().map(|(field, _)| *field);
    // The figure on code comes from several calls in some versions; the rest must stand as it always did.
    let known: Vec<u64> = in_order.filter(|field| ORDER.contains(field)).collect();
    let expected = ORDER.iter().filter(|field| known.contains(field));
    let fits = known.iter().eq(expected) && known.starts_with(&[USED, PHYSICAL, COMMITTED]);
    let function = |field: u64| stored.iter().find(|(one, _)| *one == field).map(|(_, function)| *function);
    let (used, committed) = (function(USED)?, function(COMMITTED)?);
    let mut targets: Vec<u64> = known.iter().filter_map(|field| function(*field)).collect();
    let count = targets.len();
    targets.sort_unstable();
    targets.dedup();
    let recovered =
        Recovered { size_of_objects: used, committed_memory: committed, max_reserved: function(LIMIT) };
    (fits && targets.len() == count).then_some(recovered)
}

/// Fields of the structure (the second argument) into which the result of a direct call is stored, with the address
/// that was called; in the order of the code.
fn stores_of_results(code: &[u8], address: u64) -> Vec<(u64, u64)> {
    let mut structure = Register::RSI;
    let (mut called, mut stored) = (None, Vec::new());
    for instruction in &mut Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        match instruction.flow_control() {
            FlowControl::Call => called = Some(instruction.near_branch_target()),
            FlowControl::IndirectCall => called = None,
            FlowControl::Return => break,
            _ => {}
        }
        if instruction.is_invalid() {
            break;
        }
        if is_move(&instruction, structure) && structure == Register::RSI {
            structure = instruction.op0_register();
        } else if let Some(field) = stored_field(&instruction, structure)
            && let Some(function) = called.take()
        {
            stored.push((field, function));
        }
    }
    stored
}

fn is_move(instruction: &Instruction, from: Register) -> bool {
    instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op1_register() == from
}

/// The offset at which `rax` is stored.
fn stored_field(instruction: &Instruction, structure: Register) -> Option<u64> {
    let stores = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register
        && instruction.op1_register() == Register::RAX
        && instruction.memory_base() == structure
        && instruction.memory_index() == Register::None;
    stores.then(|| instruction.memory_displacement64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `mov rbx, rsi`, then for each pair a call and a store of its result; `ret`.
    fn code(calls: &[(u8, u32)]) -> Vec<u8> {
        let mut code = vec![0x48, 0x89, 0xf3];
        for (field, target) in calls {
            let next = code.len() as u32 + 5;
            code.push(0xe8);
            code.extend(target.wrapping_sub(next).to_le_bytes());
            code.extend([0x48, 0x89, 0x43, *field]);
        }
        code.push(0xc3);
        code
    }

    const USUAL: [(u8, u32); 8] = [
        (0x68, 0x100),
        (0x60, 0x200),
        (0x20, 0x300),
        (0x10, 0x400),
        (0x00, 0x500),
        (0x18, 0x600),
        (0x08, 0x700),
        (0x28, 0x800),
    ];

    #[test]
    fn the_usual_order_gives_the_functions() {
        let expected =
            Recovered { size_of_objects: 0x300, committed_memory: 0x500, max_reserved: Some(0x800) };
        assert_eq!(from_code(&code(&USUAL), 0), Some(expected));
    }

    #[test]
    fn another_order_or_the_same_function_twice_gives_nothing() {
        let mut swapped = USUAL;
        swapped.swap(2, 4);
        assert_eq!(from_code(&code(&swapped), 0), None);
        let mut twice = USUAL;
        twice[4].1 = 0x300;
        assert_eq!(from_code(&code(&twice), 0), None);
        assert_eq!(from_code(&code(&USUAL[..4]), 0), None);
        assert_eq!(from_code(&[], 0), None);
    }

    proptest! {
        #[test]
        fn any_code_is_read_to_its_end(code in prop::collection::vec(any::<u8>(), 0..WINDOW)) {
            let _ = from_code(&code, 0x1000);
        }
    }
}
