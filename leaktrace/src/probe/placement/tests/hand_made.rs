//! Functions assembled by hand, each with one trap for the placement in it.

use leaktrace_common::Argument;

use super::{POINTER, SIZE, function};
use crate::probe::placement::{
    Code, CostClass, Need, Placement, PlacementError, forwards_to, place_entry, stub_slot,
};

fn place(bytes: &[u8], need: &Need<'_>) -> Placement {
    place_entry(&function(bytes), need).unwrap()
}

#[track_caller]
fn assert_placed(bytes: &[u8], need: &Need<'_>, offset: u64, cost: CostClass, skips_null: bool) {
    let placed = place(bytes, need);
    assert_eq!((placed.offset, placed.cost, placed.skips_null), (offset, cost, skips_null), "{}", placed.why);
}

use CostClass::{Emulated, Nop5, SingleStep};

#[test]
fn the_first_push_is_taken() {
    // push %r12; push %rbp; ret
    assert_placed(&[0x41, 0x54, 0x55, 0xc3], &SIZE, 0, Emulated, false);
}

#[test]
fn nothing_behind_a_push_is_taken() {
    // push with an operand-size prefix (single-stepped), then cheap ones
    assert_placed(&[0x66, 0x50, 0x55, 0x90, 0xc3], &SIZE, 0, SingleStep, false);
    // A push with REX.W is single-stepped, and nothing cheaper behind it is taken.
    assert_placed(&[0x48, 0x50, 0x55, 0xc3], &SIZE, 0, SingleStep, false);
    // sub $8,%rsp; nop; ret
    assert_placed(&[0x48, 0x83, 0xec, 0x08, 0x90, 0xc3], &SIZE, 0, SingleStep, false);
    // lea -8(%rsp),%rsp; push
    assert_placed(&[0x48, 0x8d, 0x64, 0x24, 0xf8, 0x55, 0xc3], &SIZE, 0, SingleStep, false);
}

#[test]
fn endbr64_is_passed() {
    assert_placed(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x5d, 0xc3], &SIZE, 4, Emulated, false);
}

#[test]
fn the_null_test_of_free_is_passed() {
    // test %rdi,%rdi; je +2; push %rbp; pop %rbp; ret
    let with_test = [0x48, 0x85, 0xff, 0x74, 0x02, 0x55, 0x5d, 0xc3];
    assert_placed(&with_test, &POINTER, 5, Emulated, true);
    // Without leave to miss NULL, the branch itself is the cheapest instruction.
    assert_placed(&with_test, &SIZE, 3, Emulated, false);
    // cmp $0,%rdi; je; push
    assert_placed(&[0x48, 0x83, 0xff, 0x00, 0x74, 0x02, 0x55, 0x5d, 0xc3], &POINTER, 6, Emulated, true);
    // A move between test and branch leaves the flags alone.
    let apart = [0x48, 0x85, 0xff, 0x48, 0x89, 0xf8, 0x74, 0x02, 0x55, 0x5d, 0xc3];
    assert_placed(&apart, &POINTER, 8, Emulated, true);
}

#[test]
fn other_branches_are_not_passed() {
    // test %rdi,%rdi; jne: NULL falls through
    assert_placed(&[0x48, 0x85, 0xff, 0x75, 0x02, 0x55, 0x5d, 0xc3], &POINTER, 3, Emulated, false);
    // test %rsi,%rsi; je: another register
    assert_placed(&[0x48, 0x85, 0xf6, 0x74, 0x02, 0x55, 0x5d, 0xc3], &POINTER, 3, Emulated, false);
    // test %edi,%edi; je: only half of the pointer
    assert_placed(&[0x85, 0xff, 0x74, 0x02, 0x55, 0x5d, 0xc3], &POINTER, 2, Emulated, false);
    // test %rdi,%rsi; je
    assert_placed(&[0x48, 0x85, 0xf7, 0x74, 0x02, 0x55, 0x5d, 0xc3], &POINTER, 3, Emulated, false);
    // cmp $1,%rdi; je
    assert_placed(&[0x48, 0x83, 0xff, 0x01, 0x74, 0x02, 0x55, 0x5d, 0xc3], &POINTER, 4, Emulated, false);
    // test %rdi,%rdi; xor %eax,%eax; je: other flags by now
    assert_placed(
        &[0x48, 0x85, 0xff, 0x31, 0xc0, 0x74, 0x02, 0x55, 0x5d, 0xc3],
        &POINTER,
        5,
        Emulated,
        false,
    );
    // jrcxz (single-stepped) as the first instruction
    assert_placed(&[0xe3, 0x01, 0x55, 0xc3], &SIZE, 0, SingleStep, false);
}

