//! Entry and return of an allocation function by one link (`uprobe.session`, Linux 6.13).

use core::ffi::c_void;

use aya_ebpf::{helpers::generated::bpf_get_func_ip, programs::ProbeContext};

use crate::{calls, registers::Hit};

/// Runs at both. What it gives back at the entry says whether it is to run at the return: 0 yes, 1 no. Calls whose block
/// is not wanted save it.
///
/// By hand, as aya's macro throws away what a program gives back.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe/alloc_session")]
pub fn alloc_session(ctx: *mut c_void) -> u32 {
    let probe = ProbeContext::new(ctx);
    let hit = Hit::of_probe(&probe);
    // SAFETY: the context is the one that the kernel gave this program.
    let function = unsafe { bpf_get_func_ip(ctx) };
    // At the return the instruction pointer stands behind the call.
    if function != hit.instruction_pointer() {
        calls::returned(&hit);
        return 0;
    }
    u32::from(!calls::enter(&probe, &hit))
}
