// SPDX-License-Identifier: MIT OR Apache-2.0
// EL1's registers, alike on every CPU, and the step from physical to virtual addresses.

    .section .boot.text, "ax", %progbits

// Sets what EL1 needs before its MMU is on. Clobbers x0 to x4.
    .type cleave_init_el1, %function
cleave_init_el1:
    msr     daifset, #0xf
    msr     spsel, #1
    adrp    x0, cleave_early_vectors
    msr     vbar_el1, x0
    MOV64   x0, {SCTLR_EL1_OFF}
    msr     sctlr_el1, x0
    isb                             // vectors, MMU off and byte order hold for every access and fault below

    // At EL2, el2.S makes TCR2_EL1, SCTLR2_EL1 and GCSCR_EL1 count as zero, with HCRX_EL2. Entered at EL1 no hypervisor
    // promises that: make them zero.
    cmp     x20, #1
    b.ne    3f
    mrs     x0, S3_0_C0_C7_3        // ID_AA64MMFR3_EL1; reserved ID registers read as zero
    tst     x0, #0xf                // TCRX
    b.eq    1f
    msr     S3_0_C2_C0_3, xzr       // TCR2_EL1
1:  tst     x0, #0xf0               // SCTLRX
    b.eq    2f
    msr     S3_0_C1_C0_3, xzr       // SCTLR2_EL1
2:  mrs     x0, id_aa64pfr1_el1
    ubfx    x0, x0, #44, #4         // GCS
    cbz     x0, 3f
    msr     S3_0_C2_C5_0, xzr       // GCSCR_EL1
3:
    msr     cpacr_el1, xzr          // FP, SVE and SME trap to EL1: the kernel is soft-float, any use is a bug
    msr     mdscr_el1, xzr          // no breakpoints, no single step
    msr     oslar_el1, xzr          // OS Lock off: the reset value, on, hides debug exceptions
    msr     cntv_ctl_el0, xzr       // no timer left running by firmware
    msr     tpidr_el1, xzr          // no per-CPU block yet: the vectors look at this
    msr     tpidr_el0, xzr          // the vectors' mark for "on the emergency stack" (vectors.S)
    msr     tpidrro_el0, xzr
    msr     contextidr_el1, xzr

    // The event stream ends a WFE about every 100 us, so that a wait with a deadline needs no timer. An event comes
    // every 2^(EVNTI + 1) ticks (DDI 0487, CNTKCTL_EL1): the power of two at or below CNTFRQ / 10000, within the field's 0..15.
    mrs     x0, cntfrq_el0
    mov     x1, #10000
    udiv    x0, x0, x1
    clz     x0, x0                  // 63 - log2
    mov     x1, #62
    subs    x0, x1, x0
    csel    x0, xzr, x0, mi         // a counter this slow, or CNTFRQ never set by firmware
    mov     x1, #15
    cmp     x0, x1
    csel    x0, x0, x1, lo
    lsl     x0, x0, #4              // EVNTI
    orr     x0, x0, #(1 << 2)       // EVNTEN; EVNTDIR = 0, no access from EL0
    msr     cntkctl_el1, x0

    mrs     x0, id_aa64mmfr0_el1
    tbnz    x0, #31, 9f             // TGran4 negative: no 4 KiB granule
    and     x1, x0, #0xf            // PARange
    mov     x2, #{PA_48_BITS}
    cmp     x1, x2
    csel    x1, x1, x2, lo          // more than 48 bits needs FEAT_LPA's descriptors: not used
    MOV64   x0, {TCR_EL1}
    orr     x0, x0, x1, lsl #32     // IPS
    msr     tcr_el1, x0
    MOV64   x0, {MAIR_EL1}
    msr     mair_el1, x0
    isb                             // all of the above before the caller's first access; M is still off
    ret
9:  PARK_SAYING {REASON_GRANULE}
    .size cleave_init_el1, . - cleave_init_el1

// At the link address: the vectors become the real ones, and TTBR0 goes from the identity map, where the early ones are,
// to an empty table. x23 = physical address of the empty table. Clobbers x0.
    .type cleave_leave_identity_map, %function
cleave_leave_identity_map:
    adrp    x0, cleave_vectors
    add     x0, x0, :lo12:cleave_vectors
    msr     vbar_el1, x0
    isb                             // VBAR before what follows: a fault from here on finds the real vectors
    msr     ttbr0_el1, x23
    isb                             // the new TTBR0 before the TLBI: no walk from the old table begins after it
    tlbi    vmalle1                 // what earlier walks of the identity map left in this TLB; local, as CnP is 0
    dsb     nsh                     // the TLBI is complete on this CPU before the ISB
    isb                             // the TLBI before the return: nothing fetched under the identity map is executed
    ret
    .size cleave_leave_identity_map, . - cleave_leave_identity_map

// The one page of the identity map; the early vectors are in it too (park.S).
    .section .idmap.text, "ax", %progbits

// x0 = TTBR1_EL1, x1 = where to go on. Clobbers x2 and x3.
    .global cleave_mmu_on
    .type cleave_mmu_on, %function
cleave_mmu_on:
    adrp    x2, cleave_idmap_l0
    MOV64   x3, {SCTLR_EL1_ON}
    tlbi    vmalle1                 // the entries reset or firmware left, before the first walk can meet them
    ic      iallu                   // the lines reset or firmware left, before the first fetch through the cache
    dsb     nsh                     // TLBI and IC are complete on this CPU before the ISB
    isb                             // their completion before the new bases: with M off no walk fills the TLB again
    msr     ttbr0_el1, x2           // ASID 0, CnP 0
    msr     ttbr1_el1, x0
    isb                             // TCR, MAIR and both TTBRs before M: the first walk uses all of them
    msr     sctlr_el1, x3
    isb                             // M, C and I before the next fetch: it is translated, by the identity map
    ic      iallu                   // lines fetched while I was off, which may be older than what the caches hold
    dsb     nsh                     // that IC is complete on this CPU before the ISB
    isb                             // the IC before the branch: its target is fetched anew
    br      x1
    .size cleave_mmu_on, . - cleave_mmu_on
