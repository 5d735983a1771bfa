# Functions whose frames the tables tell in each way: from the stack pointer, from the frame pointer, by an expression,
# by one without an end, and not at all.
    .globl _start
    .text
_start:
    .cfi_startproc
    .cfi_undefined rip
    call from_sp
    hlt
    .cfi_endproc
from_sp:
    .cfi_startproc
    sub $24, %rsp
    .cfi_adjust_cfa_offset 24
    call from_fp
    add $24, %rsp
    .cfi_adjust_cfa_offset -24
    ret
    .cfi_endproc
from_fp:
    .cfi_startproc
    .cfi_remember_state
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register rbp
    call by_expression
    pop %rbp
    .cfi_restore_state
    ret
    .cfi_endproc
by_expression:
    .cfi_startproc
    .cfi_escape 0x0f, 0x03, 0x77, 0x08, 0x06
    call without_end
    ret
    .cfi_endproc
without_end:
    .cfi_startproc
    .cfi_escape 0x0f, 0x03, 0x2f, 0xfd, 0xff
    call from_sp
    ret
    .cfi_endproc
untold:
    call from_sp
    ret
