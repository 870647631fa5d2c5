// SPDX-License-Identifier: MIT OR Apache-2.0
// Macros of the other files of this directory; makes no code of its own.

// A 64-bit constant without a literal pool.
    .macro MOV64 register, value
    movz    \register, #((\value) & 0xffff)
    movk    \register, #(((\value) >> 16) & 0xffff), lsl #16
    movk    \register, #(((\value) >> 32) & 0xffff), lsl #32
    movk    \register, #(((\value) >> 48) & 0xffff), lsl #48
    .endm

// Ends this CPU with a reason, four ASCII characters, in x0 (src/boot.rs lists them).
    .macro PARK_WITH reason
    movz    x0, #((\reason) >> 16), lsl #16
    movk    x0, #((\reason) & 0xffff)
    b       cleave_park
    .endm

// The same, and says so on the last-resort console where there is one (last_resort.S). MMU off; x19 = x0 of the entry,
// x20 = the level of entry.
    .macro PARK_SAYING reason
    movz    x0, #((\reason) >> 16), lsl #16
    movk    x0, #((\reason) & 0xffff)
    b       cleave_park_saying
    .endm

// The address a label will have once the MMU is on. Needs the load address in x21, clobbers x9.
    .macro LINK_ADDRESS register, label
    adrp    \register, \label
    add     \register, \register, :lo12:\label
    sub     \register, \register, x21
    MOV64   x9, {IMAGE_BASE}
    add     \register, \register, x9
    .endm
