//! leaktrace's BPF programs: probes on allocation functions, and the life of the processes that call them.
//!
//! Every program is small and never loops over anything but the frames of one stack. Nothing is decided here that
//! user space can decide later; what cannot be delivered is counted by cause in [`maps::LOSSES`].
#![no_std]
#![no_main]

mod calls;
mod copy;
mod emit;
mod frames;
mod free;
mod gc;
mod lifecycle;
mod mappings;
mod maps;
mod new;
mod piece;
mod registers;
mod rings;
mod sample;
mod session;
mod settings;
mod slot;
mod stack;

/// Helpers such as `bpf_probe_read_user` are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
