//! Live code against the file's.

use super::function;
use crate::probe::placement::{Code, LiveText, compare_live};

/// endbr64; nop5; push %rbp; mov %rdi,%rbx; ret
const CODE: [u8; 14] = [0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x48, 0x89, 0xfb, 0xc3];

fn changed(changes: &[(usize, u8)]) -> LiveText {
    let mut live = CODE;
    for &(index, byte) in changes {
        live[index] = byte;
    }
    compare_live(&function(&CODE), &live)
}

#[test]
fn probes_at_boundaries_are_told_from_other_changes() {
    assert_eq!(changed(&[]), LiveText::Same);
    assert_eq!(changed(&[(0, 0xcc), (9, 0xcc)]), LiveText::OtherProbes(vec![0, 9]));
    assert_eq!(changed(&[(11, 0xcc)]), LiveText::Different { offset: 11 }, "inside an instruction");
    assert_eq!(changed(&[(9, 0x90)]), LiveText::Different { offset: 9 }, "no breakpoint");
    assert_eq!(changed(&[(0, 0xcc), (1, 0x0e)]), LiveText::Different { offset: 1 }, "more than a breakpoint");
}

#[test]
fn optimised_nops_are_probes() {
    let call = [(4, 0xe8), (5, 0x11), (6, 0x22), (7, 0x33), (8, 0x44)];
    assert_eq!(changed(&call), LiveText::OtherProbes(vec![4]));
    let half_way = [(4, 0xcc), (5, 0x11), (6, 0x22), (7, 0x33), (8, 0x44)];
    assert_eq!(changed(&half_way), LiveText::OtherProbes(vec![4]));
    assert_eq!(changed(&[(5, 0x11)]), LiveText::Different { offset: 5 }, "an operand without its call");
    assert_eq!(changed(&[(9, 0xe8)]), LiveText::Different { offset: 9 }, "a call over something else");
}

#[test]
fn missing_bytes_are_a_difference() {
    assert_eq!(compare_live(&function(&CODE), &CODE[..3]), LiveText::Different { offset: 3 });
    assert_eq!(compare_live(&function(&[]), &[]), LiveText::Same);
}

#[test]
fn of_a_window_only_the_function_counts() {
    let mut bytes = CODE.to_vec();
    bytes.extend([0x90, 0x90]);
    let mut live = bytes.clone();
    live[15] = 0x12;
    let window = Code { size_known: false, ..function(&bytes) };
    assert_eq!(compare_live(&window, &live), LiveText::Same);
    assert_eq!(compare_live(&function(&bytes), &live), LiveText::Different { offset: 15 });
    live[12] = 0x12;
    assert_eq!(compare_live(&window, &live), LiveText::Different { offset: 12 });
}
