//! Returns of functions assembled by hand.

use super::function;
use crate::probe::placement::{Code, Returns, ReturnsError, return_sites};

fn find(bytes: &[u8], others: &[(u64, &[u8])], probed: &[u64]) -> Result<Returns, ReturnsError> {
    let lookup = |address: u64| {
        let codes = others.iter().map(|&(start, bytes)| Code { address: start, bytes, size_known: true });
        codes.into_iter().find(|code| (address.wrapping_sub(code.address)) < code.bytes.len() as u64)
    };
    return_sites(&function(bytes), &lookup, &|address| probed.contains(&address))
}

#[track_caller]
fn assert_sites(found: Result<Returns, ReturnsError>, sites: &[u64], followed: &[u64]) {
    let found = found.unwrap();
    assert_eq!(found.sites.iter().map(|site| site.address).collect::<Vec<_>>(), sites);
    assert_eq!(found.followed, followed);
}

#[test]
fn every_reachable_ret_is_found() {
    // test; je +1; ret; repz ret; data that no path reaches
    let bytes = [0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0xf3, 0xc3, 0xc3, 0xc3];
    assert_sites(find(&bytes, &[], &[]), &[0x1005, 0x1006], &[]);
    // ret $8 and bnd ret
    assert_sites(find(&[0x74, 0x03, 0xc2, 0x08, 0x00, 0xf2, 0xc3], &[], &[]), &[0x1002, 0x1005], &[]);
}

#[test]
fn a_cold_part_is_followed_there_and_back() {
    // push; je cold(0x2000); 7: pop; ret   |   cold: nop; jmp 0x1007
    let hot = [0x55, 0x0f, 0x84, 0xf9, 0x0f, 0x00, 0x00, 0x5d, 0xc3];
    let cold = [0x90, 0xe9, 0x01, 0xf0, 0xff, 0xff];
    assert_sites(find(&hot, &[(0x2000, &cold)], &[]), &[0x1008], &[0x2000]);
    // A cold part that returns by itself.
    assert_sites(find(&hot, &[(0x2000, &[0x5d, 0xc3])], &[]), &[0x1008, 0x2001], &[0x2000]);
    // Back to a part of the function that nothing else reaches.
    let hidden = [0x55, 0x0f, 0x84, 0xf9, 0x0f, 0x00, 0x00, 0x5d, 0xc3, 0x5d, 0xc3];
    let back_to_9 = [0x90, 0xe9, 0x03, 0xf0, 0xff, 0xff];
    assert_sites(find(&hidden, &[(0x2000, &back_to_9)], &[]), &[0x1008, 0x100a], &[0x2000]);
}

#[test]
fn tail_jumps_are_followed_unless_probed() {
    // jmp 0x2000   |   push; pop; jmp 0x3000   |   ret
    let first = [0xe9, 0xfb, 0x0f, 0x00, 0x00];
    let second = [0x55, 0x5d, 0xe9, 0xf9, 0x0f, 0x00, 0x00];
    let others: [(u64, &[u8]); 2] = [(0x2000, &second), (0x3000, &[0xc3])];
    assert_sites(find(&first, &others, &[]), &[0x3000], &[0x2000, 0x3000]);
    assert_sites(find(&first, &others, &[0x3000]), &[], &[0x2000]);
    assert_sites(find(&first, &[], &[0x2000]), &[], &[]);
    let unknown = ReturnsError::UnknownTarget { address: 0x2002, target: 0x3000 };
    assert_eq!(find(&first, &others[..1], &[]), Err(unknown));
}

#[test]
fn a_stub_stands_for_its_function() {
    let first = [0xe9, 0xfb, 0x0f, 0x00, 0x00];
    let behind_the_stub = Code { address: 0x5000, bytes: &[0x90, 0xc3], size_known: true };
    let lookup = |_| Some(behind_the_stub);
    assert_sites(return_sites(&function(&first), &lookup, &|_| false), &[0x5001], &[0x5000]);
    assert_sites(return_sites(&function(&first), &lookup, &|address| address == 0x5000), &[], &[]);
    // A look-up that never arrives.
    let ever_on = |address: u64| Some(Code { address: address + 0x1000, ..behind_the_stub });
    assert_eq!(return_sites(&function(&first), &ever_on, &|_| false), Err(ReturnsError::TooLarge));
}

#[test]
fn jumps_in_a_circle_end() {
    let there = [0xe9, 0xfb, 0x0f, 0x00, 0x00];
    let back = [0xe9, 0xfb, 0xef, 0xff, 0xff];
    assert_sites(find(&there, &[(0x2000, &back)], &[]), &[], &[0x2000]);
}

#[test]
fn what_cannot_be_shown_complete_is_refused() {
    let table = [0x74, 0x02, 0xff, 0xe0, 0xc3];
    assert_eq!(find(&table, &[], &[]), Err(ReturnsError::IndirectJump { address: 0x1002 }));
    // Through a PLT stub: jmp *0(%rip)
    let first = [0xe9, 0xfb, 0x0f, 0x00, 0x00];
    let plt = [0xff, 0x25, 0, 0, 0, 0];
    assert_eq!(find(&first, &[(0x2000, &plt)], &[]), Err(ReturnsError::IndirectJump { address: 0x2000 }));
    assert_eq!(find(&[0x74, 0x01, 0x06, 0xc3], &[], &[]), Err(ReturnsError::Undecodable { address: 0x1002 }));
    assert_eq!(find(&[0x74, 0x01, 0xc3, 0x55], &[], &[]), Err(ReturnsError::RunsOut { address: 0x1003 }));
    assert_eq!(find(&[0xcb], &[], &[]), Err(ReturnsError::Unprobeable { address: 0x1000 }));
    assert_eq!(find(&[0x2e, 0xc3], &[], &[]), Err(ReturnsError::Unprobeable { address: 0x1000 }));
    assert_eq!(find(&[], &[], &[]), Err(ReturnsError::Empty));
}

#[test]
fn paths_that_never_return_need_nothing() {
    // je +1; ret; call (throws)
    assert_sites(find(&[0x74, 0x01, 0xc3, 0xe8, 0, 0, 0, 0], &[], &[]), &[0x1002], &[]);
    // je +1; ret; ud2
    assert_sites(find(&[0x74, 0x01, 0xc3, 0x0f, 0x0b], &[], &[]), &[0x1002], &[]);
    // A window does not tell whether the call returns.
    let window = Code { size_known: false, ..function(&[0xe8, 0, 0, 0, 0]) };
    let found = return_sites(&window, &|_| None, &|_| false);
    assert_eq!(found, Err(ReturnsError::RunsOut { address: 0x1000 }));
}

#[test]
fn long_chains_of_jumps_are_bounded() {
    let next = [0xe9, 0xfb, 0x0f, 0x00, 0x00];
    let lookup = |address| Some(Code { address, bytes: &next, size_known: true });
    assert_eq!(return_sites(&function(&next), &lookup, &|_| false), Err(ReturnsError::TooLarge));
    let nops = vec![0x90; 30_000];
    assert_eq!(return_sites(&function(&nops), &|_| None, &|_| false), Err(ReturnsError::TooLarge));
}
