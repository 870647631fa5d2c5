// SPDX-License-Identifier: MIT OR Apache-2.0
// The image's first bytes: the header a boot loader looks for, and the boot CPU's way from it to kernel_main.
//
// Everything before `cleave_primary_high` runs with the MMU off at the address where the image was loaded, which may be
// any: addresses come from ADR and ADRP only, never from the linker's absolute values. With SCTLR_EL1.M = 0 every data
// access is Device-nGnRnE (DDI 0487, "Behavior when stage 1 address translation is disabled"): no exclusives, no
// unaligned access, no DC ZVA; none is used, and no stack.
//
// Assumed of the loader, as the arm64 Linux boot protocol has it: MMU off, the image's file part cleaned to the point
// of coherency, image_size bytes from the load address on free for us, x0 = physical address of the device tree.
//
// Registers that live through the whole path:
//   x19 device tree (secondary: the boot record)    x20 exception level of entry, 1 or 2
//   x21 load address: physical address of _start    x23 physical address of the empty TTBR0 root

    .section .head.text, "ax", %progbits
    .global _start
    .type _start, %function
_start:
    b       cleave_primary          // code0
    .word   0                       // code1
    .quad   0                       // text_offset: the start of memory will do
    .quad   cleave_image_size       // .bss, tables and stacks included
    .quad   {HEADER_FLAGS}          // little endian, 4 KiB granule, anywhere in memory
    .global cleave_board_mark
cleave_board_mark:
    .word   0                       // reserved, but for {BOARD_MARK}, which says where the image runs (last_resort.S)
    .word   0
    .quad   0, 0                    // reserved
    .ascii  "ARM\x64"               // magic
    .word   0                       // reserved: no PE header
    .size _start, . - _start

    .section .boot.text, "ax", %progbits
    .type cleave_primary, %function
cleave_primary:
    mov     x19, x0
    mrs     x20, CurrentEL
    ubfx    x20, x20, #2, #2
    mov     x27, xzr                // no probe under way (park.S)
    adr     x21, _start
    // ADRP works in units of 4 KiB: off a page boundary every address below would be wrong.
    tst     x21, #0xfff
    b.ne    8f
    // The linear map reaches to 2^47 (src/mm/layout.rs).
    lsr     x0, x21, #47
    cbnz    x0, 9f
    bl      cleave_drop_to_el1
    bl      cleave_init_el1
    bl      cleave_check_device_tree
    bl      cleave_build_tables

    adrp    x23, cleave_empty_root
    adrp    x0, cleave_root
    LINK_ADDRESS x1, cleave_primary_high
    b       cleave_mmu_on
8:  PARK_SAYING {REASON_ALIGN}
9:  PARK_SAYING {REASON_HIGH}
    .size cleave_primary, . - cleave_primary

// Parks unless x19 points at what can be a flattened device tree (Devicetree Specification v0.4, 5.2 and 5.6:
// 8-byte aligned, magic 0xd00dfeed big endian). A pointer to nothing at all ends in cleave_early_vectors.
    .type cleave_check_device_tree, %function
cleave_check_device_tree:
    cbz     x19, 1f
    tst     x19, #7
    b.ne    2f
    // The protocol promises cleanness for the image only, and the read below bypasses the caches. DC CIVAC and not CVAC:
    // early Cortex-A53s have errata in the clean alone (819472, 824069, 826319, 827319).
    dc      civac, x19              // what the loader may have left dirty, before the load below
    dsb     sy                      // the DC has reached memory before the load reads from there: a full-system maintenance
    ldr     w0, [x19]
    rev     w0, w0
    movz    w1, #0xd00d, lsl #16
    movk    w1, #0xfeed
    cmp     w0, w1
    b.ne    3f
    ret
1:  PARK_SAYING {REASON_TREE_NONE}
2:  PARK_SAYING {REASON_TREE_ALIGN}
3:  PARK_SAYING {REASON_TREE_MAGIC}
    .size cleave_check_device_tree, . - cleave_check_device_tree

// The boot CPU at its link address: MMU and caches on, SP_EL1 selected and not yet set.
    .type cleave_primary_high, %function
cleave_primary_high:
    bl      cleave_leave_identity_map

    // SP_EL1 takes exceptions, SP_EL0 is what threads run on: an overflow of the one never hits the other.
    adrp    x0, cleave_boot_slot + {EXCEPTION_TOP}
    mov     sp, x0
    msr     spsel, #0
    adrp    x0, cleave_boot_slot + {THREAD_TOP}
    mov     sp, x0

    // Through the caches, so that no stale line can survive it. Both ends are page-aligned by the linker script.
    adrp    x0, cleave_bss_start
    adrp    x1, cleave_bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:
    adrp    x0, {LOAD_ADDRESS}
    str     x21, [x0, :lo12:{LOAD_ADDRESS}]

    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    mov     x29, xzr                // the root of every backtrace
    mov     x30, xzr
    b       kernel_main
    .size cleave_primary_high, . - cleave_primary_high
