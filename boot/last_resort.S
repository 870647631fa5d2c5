// SPDX-License-Identifier: MIT OR Apache-2.0
// The last-resort console: what a person at a Raspberry Pi 4 sees when there is no device tree to take a console from.
//
// The one place that knows an address of a board. It speaks only where the image's header says that the image was made for
// that board (`make rpi4`), and a CPU that can be the board's, a Cortex-A72 not entered at EL1, finds a PL011's identification
// at that address; anywhere else the reason is in x0 alone, as ever. The CPU alone is no evidence: other chips with Cortex-A72
// have memory there, or a window to PCIe, and a read of a bus that is powered down never ends. It reads before it writes, and a
// fault of that read is no news (park.S).
// Runs with the MMU off, at any level, and anywhere: off a page boundary too.

    .equ    LAST_RESORT_UART, 0xfe201000    // BCM2711 ARM Peripherals, 1.2 and chapter 11: UART0 in the low peripheral map
    .equ    LAST_RESORT_GPIO, 0xfe200000    // the same, chapter 5
    .equ    UART_DR, 0x00                   // these and the bits below: DDI 0183G, chapter 3
    .equ    UART_FR, 0x18
    .equ    UART_IBRD, 0x24
    .equ    UART_FBRD, 0x28
    .equ    UART_LCRH, 0x2c
    .equ    UART_CR, 0x30
    .equ    UART_ID, 0xfe0
    .equ    GPIO_FSEL1, 0x04

    .section .boot.text, "ax", %progbits

// x0 = the reason, x19 = x0 of the entry. Ends in cleave_park.
    .type cleave_park_saying, %function
cleave_park_saying:
    mov     x28, x0
    adr     x1, cleave_board_mark   // 4-byte aligned wherever the image is
    ldr     w1, [x1]
    movz    w2, #(({BOARD_MARK} >> 16) & 0xffff), lsl #16
    movk    w2, #({BOARD_MARK} & 0xffff)
    cmp     w1, w2
    b.ne    9f
    // Not the other three CPUs of a board that lets go all at once.
    mrs     x1, mpidr_el1
    tst     x1, #0xffffff
    b.ne    9f
    mrs     x1, midr_el1
    MOV64   x2, 0xff00fff0          // implementer and part, not variant and revision
    and     x1, x1, x2
    MOV64   x2, 0x4100d080          // Arm, Cortex-A72
    cmp     x1, x2
    b.ne    9f
    cmp     x20, #1                 // a guest of a hypervisor is not the board
    b.eq    9f
    // A fault of the read must find cleave_early_vectors. At EL1 it would; at EL2 and EL3 VBAR may not be written yet.
    // Loaded off a page, as the reason may be, they begin off VBAR's boundary; so the boundary is chosen whose
    // synchronous vector, 0x200 behind it with SPSel = 1, lies among them. A slot is a branch, and NOPs that lead to
    // the next branch; those of the last one lead to cleave_park, with the reason in x0. ADR, since ADRP is wrong off a
    // page.
    msr     spsel, #1
    adr     x2, cleave_early_vectors
    add     x2, x2, #0x5ff
    and     x2, x2, #~0x7ff
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.lo    1f
    b.hi    11f
    msr     vbar_el2, x2
    b       12f
11: msr     vbar_el3, x2
12: isb                             // VBAR before the reads below, whose fault must find it
1:  // Says to cleave_early_fault that a fault is expected. SError is masked, and what it would report is only this read.
    MOV64   x27, {PROBING}
    MOV64   x10, LAST_RESORT_UART
    adr     x11, .Luart_id
    mov     x12, #0
