// SPDX-License-Identifier: MIT OR Apache-2.0
// The static translation tables: their room, and the code that fills those the MMU needs to come on.

// What the linker script checks itself against.
    .global cleave_layout_image_base
    .set cleave_layout_image_base, {IMAGE_BASE}
    .global cleave_layout_image_limit
    .set cleave_layout_image_limit, {IMAGE_L3_TABLES} * 0x200000

    .macro TABLE name, pages=1
    .global \name
    .type \name, %object
\name:
    .space  4096 * \pages
    .size \name, 4096 * \pages
    .endm

// NOBITS and outside .bss: filled with the caches off, so never cleared with them on.
    .section .tables, "aw", %nobits
    .balign 4096
    TABLE cleave_root               // TTBR1: the kernel half, and the linear map once Rust has painted it
    TABLE cleave_holding_root       // TTBR1 of a CPU that is not admitted: the kernel half alone
    TABLE cleave_empty_root         // TTBR0 after boot; stays all zero
    TABLE cleave_shadow_root        // the root entries of a repaint before they are live
    TABLE cleave_window_root        // the temporary mapping of fill=window
    TABLE cleave_page_root          // a temporary page: a root and the tables below it
    TABLE cleave_page_l1
    TABLE cleave_page_l2
    TABLE cleave_page_l3
    TABLE cleave_kernel_l1          // root entry 256: image, kernel area, devices, temporaries
    TABLE cleave_image_l2
    TABLE cleave_image_l3, {IMAGE_L3_TABLES}
    TABLE cleave_idmap_l0
    TABLE cleave_idmap_l1
    TABLE cleave_idmap_l2
    TABLE cleave_idmap_l3
    TABLE cleave_early_tables, {EARLY_TABLES}

// The boot CPU's stacks and block, laid out as every other slot is (src/mm/layout.rs); the gaps stay unmapped.
    .section .stacks, "aw", %nobits
    .balign 4096
    .global cleave_boot_slot
    .type cleave_boot_slot, %object
cleave_boot_slot:
    .space  {SLOT_USED}
    .size cleave_boot_slot, {SLOT_USED}

    .section .boot.text, "ax", %progbits

// Fills root, holding root, kernel half and identity map. x21 = load address. Clobbers x0 to x9 and x22.
    .type cleave_build_tables, %function