#[test]
fn nothing_behind_a_written_argument_is_taken() {
    // mov %rsi,%rdi; push
    assert_placed(&[0x48, 0x89, 0xf7, 0x55, 0x5d, 0xc3], &SIZE, 0, SingleStep, false);
    // mov $0,%dil; push: part of the register
    assert_placed(&[0x40, 0xb7, 0x00, 0x55, 0x5d, 0xc3], &SIZE, 0, SingleStep, false);
    // cmove %rsi,%rdi; push: perhaps
    assert_placed(&[0x48, 0x0f, 0x44, 0xfe, 0x55, 0x5d, 0xc3], &SIZE, 0, SingleStep, false);
    // mul %rsi writes %rdx behind the scenes
    let mul = [0x48, 0xf7, 0xe6, 0x55, 0x5d, 0xc3];
    let third = Need { arguments: &[Argument::First, Argument::Third], ..SIZE };
    assert_placed(&mul, &third, 0, SingleStep, false);
    assert_placed(&mul, &SIZE, 3, Emulated, false);
    // An argument that the function does not have is not kept.
    assert_placed(&mul, &Need { arguments: &[Argument::First, Argument::None], ..SIZE }, 3, Emulated, false);
}

#[test]
fn a_loop_back_is_respected() {
    // mov %rdi,%rax; 3: mov %rsi,%rcx; 6: push; pop; jne 3
    let back_to_3 = [0x48, 0x89, 0xf8, 0x48, 0x89, 0xf1, 0x55, 0x5d, 0x75, 0xf9, 0xc3];
    assert_placed(&back_to_3, &SIZE, 0, SingleStep, false);
    // The same, back to the push itself.
    let back_to_6 = [0x48, 0x89, 0xf8, 0x48, 0x89, 0xf1, 0x55, 0x5d, 0x75, 0xfc, 0xc3];
    assert_placed(&back_to_6, &SIZE, 0, SingleStep, false);
    // Back behind the push: harmless.
    let back_to_7 = [0x48, 0x89, 0xf8, 0x48, 0x89, 0xf1, 0x55, 0x5d, 0x75, 0xfd, 0xc3];
    assert_placed(&back_to_7, &SIZE, 6, Emulated, false);
    // Back to the entry: every place sees the loop.
    let back_to_0 = [0x48, 0x89, 0xf8, 0x55, 0x5d, 0x75, 0xf9, 0xc3];
    assert_eq!(place(&back_to_0, &SIZE).why, "the function jumps back to its own start");
    assert_placed(&back_to_0, &SIZE, 0, SingleStep, false);
}

#[test]
fn what_is_not_understood_keeps_to_the_first_byte() {
    // mov; push; pop; jmp *%rax
    assert_placed(&[0x48, 0x89, 0xf8, 0x55, 0x5d, 0xff, 0xe0], &SIZE, 0, SingleStep, false);
    // mov; push; then no instruction
    assert_placed(&[0x48, 0x89, 0xf8, 0x55, 0x06, 0xc3], &SIZE, 0, SingleStep, false);
    // mov; push; cut off within an instruction
    assert_placed(&[0x48, 0x89, 0xf8, 0x55, 0x48, 0x8b], &SIZE, 0, SingleStep, false);
    // mov; push; and no end
    assert_placed(&[0x48, 0x89, 0xf8, 0x55], &SIZE, 0, SingleStep, false);
    // A last call that does not return is an end.
    assert_placed(&[0x48, 0x89, 0xf8, 0x55, 0xe8, 0, 0, 0, 0], &SIZE, 3, Emulated, false);
}

#[test]
fn a_window_must_show_all_paths() {
    let jump_out = [0x48, 0x89, 0xf8, 0x55, 0x5d, 0xe9, 0x00, 0x10, 0x00, 0x00];
    let known = function(&jump_out);
    assert_eq!(place_entry(&known, &SIZE).unwrap().offset, 3);
    let window = Code { size_known: false, ..known };
    assert_eq!(place_entry(&window, &SIZE).unwrap().offset, 0);
    let closed = [0x48, 0x89, 0xf8, 0x55, 0x5d, 0xc3, 0xff, 0xff, 0xff];
    let window = Code { size_known: false, ..function(&closed) };
    assert_eq!(place_entry(&window, &SIZE).unwrap().offset, 3, "bytes that no path reaches do not matter");
}

