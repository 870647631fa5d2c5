// Every other CPU: the boot CPU's way to EL1 and on, with what it needs in a record instead of a device tree.

    .section .boot.text, "ax", %progbits

// PSCI CPU_ON's entry point (DEN 0022, CPU_ON): MMU and data cache off, interrupts masked,
// x0 = the context given to CPU_ON, here the physical address of a SecondaryBoot record (src/kernel/boot.rs),
// which its writer has cleaned to the point of coherency.
    .global cleave_secondary_entry
    .type cleave_secondary_entry, %function
cleave_secondary_entry:
    mov     x19, x0
    adr     x21, _start
    bl      cleave_drop_to_el1
    bl      cleave_init_el1

    // A record fills one 64-byte block; anything else is not ours.
    cbz     x19, 9f
    tst     x19, #63
    b.ne    9f
    // Read past the caches, which is why the writer cleaned it. Not read again: x24 to x28 keep it.
    ldr     x0, [x19, #{RECORD_TTBR1}]
    ldr     x24, [x19, #{RECORD_STACK}]
    ldr     x25, [x19, #{RECORD_EXCEPTION_STACK}]
    ldr     x26, [x19, #{RECORD_PER_CPU}]
    ldr     x27, [x19, #{RECORD_ENTRY}]
    ldr     x28, [x19, #{RECORD_ARGUMENT}]

    adrp    x23, cleave_empty_root
    LINK_ADDRESS x1, cleave_secondary_high
    b       cleave_mmu_on
9:  PARK_WITH {REASON_RECORD}
    .size cleave_secondary_entry, . - cleave_secondary_entry

    .type cleave_secondary_high, %function
cleave_secondary_high:
    // First, so that a fault from here on finds this CPU's own block and emergency stack; TTBR1 has both.
    msr     tpidr_el1, x26
    bl      cleave_leave_identity_map
    mov     sp, x25                 // SP_EL1
    msr     spsel, #0
    mov     sp, x24                 // SP_EL0
    mov     x0, x28
    mov     x1, x20
    mov     x29, xzr                // the root of every backtrace
    mov     x30, xzr
    br      x27
    .size cleave_secondary_high, . - cleave_secondary_high