cleave_build_tables:
    mov     x22, x30
    // A dirty line left over from before could be written back on top of what follows, which bypasses the caches:
    // drop all lines first.
    bl      cleave_discard_tables

    adrp    x0, cleave_tables_start
    adrp    x1, cleave_tables_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b

    // root[256], holding_root[256] -> kernel_l1
    adrp    x1, cleave_kernel_l1
    orr     x1, x1, #{TABLE_DESCRIPTOR}
    adrp    x0, cleave_root
    str     x1, [x0, #({KERNEL_L0_INDEX} * 8)]
    adrp    x0, cleave_holding_root
    str     x1, [x0, #({KERNEL_L0_INDEX} * 8)]
    // kernel_l1[image] -> image_l2
    adrp    x0, cleave_kernel_l1
    adrp    x1, cleave_image_l2
    orr     x1, x1, #{TABLE_DESCRIPTOR}
    str     x1, [x0, #({IMAGE_L1_INDEX} * 8)]
    // image_l2[n] -> image_l3 + n
    adrp    x0, cleave_image_l2
    adrp    x1, cleave_image_l3
    orr     x1, x1, #{TABLE_DESCRIPTOR}
    mov     x2, #{IMAGE_L3_TABLES}
2:  str     x1, [x0], #8
    add     x1, x1, #4096
    subs    x2, x2, #1
    b.ne    2b

    // The image's pages with their permissions: for ever, but for .ro_after_init (src/mm/ro_after_init.rs).
    adrp    x0, cleave_text_start
    adrp    x1, cleave_text_end
    MOV64   x2, {PAGE_TEXT}
    bl      cleave_map_pages
    adrp    x0, cleave_rodata_start
    adrp    x1, cleave_rodata_end
    MOV64   x2, {PAGE_RODATA}
    bl      cleave_map_pages
    MOV64   x2, {PAGE_DATA}
    adrp    x0, cleave_ro_after_init_start  // .ro_after_init, .data, .bss and .tables lie together
    adrp    x1, cleave_tables_end
    bl      cleave_map_pages
    adrp    x0, cleave_boot_slot + {THREAD_BOTTOM}
    adrp    x1, cleave_boot_slot + {THREAD_TOP}
    bl      cleave_map_pages
    adrp    x0, cleave_boot_slot + {EXCEPTION_BOTTOM}
    adrp    x1, cleave_boot_slot + {EXCEPTION_TOP}
    bl      cleave_map_pages
    adrp    x0, cleave_boot_slot + {EMERGENCY_BOTTOM}
    adrp    x1, cleave_boot_slot + {EMERGENCY_TOP}
    bl      cleave_map_pages
    adrp    x0, cleave_boot_slot + {BLOCK_BOTTOM}
    adrp    x1, cleave_boot_slot + {BLOCK_TOP}
    bl      cleave_map_pages

    // The identity map: the page of cleave_mmu_on at its physical address, and nothing else.
    adrp    x4, cleave_mmu_on
    adrp    x0, cleave_idmap_l0
    adrp    x1, cleave_idmap_l1
    ubfx    x2, x4, #39, #9
    orr     x3, x1, #{TABLE_DESCRIPTOR}
    str     x3, [x0, x2, lsl #3]
    adrp    x0, cleave_idmap_l2
    ubfx    x2, x4, #30, #9
    orr     x3, x0, #{TABLE_DESCRIPTOR}
    str     x3, [x1, x2, lsl #3]
    adrp    x1, cleave_idmap_l3
    ubfx    x2, x4, #21, #9
    orr     x3, x1, #{TABLE_DESCRIPTOR}
    str     x3, [x0, x2, lsl #3]
    ubfx    x2, x4, #12, #9
    MOV64   x3, {PAGE_TEXT}
    orr     x3, x3, x4
    str     x3, [x1, x2, lsl #3]

    // A line fetched by speculation meanwhile holds what was there before, and the walker reads through the caches:
    // drop all lines again.
    dsb     sy                      // the stores are in memory before the DC, or a line fetched between has the past
    bl      cleave_discard_tables
    ret     x22
    .size cleave_build_tables, . - cleave_build_tables

// Enters the image's pages from x0 up to x1, physical, with the attributes x2. Clobbers x3 and x4.
    .type cleave_map_pages, %function
cleave_map_pages:
    sub     x3, x0, x21
    adrp    x4, cleave_image_l3
    add     x4, x4, x3, lsr #9      // eight bytes a page: the level 3 tables lie in a row
1:  cmp     x0, x1
    b.hs    2f
    orr     x3, x0, x2
    str     x3, [x4], #8
    add     x0, x0, #4096
    b       1b
2:  ret
    .size cleave_map_pages, . - cleave_map_pages

// Invalidates the lines of .tables to the point of coherency. Nothing else shares them: both ends are page-aligned.
// Clobbers x0 to x2.
    .type cleave_discard_tables, %function
cleave_discard_tables:
    mrs     x0, ctr_el0
    ubfx    x0, x0, #16, #4         // DminLine: log2 of the words in the smallest line (CTR_EL0)
    mov     x2, #4
    lsl     x2, x2, x0
    adrp    x0, cleave_tables_start
    adrp    x1, cleave_tables_end
1:  dc      ivac, x0                // drops, and writes nothing back: the lines hold no data to keep
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy                      // the DCs are complete before the caller's stores, or the MMU's first walk
    ret
    .size cleave_discard_tables, . - cleave_discard_tables
