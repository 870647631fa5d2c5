// SPDX-License-Identifier: MIT OR Apache-2.0
// Every other CPU: the boot CPU's way to EL1 and on, with what it needs in a record instead of a device tree.
//
// Two ways in, which differ in how the record is found; from cleave_secondary_with_record on they are one.

    .section .boot.text, "ax", %progbits

// PSCI CPU_ON's entry point (DEN 0022, CPU_ON): MMU and data cache off, interrupts masked,
// x0 = the context given to CPU_ON, here the physical address of a SecondaryBoot record (src/boot.rs),
// which its writer has cleaned to the point of coherency.
    .global cleave_secondary_entry
    .type cleave_secondary_entry, %function
cleave_secondary_entry:
    mov     x27, xzr                // no probe under way (park.S)
    mov     x19, x0
    adr     x21, _start
    bl      cleave_drop_to_el1
    bl      cleave_init_el1
    b       cleave_secondary_with_record
    .size cleave_secondary_entry, . - cleave_secondary_entry

// What the release word of a spin-table is set to (Devicetree Specification v0.4, 3.8.1, cpu-release-addr; Linux's arm64
// booting document): a CPU comes with MMU and data cache off, interrupts masked, and nothing in its registers. It finds
// its record by its affinity in the chain that starts at SPIN_TABLE_RECORDS. That word and every record were cleaned to
// the point of coherency before any release word was written; a chain only grows at its head, so that a CPU which reads
// it late still finds its own. Its reads of them come after firmware's read of the release word: between are a branch on
// that word, in firmware's loop, and an ISB, in cleave_init_el1.
    .global cleave_spin_table_entry
    .type cleave_spin_table_entry, %function
cleave_spin_table_entry:
    mov     x27, xzr                // no probe under way (park.S)
    adr     x21, _start
    bl      cleave_drop_to_el1
    bl      cleave_init_el1
    mrs     x0, mpidr_el1           // the true one: VMPIDR_EL2 is its copy (el2.S)
    MOV64   x1, {MPIDR_AFFINITY}
    and     x0, x0, x1
    adrp    x1, {SPIN_TABLE_RECORDS}
    ldr     x19, [x1, :lo12:{SPIN_TABLE_RECORDS}]
1:  cbz     x19, cleave_secondary_with_record   // not ours: the reason is given there
    ldr     x1, [x19, #{RECORD_MPIDR}]
    cmp     x0, x1
    b.eq    cleave_secondary_with_record
    ldr     x19, [x19, #{RECORD_NEXT}]
    b       1b
    .size cleave_spin_table_entry, . - cleave_spin_table_entry

// At EL1, MMU off, x19 = physical address of this CPU's record or 0, x20 and x21 as in head.S.
    .type cleave_secondary_with_record, %function
cleave_secondary_with_record:
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
    .size cleave_secondary_with_record, . - cleave_secondary_with_record

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
