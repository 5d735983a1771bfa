//! Decoding of a target's code: arbitrary bytes must neither panic nor hang, and decisions stay within them.
#![no_main]

use leaktrace::probe::placement::{
    Code, Need, compare_live, forwards_to, place_entry, return_sites, stub_slot,
};
use leaktrace_common::Argument;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, u8, Vec<u8>)| {
    let (address, choices, bytes) = input;
    let bytes = bytes.as_slice();
    let code = Code { address, bytes, size_known: choices & 1 != 0 };
    let need = Need {
        arguments: if choices & 2 != 0 { &[Argument::First, Argument::Second] } else { &[Argument::First] },
        null_test: (choices & 4 != 0).then_some(Argument::First),
        nop5_is_cheap: choices & 8 != 0,
    };
    if let Ok(placed) = place_entry(&code, &need) {
        assert!(placed.offset < bytes.len() as u64);
    }
    forwards_to(&code);
    stub_slot(&code);
    // Half of the bytes stand for another function, wherever a jump leads.
    let (_, other) = bytes.split_at(bytes.len() / 2);
    let lookup = |target: u64| {
        (!target.is_multiple_of(3)).then_some(Code { address: target, bytes: other, size_known: true })
    };
    if let Ok(found) = return_sites(&code, &lookup, &|target| target.is_multiple_of(5)) {
        assert!(found.sites.is_sorted_by(|left, right| left.address < right.address));
    }
    let mut live = bytes.to_vec();
    if let Some(byte) = live.get_mut(usize::from(choices)) {
        *byte = 0xcc;
    }
    compare_live(&code, &live);
});
