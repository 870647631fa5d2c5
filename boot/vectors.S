// SPDX-License-Identifier: MIT OR Apache-2.0
// The exception vectors, and the way in and out of the handlers in src/irq/exceptions/mod.rs.
//
// Threads run on SP_EL0, so an exception of theirs comes in through the first four vectors on SP_EL1, whose stack is
// empty then: an overflow of the thread's stack cannot hurt it. The next four are exceptions taken by a handler. They
// trust no stack pointer and move to this CPU's emergency stack. TPIDR_EL0 and TPIDRRO_EL0 belong to them, as there is
// no EL0: TPIDR_EL0 holds the interrupted SP plus one while the emergency stack is in use, 0 otherwise.

    // Stores x2 to x30 and what the exception left in the system registers. x0 and x1 are in the frame already.
    .macro SAVE_FRAME
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x19, [sp, #16 * 9]
    stp     x20, x21, [sp, #16 * 10]
    stp     x22, x23, [sp, #16 * 11]
    stp     x24, x25, [sp, #16 * 12]
    stp     x26, x27, [sp, #16 * 13]
    stp     x28, x29, [sp, #16 * 14]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    mrs     x4, esr_el1
    mrs     x5, far_el1
    stp     x2, x3, [sp, #{FRAME_ELR}]
    stp     x4, x5, [sp, #{FRAME_ESR}]
    .endm

    // A frame record (AAPCS64, "The Frame Pointer") in the frame: a backtrace walks from the handler into the interrupted code.
    .macro LINK_FRAME elr
    stp     x29, \elr, [sp, #{FRAME_RECORD}]
    add     x29, sp, #{FRAME_RECORD}
    .endm

    // Undoes SAVE_FRAME. ELR and SPSR come last but one: from there to the ERET only the kernel's own stack is touched,
    // which no recoverable fault can hit.
    .macro RESTORE_FRAME
    ldp     x2, x3, [sp, #{FRAME_ELR}]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x18, x19, [sp, #16 * 9]
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x28, x29, [sp, #16 * 14]
    ldr     x30, [sp, #16 * 15]
    .endm

    // An exception of a thread, or one from EL0, which does not exist: on SP_EL1.
    .macro THREAD_VECTOR number
    .balign 128
    sub     sp, sp, #{FRAME_SIZE}
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       cleave_thread_exception
    .endm

    // An exception taken inside a handler: SP may have any value.
    .macro HANDLER_VECTOR number
    .balign 128
    msr     tpidrro_el0, x0
    mrs     x0, tpidr_el0
    cbnz    x0, cleave_emergency_lost
    add     x0, sp, #1
    msr     tpidr_el0, x0
    mrs     x0, tpidr_el1
    cbz     x0, 1f                  // so early that this CPU has no block: the boot CPU's stack
    ldr     x0, [x0, #{PER_CPU_EMERGENCY_TOP}]
    b       2f
1:  adrp    x0, cleave_boot_slot + {EMERGENCY_TOP}
2:  mov     sp, x0                  // if block or stack cannot be reached: cleave_emergency_lost is next
    sub     sp, sp, #{FRAME_SIZE}
    mrs     x0, tpidrro_el0
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       cleave_handler_exception
    .endm

    .section .vectors.text, "ax", %progbits
    .balign 2048                    // VBAR_EL1's alignment
    .global cleave_vectors
    .type cleave_vectors, %object
cleave_vectors:
    THREAD_VECTOR 0                 // current EL with SP_EL0: synchronous
    .balign 128
    b       cleave_irq
    THREAD_VECTOR 2                 // FIQ
    THREAD_VECTOR 3                 // SError
    HANDLER_VECTOR 4                // current EL with SP_EL1: synchronous
    HANDLER_VECTOR 5                // IRQ
    HANDLER_VECTOR 6                // FIQ
    HANDLER_VECTOR 7                // SError
    THREAD_VECTOR 8                 // EL0, AArch64: synchronous
    THREAD_VECTOR 9                 // IRQ
    THREAD_VECTOR 10                // FIQ
    THREAD_VECTOR 11                // SError
    THREAD_VECTOR 12                // EL0, AArch32: synchronous
    THREAD_VECTOR 13                // IRQ
    THREAD_VECTOR 14                // FIQ
    THREAD_VECTOR 15                // SError
    .balign 128
    .size cleave_vectors, . - cleave_vectors

// x1 = vector number.
    .type cleave_thread_exception, %function
cleave_thread_exception:
    SAVE_FRAME
    mrs     x3, sp_el0
    stp     x30, x3, [sp, #16 * 15]
    LINK_FRAME x2
    mov     x0, sp
    bl      {HANDLE_EXCEPTION}
    RESTORE_FRAME
    ldp     x0, x1, [sp], #{FRAME_SIZE}
    eret
    .size cleave_thread_exception, . - cleave_thread_exception

// x1 = vector number; SP = the emergency stack; TPIDR_EL0 = the interrupted SP plus one.
    .type cleave_handler_exception, %function
cleave_handler_exception:
    SAVE_FRAME
    mrs     x3, tpidr_el0
    sub     x3, x3, #1
    stp     x30, x3, [sp, #16 * 15]
    LINK_FRAME x2
    mov     x0, sp
    bl      {HANDLE_NESTED}
    RESTORE_FRAME
    // Back to the interrupted handler's stack; x1 is the frame until it is itself.
    mov     x1, sp
    ldr     x0, [x1, #{FRAME_SP}]
    msr     tpidr_el0, xzr
    mov     sp, x0
    ldp     x0, x1, [x1]
    eret
    .size cleave_handler_exception, . - cleave_handler_exception

// A fault on the emergency stack, or on the way to it: nothing is left to report with. The faulting x0 is in
// TPIDRRO_EL0, the first interrupted SP, plus one, in TPIDR_EL0.
    .type cleave_emergency_lost, %function
cleave_emergency_lost:
    mrs     x1, esr_el1
    mrs     x2, elr_el1
    mrs     x3, far_el1
    movz    x0, #({REASON_NESTED} >> 16), lsl #16
    movk    x0, #({REASON_NESTED} & 0xffff)
    b       cleave_park
    .size cleave_emergency_lost, . - cleave_emergency_lost

// The interrupt path: what a function call may change (AAPCS64, "General-purpose Registers"), and no more.
    .type cleave_irq, %function
cleave_irq:
    sub     sp, sp, #{FRAME_SIZE}
    stp     x0, x1, [sp]
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    str     x18, [sp, #16 * 9]
    str     x29, [sp, #16 * 14 + 8]
    str     x30, [sp, #16 * 15]
    mrs     x2, elr_el1
    mrs     x3, spsr_el1
    stp     x2, x3, [sp, #{FRAME_ELR}]
    LINK_FRAME x2
    bl      {HANDLE_IRQ}
    ldp     x2, x3, [sp, #{FRAME_ELR}]
    msr     elr_el1, x2
    msr     spsr_el1, x3
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldr     x18, [sp, #16 * 9]
    ldr     x29, [sp, #16 * 14 + 8]
    ldr     x30, [sp, #16 * 15]
    ldp     x0, x1, [sp], #{FRAME_SIZE}
    eret
    .size cleave_irq, . - cleave_irq
