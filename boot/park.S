// SPDX-License-Identifier: MIT OR Apache-2.0
// Where a CPU ends that cannot go on, and the vectors for faults before the MMU is on.

    // In the page of the identity map, so that a fault in the step to virtual addresses still gets here.
    .section .idmap.text, "ax", %progbits

// VBAR_EL2 for good, and VBAR_EL1 until the MMU is on.
    .balign 4096                    // 2048 would do for VBAR_ELx; a page, and ADRP alone finds it
    .type cleave_early_vectors, %object
cleave_early_vectors:
    .rept 16
    .balign 128
    b       cleave_early_fault
    .endr
    .balign 128
    .size cleave_early_vectors, . - cleave_early_vectors

// x0 = the reason; x1 to x3 = ESR, ELR and FAR where the reason is a fault. One label for all, for a debugger's sake.
// An interrupt may end a WFI even while masked, hence the loop.
    .global cleave_park
    .type cleave_park, %function
cleave_park:
    msr     daifset, #0xf
1:  wfi
    b       1b
    .size cleave_park, . - cleave_park

    .type cleave_early_fault, %function
cleave_early_fault:
    MOV64   x0, {PROBING}
    cmp     x27, x0
    b.eq    3f
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    1f
    mrs     x1, esr_el1
    mrs     x2, elr_el1
    mrs     x3, far_el1
    PARK_WITH {REASON_FAULT_EL1}
1:  // HVC with no hypervisor at EL2: NOT_SUPPORTED (DEN 0028, return codes), so that the caller can report it.
    // x0 is free to use: a call returns its result there.
    mrs     x0, esr_el2
    ubfx    x0, x0, #26, #6         // ESR_EL2.EC
    cmp     x0, #0x16               // HVC from AArch64
    b.ne    2f
    mov     x0, #-1
    eret
2:  mrs     x1, esr_el2
    mrs     x2, elr_el2
    mrs     x3, far_el2
    PARK_WITH {REASON_FAULT_EL2}
3:  mov     x0, x28                 // the last-resort console is not there: the reason it would have given
    b       cleave_park
    .size cleave_early_fault, . - cleave_early_fault
