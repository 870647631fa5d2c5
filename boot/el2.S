// SPDX-License-Identifier: MIT OR Apache-2.0
// From EL2 to EL1 with nothing left above that traps, lies or differs from one CPU to the next.
//
// Every register is written whole: a read-modify-write would keep what firmware left, and firmware leaves different
// things on different CPUs. Traps for features the kernel never uses (pointer authentication, MTE, SVE, SME, MPAM)
// are as harmless as none; where 0 means "trap" and the feature is unused, 0 it is. Layouts and RES1 bits are those of
// DDI 0487, chapter "AArch64 System Register Descriptions", under the register's name.
// MPAM2_EL2 is left alone on purpose: firmware that does not know MPAM leaves MPAM3_EL3.TRAPLOWER set (its reset value,
// DDI 0598), and then the access would end at EL3. It partitions caches; it cannot change a result.

    .section .boot.text, "ax", %progbits

// Returns to its caller at EL1 with x20 = the level of entry. Clobbers x0 to x3 and x22.
    .type cleave_drop_to_el1, %function
cleave_drop_to_el1:
    mrs     x0, CurrentEL
    ubfx    x20, x0, #2, #2
    cmp     x20, #1
    b.eq    9f
    cmp     x20, #2
    b.eq    1f
    PARK_SAYING {REASON_EL3}
9:  ret

1:  // First of all somewhere to go: anything below that is undefined after all ends in a named reason.
    adrp    x0, cleave_early_vectors
    msr     vbar_el2, x0
    // EL2's own MMU and caches off, little endian. With E2H = 1 the same bits mean the same, or concern EL0.
    MOV64   x0, {SCTLR_EL2}
    msr     sctlr_el2, x0
    isb                             // SCTLR and VBAR before the writes below: they run, and may fault, under these

    // HCR_EL2: EL1 is AArch64 (RW), stage 2 off (VM = 0), no traps, no routing to EL2. TGE = 0, and E2H = 0 where the CPU
    // can have it so. A negative ID_AA64MMFR4_EL1.E2H0 says that E2H is RES1: then it is written as 1, since it may
    // have been 0 out of reset.
    MOV64   x0, {HCR_EL2}
    mrs     x1, S3_0_C0_C7_4        // ID_AA64MMFR4_EL1; reserved ID registers read as zero
    tbz     x1, #27, 2f
    orr     x0, x0, #(1 << 34)      // E2H
2:  dsb     nsh                     // translations before the write: it can corrupt them (AmpereOne AC04_CPU_23)
    msr     hcr_el2, x0
    isb                             // HCR before every register below: E2H redirects their names

    // Whether E2H is 1 is asked of its effect, not of the register. A CPU older than the ID field may have it stuck at 1,
    // and a nested hypervisor may keep HCR_EL2 in memory, which returns what was written and changes nothing
    // (FEAT_NV2). With E2H = 1 the name FAR_EL1 means FAR_EL2.
    mov     x1, #1
    msr     far_el1, x1
    isb                             // the write of FAR_EL1 before that of FAR_EL2: they may be one register
    mov     x1, #2
    msr     far_el2, x1
    isb                             // the write of FAR_EL2 before the read under the other name
    mrs     x1, far_el1
    mov     x22, xzr                // from here on x22 is HCR_EL2.E2H: the layouts below depend on it
    cmp     x1, #2
    b.ne    13f
    mov     x22, #(1 << 34)
    orr     x0, x0, x22             // the register says 1 as well
    dsb     nsh                     // translations before the write, as at the first one
    msr     hcr_el2, x0
    isb                             // HCR before every register below, as at the first write

13:
    // HCRX_EL2 = 0: FEAT_MOPS, GCS, TCR2 and SCTLR2 stay off at EL1; TCR2_EL1 and SCTLR2_EL1 count as zero, regardless
    // of their values (HCRX_EL2.TCR2En, SCTLR2En).
    mrs     x0, id_aa64mmfr1_el1
    ubfx    x0, x0, #40, #4         // HCX
    cbz     x0, 3f
    msr     S3_4_C1_C2_2, xzr       // HCRX_EL2

3:  // Fine-grained traps, FEAT_FGT and FEAT_FGT2: none. Every bit 0: either no trap, or a trap of a feature not used.
    mrs     x0, id_aa64mmfr0_el1
    ubfx    x0, x0, #56, #4         // FGT
    cbz     x0, 5f
    msr     S3_4_C1_C1_4, xzr       // HFGRTR_EL2
    msr     S3_4_C1_C1_5, xzr       // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr       // HFGITR_EL2
    msr     S3_4_C3_C1_4, xzr       // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr       // HDFGWTR_EL2
    mrs     x1, id_aa64pfr0_el1
    ubfx    x1, x1, #44, #4         // AMU
    cbz     x1, 4f
    msr     S3_4_C3_C1_6, xzr       // HAFGRTR_EL2
