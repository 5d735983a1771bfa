//! Functions of exactly known code, which the child of a calibration calls under probes.

use std::arch::global_asm;

/// A function that gives its first argument back. Its first instruction decides what a probe there costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// Begins with the five-byte nop.
    Nop5,
    /// Begins with an instruction that the kernel emulates.
    Emulated,
    /// Begins with one that it single-steps.
    SingleStep,
    /// As `Emulated`; stands for an allocation function that calls no other.
    Leaf,
    /// As `Emulated`; stands for an allocation function that may call another.
    Inner,
    /// As `Emulated`; its return is seen by a plain probe on its `ret`.
    Plain,
}

/// Frames between the start of the stack and the call, as in programs of middling depth.
const FRAMES: u64 = 12;

/// Where the `ret` of the functions that begin with an emulated instruction stands.
pub(super) const RET: u64 = 8;

/// From one block to the next.
pub(super) const STRIDE: u64 = 16;

// `push %rbp; mov %rsp,%rbp; pop %rbp; mov %rdi,%rax; ret`, byte for byte: an assembler may choose other encodings. All
// are aligned, as the kernel replaces only a nop that lies within a page.
macro_rules! emulated {
    ($name:literal) => {
        concat!(
            ".p2align 4\n.globl ",
            $name,
            "\n.hidden ",
            $name,
            "\n",
            $name,
            ":\n.byte 0x55, 0x48, 0x89, 0xe5, 0x5d, 0x48, 0x89, 0xf8, 0xc3"
        )
    };
}

global_asm!(
    ".pushsection .text.leaktrace_calibration, \"ax\", @progbits",
    emulated!("leaktrace_calibration_emulated"),
    emulated!("leaktrace_calibration_leaf"),
    emulated!("leaktrace_calibration_inner"),
    emulated!("leaktrace_calibration_plain"),
    ".p2align 4",
    ".globl leaktrace_calibration_nop5",
    ".hidden leaktrace_calibration_nop5",
    "leaktrace_calibration_nop5:",
    ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00, 0x48, 0x89, 0xf8, 0xc3",
    ".p2align 4",
    ".globl leaktrace_calibration_single_step",
    ".hidden leaktrace_calibration_single_step",
    "leaktrace_calibration_single_step:",
    ".byte 0x48, 0x89, 0xf8, 0xc3",
    // The stack begins here: a frame pointer of 0 ends the walk.
    ".p2align 4",
    ".globl leaktrace_calibration_calls",
    ".hidden leaktrace_calibration_calls",
    "leaktrace_calibration_calls:",
    "push rbp",
    "xor ebp, ebp",
    "call 2f",
    "pop rbp",
    "ret",
    "2:",
    "push rbp",
    "mov rbp, rsp",
    "sub rsp, 64",
    "dec r8",
    "jz 3f",
    "call 2b",
    "leave",
    "ret",
    "3:",
    "mov [rbp - 8], rbx",
    "mov [rbp - 16], r12",
    "mov [rbp - 24], r13",
    "mov [rbp - 32], r14",
    "mov rbx, rdi",
    "mov r12, rsi",
    "mov r13, rdx",
    "mov r14, rcx",
    "4:",
    "mov rdi, r12",
    "mov rsi, r13",
    "call rbx",
    "add r12, {stride}",
    "dec r14",
    "jnz 4b",
    "mov rbx, [rbp - 8]",
    "mov r12, [rbp - 16]",
    "mov r13, [rbp - 24]",
    "mov r14, [rbp - 32]",
    "leave",
    "ret",
    ".popsection",
    stride = const STRIDE,
);

unsafe extern "C" {
    fn leaktrace_calibration_nop5();
    fn leaktrace_calibration_emulated();
    fn leaktrace_calibration_single_step();
    fn leaktrace_calibration_leaf();
    fn leaktrace_calibration_inner();
    fn leaktrace_calibration_plain();
    /// Calls `function` so often, from so many frames deep, with a first argument that grows from call to call.
    fn leaktrace_calibration_calls(function: u64, block: u64, size: u64, calls: u64, frames: u64);
}

impl Code {
    /// Where it begins.
    pub(super) fn address(self) -> u64 {
        let begin: unsafe extern "C" fn() = match self {
            Self::Nop5 => leaktrace_calibration_nop5,
            Self::Emulated => leaktrace_calibration_emulated,
            Self::SingleStep => leaktrace_calibration_single_step,
            Self::Leaf => leaktrace_calibration_leaf,
            Self::Inner => leaktrace_calibration_inner,
            Self::Plain => leaktrace_calibration_plain,
        };
        begin as *const () as u64
    }

    /// Calls it so often with a block, from `block` on, and a size.
    pub(super) fn call(self, block: u64, size: u64, calls: u64) {
        if calls == 0 {
            return;
        }
        // SAFETY: the functions above read no memory but the stack, keep the registers that the calling convention says,
        // and come back; `calls` and `FRAMES` are not 0, from which they would count down.
        unsafe { leaktrace_calibration_calls(self.address(), block, size, calls, FRAMES) }
    }
}
