// SPDX-License-Identifier: MIT OR Apache-2.0
// From the first instruction of a CPU to Rust. Every CPU comes this way: the boot CPU from the loader, the other one from PSCI's
// CPU_ON with its number in x0 (DEN 0022, 5.1.4). Both are at EL1 with MMU and caches off, interrupts masked.
//
// Until the MMU is on addresses come from ADRP alone, for the code runs at its physical address. No data is accessed: with
// SCTLR_EL1.M = 0 each access would be Device-nGnRnE, past the caches.

    .macro MOV64 register, value
    movz    \register, #((\value) & 0xffff)
    movk    \register, #(((\value) >> 16) & 0xffff), lsl #16
    movk    \register, #(((\value) >> 32) & 0xffff), lsl #32
    movk    \register, #(((\value) >> 48) & 0xffff), lsl #48
    .endm

    .set    OFFSET, 0xffff800000000000      // of the image's addresses to where it is loaded

    .section .boot.text, "ax", %progbits
    .global _start
_start:
    mov     x0, xzr                 // the boot CPU is number 0
    .global minimal_secondary_entry
minimal_secondary_entry:
    mov     x19, x0
    mrs     x0, CurrentEL
    cmp     x0, #(1 << 2)
    b.ne    9f                      // this kernel is for EL1
    msr     daifset, #0xf
    msr     spsel, #1
    msr     cpacr_el1, xzr          // floating point traps: the target has none

    MOV64   x0, {MAIR}
    msr     mair_el1, x0
    mrs     x0, id_aa64mmfr0_el1
    and     x0, x0, #0xf            // PARange, and at most 48 bits, is IPS
    mov     x1, #0b101
    cmp     x0, x1
    csel    x0, x0, x1, lo
    MOV64   x1, {TCR}
    orr     x1, x1, x0, lsl #32
    msr     tcr_el1, x1

    adrp    x0, identity_l0
    adrp    x1, minimal_tables
    adrp    x20, minimal_tables + 0x3000
    tlbi    vmalle1                 // what reset or firmware left in the TLB, before the first walk can meet it
    ic      iallu                   // the same for instructions, before the first fetch through the cache
    dsb     nsh                     // both are complete on this CPU before the ISB
    isb                             // TCR, MAIR and the empty TLB before the new bases
    msr     ttbr0_el1, x0
    msr     ttbr1_el1, x1
    isb                             // both TTBRs before M: the first walk uses them
    MOV64   x0, {SCTLR}
    msr     sctlr_el1, x0
    isb                             // M, C and I before the next fetch, which the identity map translates
    ic      iallu                   // lines fetched while I was off, which may be older than the caches' contents
    dsb     nsh                     // that IC is complete on this CPU before the ISB
    isb                             // the IC before the branch: its target is fetched anew
    movz    x0, #:abs_g3:1f
    movk    x0, #:abs_g2_nc:1f
    movk    x0, #:abs_g1_nc:1f
    movk    x0, #:abs_g0_nc:1f
    br      x0

    // At the link address from here on; the identity map goes.
1:  adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    isb                             // VBAR before what follows: a fault from here on finds the vectors
    msr     ttbr0_el1, x20
    isb                             // the new TTBR0 before the TLBI: no walk from the identity map begins after it
    tlbi    vmalle1                 // what walks of the identity map left; local, as CnP is 0
    dsb     nsh                     // the TLBI is complete on this CPU before the ISB
    isb                             // nothing that was fetched under the identity map is executed behind this
    adrp    x0, stacks
    add     x1, x19, #1
    add     x0, x0, x1, lsl #15     // 32 KiB a CPU, from the top down
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x19
    cbnz    x19, 2f
    b       minimal_main
2:  b       minimal_secondary
9:  wfe
    b       9b

    // Any exception is the end of this kernel: it uses no interrupts.
    .balign 2048
vectors:
    .rept   16
    .balign 128
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       minimal_fault
    .endr

// x0 = byte. The PL011 as firmware has set it up: waits while UARTFR.TXFF says that its FIFO is full (PL011 TRM, 3.3).
    .global minimal_put
minimal_put:
    ldr     x1, =0xffff800040600000
1:  ldr     w2, [x1, #0x18]
    tbnz    w2, #5, 1b
    str     w0, [x1]
    ret

// Starts the second CPU of QEMU virt, whose affinity is 1, at this file's entry with its number, and returns what PSCI says:
// CPU_ON (DEN 0022), by HVC, the conduit where the guest has no EL2. SMCCC keeps all registers but x0 to x17, as the procedure
// call standard does. The CPU reads no data before its MMU is on: there is nothing to clean from the caches.
    .global minimal_start_second
minimal_start_second:
    adrp    x2, minimal_secondary_entry
    add     x2, x2, :lo12:minimal_secondary_entry
    ldr     x3, =OFFSET
    sub     x2, x2, x3
    mov     x1, #1
    mov     x3, #1
    ldr     x0, =0xc4000003
    dsb     ish                     // what this CPU wrote is visible to the CPU that the call starts
    hvc     #0
    ret

// SYSTEM_OFF.
    .global minimal_off
minimal_off:
    ldr     x0, =0x84000008
    hvc     #0
    b       9b
    .ltorg

// Tables that are there from the first instruction on. A table descriptor is the next table's physical address and 0b11.
    .set    TEXT, 0x40200000 | 1 | 3 << 8 | 1 << 10 | 1 << 7 | 1 << 54            // block, inner shareable, AF, read-only, UXN
    .set    DATA, 0x40400000 | 1 | 3 << 8 | 1 << 10 | 1 << 53 | 1 << 54           // the same, writable and never executed
    .set    UART, 0x09000000 | 1 | 1 << 2 | 3 << 8 | 1 << 10 | 1 << 53 | 1 << 54  // AttrIndx 1: Device-nGnRE

    .section .tables, "aw", %progbits
    .global minimal_tables
minimal_tables:                     // 0, the live root: entries 0 to 255 are the linear map's, 256 the kernel's
    .fill   256, 8, 0
    .quad   minimal_tables + 0x4000 - OFFSET + 3
    .balign 4096
    .fill   3 * 512, 8, 0           // 1 to 3, further roots: for the new map, spare, and empty for ever
    .quad   0                       // 4, the kernel's level 1: 1 is RAM, 2 the temporary mapping of the first paint
    .quad   kernel_l2 - OFFSET + 3
    .balign 4096
    .fill   512, 8, 0               // 5, spare
kernel_l2:                          // 0xffff800040200000, 0xffff800040400000 and, for the UART, 0xffff800040600000
    .quad   0, TEXT, DATA, UART
    .balign 4096
identity_l0:
    .quad   identity_l1 - OFFSET + 3
    .balign 4096
identity_l1:
    .quad   0, identity_l2 - OFFSET + 3
    .balign 4096
identity_l2:                        // the code alone
    .quad   0, TEXT
    .balign 4096

    .section .bss.stacks, "aw", %nobits
    .balign 4096
stacks: .skip 2 << 15
