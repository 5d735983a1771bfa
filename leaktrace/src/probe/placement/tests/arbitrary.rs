//! Arbitrary bytes: nothing panics, and what is decided keeps its promises.

use leaktrace_common::Argument;
use proptest::prelude::*;

use crate::probe::placement::{Code, LiveText, Need, compare_live, forwards_to, place_entry, return_sites};

/// Bytes in which instructions that matter are frequent.
fn code_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any::<u8>().prop_map(|byte| vec![byte]),
        1 => Just(vec![0xf3, 0x0f, 0x1e, 0xfa]),
        1 => Just(vec![0x0f, 0x1f, 0x44, 0x00, 0x00]),
        2 => Just(vec![0x48, 0x85, 0xff]),
        2 => any::<i8>().prop_map(|to| vec![0x74, to as u8]),
        1 => any::<i8>().prop_map(|to| vec![0xeb, to as u8]),
        1 => (0x50_u8..0x60).prop_map(|byte| vec![byte]),
        1 => (0xc0_u8..=0xff).prop_map(|operands| vec![0x48, 0x89, operands]),
        1 => Just(vec![0xc3]),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn argument() -> impl Strategy<Value = Argument> {
    prop::sample::select(vec![
        Argument::First,
        Argument::Second,
        Argument::Third,
        Argument::Fourth,
        Argument::None,
    ])
}

/// Whether walking straight from the first byte comes by an offset.
fn is_on_straight_line(bytes: &[u8], wanted: u64) -> bool {
    let decoder = iced_x86::Decoder::with_ip(64, bytes, 0, iced_x86::DecoderOptions::NONE);
    decoder.into_iter().take_while(|instruction| !instruction.is_invalid()).any(|one| one.ip() == wanted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn placements_are_boundaries_within_the_code(
        bytes in code_bytes(),
        address in any::<u64>(),
        size_known in any::<bool>(),
        arguments in prop::collection::vec(argument(), 0..3),
        null_test in prop::option::of(argument()),
        nop5_is_cheap in any::<bool>(),
    ) {
        let code = Code { address, bytes: &bytes, size_known };
        let need = Need { arguments: &arguments, null_test, nop5_is_cheap };
        if let Ok(placed) = place_entry(&code, &need) {
            prop_assert!(placed.offset < bytes.len() as u64);
            prop_assert!(is_on_straight_line(&bytes, placed.offset));
            prop_assert!(!placed.skips_null || null_test.is_some());
        }
        if let Some(target) = forwards_to(&code) {
            prop_assert_ne!(target, address);
        }
    }

    #[test]
    fn returns_are_returns(bytes in code_bytes(), address in any::<u64>(), size_known in any::<bool>()) {
        let code = Code { address, bytes: &bytes, size_known };
        let lookup = |target: u64| target.is_multiple_of(3).then_some(Code { address: target, ..code });
        if let Ok(found) = return_sites(&code, &lookup, &|target| target.is_multiple_of(5)) {
            for site in &found.sites {
                let starts = std::iter::once(address).chain(found.followed.iter().copied());
                let mut rests = starts.filter_map(|start| bytes.get(site.address.wrapping_sub(start) as usize..));
                let is_return = |rest: &[u8]| rest.iter().take(15).any(|byte| matches!(byte, 0xc2 | 0xc3));
                prop_assert!(rests.any(is_return));
            }
        }
    }

    #[test]
    fn only_breakpoints_explain_a_difference(
        bytes in code_bytes(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![Just(0xcc), any::<u8>()]), 0..4),
        size_known in any::<bool>(),
    ) {
        let code = Code { address: 0x4000, bytes: &bytes, size_known };
        prop_assert_eq!(compare_live(&code, &bytes), LiveText::Same);
        let mut live = bytes.clone();
        if !live.is_empty() {
            for (index, byte) in &flips {
                let index = index.index(live.len());
                live[index] = *byte;
            }
        }
        match compare_live(&code, &live) {
            LiveText::Same => prop_assert!(live == bytes || !size_known),
            LiveText::OtherProbes(offsets) => {
                prop_assert!(!offsets.is_empty());
                for offset in offsets {
                    prop_assert!(matches!(live[offset as usize], 0xcc | 0xe8));
                    prop_assert_ne!(live[offset as usize], bytes[offset as usize]);
                }
            }
            LiveText::Different { offset } => prop_assert_ne!(live[offset as usize], bytes[offset as usize]),
        }
    }
}