4:  cmp     x0, #2
    b.lo    5f
    msr     S3_4_C3_C1_2, xzr       // HFGRTR2_EL2
    msr     S3_4_C3_C1_3, xzr       // HFGWTR2_EL2
    msr     S3_4_C3_C1_7, xzr       // HFGITR2_EL2
    msr     S3_4_C3_C1_0, xzr       // HDFGRTR2_EL2
    msr     S3_4_C3_C1_1, xzr       // HDFGWTR2_EL2

5:  // VMID 0 on every CPU: it tags EL1 TLB entries even with stage 2 off, and a broadcast TLBI reaches only CPUs with
    // the sender's VMID (DDI 0487, TLB maintenance instructions: scope). VTCR_EL2: RES1 alone, 8-bit VMIDs.
    msr     vttbr_el2, xzr
    MOV64   x0, {VTCR_EL2}
    msr     vtcr_el2, x0
    // What EL1 reads as its MIDR and MPIDR: the truth.
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0

    // CPTR_EL2: no trap of FP, SVE, SME, trace, AMU or CPACR to EL2. Two layouts; with E2H = 0 the trap bits TZ and TSM
    // are RES1 on cores without SVE or SME.
    mov     x0, #{CPTR_EL2}
    mrs     x1, id_aa64pfr0_el1
    ubfx    x1, x1, #32, #4         // SVE
    cmp     x1, #0
    mov     x1, #(1 << 8)           // TZ
    csel    x1, xzr, x1, ne
    orr     x0, x0, x1
    mrs     x1, id_aa64pfr1_el1
    ubfx    x1, x1, #24, #4         // SME
    cmp     x1, #0
    mov     x1, #(1 << 12)          // TSM
    csel    x1, xzr, x1, ne
    orr     x0, x0, x1
    MOV64   x1, {CPTR_EL2_E2H}
    cmp     x22, #0
    csel    x0, x0, x1, eq
    msr     cptr_el2, x0
    msr     hstr_el2, xzr           // traps of AArch32 only

    // MDCR_EL2: no debug or PMU trap; HPMN = all counters, since 0 is CONSTRAINED UNPREDICTABLE where the
    // PMU has any; the profiling and trace buffers belong to EL1, where they lie disabled.
    mov     x0, xzr
    mrs     x1, id_aa64dfr0_el1
    ubfx    x2, x1, #8, #4          // PMUVer: 0 none, 15 not the architecture's
    sub     x2, x2, #1
    cmp     x2, #14
    b.hs    6f
    mrs     x2, pmcr_el0
    ubfx    x0, x2, #11, #5         // N
6:  ubfx    x2, x1, #32, #4         // PMSVer
    cbz     x2, 7f
    orr     x0, x0, #(3 << 12)      // E2PB
7:  ubfx    x2, x1, #44, #4         // TraceBuffer
    cbz     x2, 8f
    orr     x0, x0, #(3 << 24)      // E2TB
8:  msr     mdcr_el2, x0

    // The counters: EL1 may read both, no offset, no ECV trap. Two layouts.
    mov     x0, #{CNTHCTL_EL2}
    mov     x1, #{CNTHCTL_EL2_E2H}
    cmp     x22, #0
    csel    x0, x0, x1, eq
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr

    // The GIC's system registers, only where the CPU interface has them (with a GICv2 it may not): let EL1 use them,
    // and have no virtual interrupts (IHI 0069, ICC_SRE_EL2 and ICH_HCR_EL2).
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4         // GIC
    cbz     x0, 10f
    mov     x0, #{ICC_SRE_EL2}
    msr     icc_sre_el2, x0
    isb                             // SRE before the read and the ICH register: they exist only with SRE = 1
    mrs     x0, icc_sre_el2
    tbz     x0, #0, 10f             // firmware keeps the memory-mapped interface
    msr     ich_hcr_el2, xzr

10: tlbi    alle1                   // EL1&0 translations firmware may have left, of any VMID, on this CPU
    dsb     nsh                     // the TLBI is complete on this CPU before the ERET, which synchronises it

    // SCTLR_EL1 is UNKNOWN out of reset: the MMU must be off before the first instruction at EL1. With E2H = 1 its name
    // means SCTLR_EL2 here, and SCTLR_EL12 means it.
    MOV64   x0, {SCTLR_EL1_OFF}
    cbnz    x22, 11f
    msr     sctlr_el1, x0
    b       12f
11: msr     S3_5_C1_C0_0, x0        // SCTLR_EL12
12: mov     x0, #{SPSR_EL1H_MASKED}
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret                            // context synchronisation for all of the above
    .size cleave_drop_to_el1, . - cleave_drop_to_el1