#[test]
fn five_byte_nops_are_cheap_where_the_kernel_knows_them() {
    // push %rax would do as well, but comes later
    let nop5 = [0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x5d, 0xc3];
    assert_placed(&nop5, &SIZE, 0, Nop5, false);
    assert_placed(&nop5, &Need { nop5_is_cheap: false, ..SIZE }, 5, Emulated, false);
    // A branch into the nop: the kernel must not rewrite its five bytes (00 00 is `add %al,(%rax)`).
    let entered = [0x0f, 0x1f, 0x44, 0x00, 0x00, 0x55, 0x5d, 0x75, 0xfa, 0xc3];
    assert_eq!(place_entry(&function(&entered), &SIZE), Err(PlacementError::Unprobeable));
}

#[test]
fn instructions_that_the_kernel_refuses_are_avoided() {
    // lock incl (%rsi); push
    assert_placed(&[0xf0, 0xff, 0x06, 0x55, 0x5d, 0xc3], &SIZE, 3, Emulated, false);
    // notrack-like prefix on a nop (3e 90); push
    assert_placed(&[0x3e, 0x90, 0x55, 0x5d, 0xc3], &SIZE, 2, Emulated, false);
    // xchg %r8,%rax, which the kernel takes for a nop; push
    assert_placed(&[0x49, 0x90, 0x55, 0x5d, 0xc3], &SIZE, 2, Emulated, false);
    // hlt and in; push
    assert_placed(&[0xf4, 0x55, 0x5d, 0xc3], &SIZE, 1, Emulated, false);
    assert_placed(&[0xed, 0x55, 0x5d, 0xc3], &SIZE, 1, Emulated, false);
    // rep stosb counts as many; nothing else keeps the arguments
    assert_eq!(place_entry(&function(&[0xf3, 0xaa, 0xc3]), &SIZE), Err(PlacementError::Unprobeable));
    for refused in [&[0xcc, 0xc3][..], &[0xcd, 0x80, 0xc3], &[0x0f, 0x0b], &[0x0f, 0x05, 0xc3]] {
        assert_eq!(place_entry(&function(refused), &SIZE), Err(PlacementError::Unprobeable), "{refused:x?}");
    }
}

#[test]
fn no_code_is_an_error() {
    assert_eq!(place_entry(&function(&[]), &SIZE), Err(PlacementError::Empty));
    assert_eq!(place_entry(&function(&[0x06]), &SIZE), Err(PlacementError::Undecodable));
    assert_eq!(place_entry(&function(&[0x48]), &SIZE), Err(PlacementError::Undecodable));
}

#[test]
fn addresses_may_wrap() {
    let bytes = [0x48, 0x85, 0xff, 0x74, 0x02, 0x55, 0x5d, 0xc3];
    let code = Code { address: u64::MAX - 3, bytes: &bytes, size_known: true };
    assert_eq!(place_entry(&code, &POINTER).unwrap().offset, 5);
}

#[test]
fn forwarders_are_recognised() {
    let jump = [0xe9, 0x00, 0x01, 0x00, 0x00];
    assert_eq!(forwards_to(&function(&jump)), Some(0x1105));
    let behind_endbr64 = [0xf3, 0x0f, 0x1e, 0xfa, 0x66, 0x90, 0xeb, 0x10];
    assert_eq!(forwards_to(&function(&behind_endbr64)), Some(0x1018));
    // xor %eax,%eax does something; a jump within the function forwards nothing.
    assert_eq!(forwards_to(&function(&[0x31, 0xc0, 0xe9, 0x00, 0x01, 0x00, 0x00])), None);
    assert_eq!(forwards_to(&function(&[0xeb, 0x00, 0xc3])), None);
    assert_eq!(forwards_to(&function(&[0xeb, 0xfe])), None);
    assert_eq!(forwards_to(&function(&[0xff, 0xe0])), None);
    assert_eq!(forwards_to(&function(&[])), None);
    // The next function lies in the window.
    let window = [0xeb, 0x01, 0xcc, 0x55, 0x5d, 0xc3];
    assert_eq!(forwards_to(&Code { size_known: false, ..function(&window) }), Some(0x1003));
}

#[test]
fn stubs_name_their_slot() {
    assert_eq!(stub_slot(&function(&[0xff, 0x25, 0x10, 0, 0, 0])), Some(0x1016));
    let with_endbr64 = [0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0];
    assert_eq!(stub_slot(&function(&with_endbr64)), Some(0x101b));
    // jmp *16(%rax); jmp *%rax; push; nothing
    for other in [&[0xff, 0x60, 0x10][..], &[0xff, 0xe0], &[0x55, 0xff, 0x25, 0x10, 0, 0, 0], &[]] {
        assert_eq!(stub_slot(&function(other)), None);
    }
}