2:  add     x13, x10, #UART_ID
    ldr     w14, [x13, x12, lsl #2]
    ldrb    w15, [x11, x12]
    and     w14, w14, #0xff
    cmp     x12, #2                 // PeriphID2 and 3: revision and configuration, as they come
    b.eq    3f
    cmp     x12, #3
    b.eq    3f
    cmp     w14, w15
    b.ne    9f
3:  add     x12, x12, #1
    cmp     x12, #8
    b.lo    2b
    mov     x27, xzr

    // Firmware with enable_uart=1 has it running. Where it has not: pins 14 and 15 if they are still inputs, their reset
    // state, and 115200 8N1 from the 48 MHz the firmware gives the clock.
    ldr     w14, [x10, #UART_CR]
    tbnz    w14, #0, 4f             // UARTEN
    MOV64   x11, LAST_RESORT_GPIO
    ldr     w14, [x11, #GPIO_FSEL1]
    ubfx    w15, w14, #12, #6       // FSEL14 and FSEL15
    cbnz    w15, 5f
    mov     w15, #0b100100          // ALT0: TXD0 and RXD0
    orr     w14, w14, w15, lsl #12
    str     w14, [x11, #GPIO_FSEL1]
5:  mov     w14, #26                // 48e6 / (16 * 115200) = 26 + 3/64
    str     w14, [x10, #UART_IBRD]
    mov     w14, #3
    str     w14, [x10, #UART_FBRD]
    mov     w14, #0x70              // WLEN 8 bits, FEN; this write takes the divisors over
    str     w14, [x10, #UART_LCRH]
    mov     w14, #0x301             // RXE, TXE, UARTEN
    str     w14, [x10, #UART_CR]
4:
    adr     x11, .Lsay_start
    bl      cleave_say
    lsl     x12, x28, #32           // four characters from the top
    mov     w13, #4
6:  lsr     x14, x12, #56
    bl      cleave_say_byte
    lsl     x12, x12, #8
    subs    w13, w13, #1
    b.ne    6b

    lsr     x1, x28, #8
    movz    x2, #0x44, lsl #16      // "DTB"
    movk    x2, #0x5442
    cmp     x1, x2
    b.ne    8f
    adr     x11, .Lsay_tree
    bl      cleave_say
    // The list's first tag, ATAG_CORE, has its name in the second word. Only what was read as a tree's magic is read.
    and     x1, x28, #0xff
    cmp     x1, #'M'
    b.ne    7f
    ldr     w1, [x19, #4]
    MOV64   x2, 0x54410001
    cmp     x1, x2
    b.ne    7f
    adr     x11, .Lsay_atags
    bl      cleave_say
7:  adr     x11, .Lsay_pointer
    bl      cleave_say
    mov     x12, x19
    mov     w13, #16
10: lsr     x14, x12, #60
    cmp     x14, #10
    add     x15, x14, #('a' - 10)
    add     x14, x14, #'0'
    csel    x14, x14, x15, lo
    bl      cleave_say_byte
    lsl     x12, x12, #4
    subs    w13, w13, #1
    b.ne    10b
8:  adr     x11, .Lsay_end
    bl      cleave_say
9:  mov     x0, x28
    b       cleave_park
    .size cleave_park_saying, . - cleave_park_saying

// Sends the text at x11 to the PL011 at x10. Clobbers x9, x11, x14 to x16.
    .type cleave_say, %function
cleave_say:
    mov     x16, x30
1:  ldrb    w14, [x11], #1
    cbz     w14, 2f
    bl      cleave_say_byte
    b       1b
2:  ret     x16
    .size cleave_say, . - cleave_say

// Sends the byte in x14. Gives up waiting for room after a while: a line held by flow control, no clock. Clobbers x9, x15.
    .type cleave_say_byte, %function
cleave_say_byte:
    movz    x9, #0x10, lsl #16
1:  ldr     w15, [x10, #UART_FR]
    tbz     w15, #5, 2f             // TXFF
    subs    x9, x9, #1
    b.ne    1b
2:  str     w14, [x10, #UART_DR]
    ret
    .size cleave_say_byte, . - cleave_say_byte

.Luart_id:
    .byte   0x11, 0x10, 0, 0, 0x0d, 0xf0, 0x05, 0xb1
.Lsay_start:
    .asciz  "\r\ncleave: PANIC before there was a console: "
.Lsay_tree:
    .asciz  ", no device tree came"
.Lsay_atags:
    .asciz  ", x0 points at an ATAG list"
.Lsay_pointer:
    .asciz  ", x0 = 0x"
.Lsay_end:
    .asciz  "\r\n"
    .balign 4
