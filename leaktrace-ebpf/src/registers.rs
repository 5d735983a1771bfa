//! The target's registers, as a probe finds them.

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext,
    bindings::pt_regs,
    helpers::{bpf_get_attach_cookie, bpf_get_current_pid_tgid, bpf_probe_read_user},
    programs::{ProbeContext, RetProbeContext},
};
use leaktrace_common::{Argument, Cookie};

/// The registers and the cookie of one hit.
#[derive(Clone, Copy)]
pub struct Hit {
    regs: *const pt_regs,
    /// What the loader said about the function.
    pub cookie: Cookie,
    /// Key of the thread's call slot: the kernel's own ids, whatever namespace anybody is in.
    pub thread: u64,
}

impl Hit {
    #[inline(always)]
    pub fn of_probe(ctx: &ProbeContext) -> Self {
        Self::new(ctx.regs, ctx)
    }

    #[inline(always)]
    pub fn of_return(ctx: &RetProbeContext) -> Self {
        Self::new(ctx.regs, ctx)
    }

    #[inline(always)]
    fn new(regs: *const pt_regs, ctx: &impl EbpfContext) -> Self {
        // SAFETY: the context is the one that the kernel gave this program.
        let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
        Self { regs, cookie: Cookie::from_bits(cookie), thread: bpf_get_current_pid_tgid() }
    }

    /// Thread id in the initial pid namespace.
    #[inline(always)]
    pub fn tid(&self) -> u32 {
        self.thread as u32
    }

    /// The value of an argument register; 0 where there is none.
    ///
    /// All four are read, each at its own constant offset: the verifier refuses an offset into the context that
    /// was computed, which is what a compiler makes of reading just the one asked for.
    #[inline(always)]
    pub fn argument(&self, argument: Argument) -> u64 {
        // SAFETY: `regs` is the program's context, valid while it runs.
        let [rdi, rsi, rdx, rcx] = unsafe {
            [
                read_volatile(&raw const (*self.regs).rdi),
                read_volatile(&raw const (*self.regs).rsi),
                read_volatile(&raw const (*self.regs).rdx),
                read_volatile(&raw const (*self.regs).rcx),
            ]
        };
        match argument {
            Argument::First => rdi,
            Argument::Second => rsi,
            Argument::Third => rdx,
            Argument::Fourth => rcx,
            Argument::None => 0,
        }
    }

    /// The bytes asked for; a product that overflows is a size that no allocator can give.
    #[inline(always)]
    pub fn requested_size(&self) -> u64 {
        let size = self.argument(self.cookie.size);
        if matches!(self.cookie.count, Argument::None) {
            return size;
        }
        let count = self.argument(self.cookie.count);
        product(size, count)
    }

    #[inline(always)]
    pub fn stack_pointer(&self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.regs).rsp }
    }

    #[inline(always)]
    pub fn frame_pointer(&self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.regs).rbp }
    }

    #[inline(always)]
    pub fn instruction_pointer(&self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.regs).rip }
    }

    #[inline(always)]
    pub fn result(&self) -> u64 {
        // SAFETY: as in `argument`.
        unsafe { (*self.regs).rax }
    }
}

/// One word of the target's memory; `None` where its page is not present.
#[inline(always)]
pub fn read_word(address: u64) -> Option<u64> {
    // SAFETY: the helper checks the address and fails without touching anything.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

/// Two words of the target's memory, one behind the other; `None` where a page of theirs is not present.
#[inline(always)]
pub fn read_pair(address: u64) -> Option<[u64; 2]> {
    // SAFETY: as in `read_word`.
    unsafe { bpf_probe_read_user(address as *const [u64; 2]) }.ok()
}

/// The product of two numbers, or `u64::MAX` where it does not fit.
///
/// In halves, because what a compiler makes of `checked_mul` calls a 128-bit routine that BPF does not have.
#[inline(always)]
fn product(a: u64, b: u64) -> u64 {
    const HALF: u64 = u32::MAX as u64;
    let (large, small) = if a > b { (a, b) } else { (b, a) };
    if small > HALF {
        return u64::MAX;
    }
    let low = (large & HALF) * small;
    let high = (large >> 32) * small + (low >> 32);
    if high > HALF { u64::MAX } else { (high << 32) | (low & HALF) }
}
