// SPDX-License-Identifier: MIT OR Apache-2.0
//! A page of code that is mapped at two addresses, executed at both under the watcher.
//!
//! QEMU translates a block once for all addresses of its page, and tells a plugin the first one. A watcher that takes this
//! one for the address of execution fails the test: it names the function where it was linked, and not where it ran.

use crate::qemu::Boot;
use std::{fs, path::PathBuf};

/// A program of its own, behind an image header at 0x4008_0000, that begins with the MMU off: words, and what they are.
const PROGRAM: &str = "
; x9 is the root. TCR_EL1: 4 KiB, 48-bit addresses, write-back walks. MAIR_EL1: attribute 0 is Normal.
d2a80209  mov x9, #0x40100000
d286a200  mov x0, #0x3510
f2b6a200  movk x0, #0xb510, lsl #16
f2c00040  movk x0, #2, lsl #32
d5182040  msr TCR_EL1, x0
d2801fe0  mov x0, #0xff
d518a200  msr MAIR_EL1, x0
; Invalidates six pages from the root on by DC IVAC, and zeroes them.
aa0903e1  mov x1, x9
91401922  add x2, x9, #6, lsl #12
d5087621  dc ivac, x1
91010021  add x1, x1, #64
eb02003f  cmp x1, x2
54ffffa1  b.ne 0x40080064
d5033f9f  dsb sy
aa0903e1  mov x1, x9
f800843f  str xzr, [x1], #8
eb02003f  cmp x1, x2
54ffffc1  b.ne 0x4008007c
; The root names level 1, that level 2 for the GiB of RAM, that level 3.
91400521  add x1, x9, #1, lsl #12
b2400420  orr x0, x1, #0x3
f9000120  str x0, [x9]
91400922  add x2, x9, #2, lsl #12
b2400440  orr x0, x2, #0x3
f9000420  str x0, [x1, #8]
91400d23  add x3, x9, #3, lsl #12
b2400460  orr x0, x3, #0x3
f9000040  str x0, [x2]
; Pages 0x80 and 0x81 of level 3 are both 0x4008_0000, this code: read-only and executable.
d280f060  mov x0, #0x783
f2a80100  movk x0, #0x4008, lsl #16
f2e00800  movk x0, #64, lsl #48
f9020060  str x0, [x3, #0x400]
f9020460  str x0, [x3, #0x408]
; Pages 0x100 to 0x105 are the tables, and behind them a page of data.
d280e060  mov x0, #0x703
f2a80200  movk x0, #0x4010, lsl #16
f2e00c00  movk x0, #96, lsl #48
91200064  add x4, x3, #0x800
d28000c5  mov x5, #6
f8008480  str x0, [x4], #8
91400400  add x0, x0, #1, lsl #12
f10004a5  subs x5, x5, #1
54ffffa1  b.ne 0x400800d4
; Invalidates the six pages again, as they were written around the cache, and the TLB.
d5033f9f  dsb sy
aa0903e1  mov x1, x9
91401922  add x2, x9, #6, lsl #12
d5087621  dc ivac, x1
91010021  add x1, x1, #64
eb02003f  cmp x1, x2
54ffffa1  b.ne 0x400800f0
d5033f9f  dsb sy
d508871f  tlbi vmalle1
d503379f  dsb nsh
d5033fdf  isb
; TTBR0_EL1 is the root, TTBR1_EL1 an empty one. MMU and caches on.
d5182009  msr TTBR0_EL1, x9
91401120  add x0, x9, #4, lsl #12
d5182020  msr TTBR1_EL1, x0
d5033fdf  isb
d5381000  mrs x0, SCTLR_EL1
b2400000  orr x0, x0, #0x1
b27e0000  orr x0, x0, #0x4
b2740000  orr x0, x0, #0x1000
d5181000  msr SCTLR_EL1, x0
d5033fdf  isb
; Stores to the page of data, by the function where it was linked.
91401520  add x0, x9, #5, lsl #12
d2800021  mov x1, #1
94000010  bl 0x40080180
; Changes the output address of the page of data, by the same function one page higher.
9120a060  add x0, x3, #0x828
f9400001  ldr x1, [x0]
d2710021  eor x1, x1, #0x8000
10000182  adr x2, #48
91400442  add x2, x2, #1, lsl #12
d63f0040  blr x2
; PSCI SYSTEM_OFF. The NOPs fill the line.
d2b08000  mov x0, #0x84000000
f2800100  movk x0, #8
d4000002  hvc #0
14000000  b 0x40080168
d503201f  nop
d503201f  nop
d503201f  nop
d503201f  nop
d503201f  nop
; The function.
d503201f  nop
f9000001  str x1, [x0]
d65f03c0  ret
";

/// The address at which the second instruction of the function is executed, the second time.
const STORE: &str = "at the instruction 0x40081184";

/// The arm64 image header of the boot protocol: a branch to what follows, text_offset, image_size, flags and the magic.
const HEADER: [u32; 16] = [0x1400_0010, 0, 0x8_0000, 0, 0x1000, 0, 0b1010, 0, 0, 0, 0, 0, 0, 0, 0x644d_5241, 0];

/// The header and the words of [`PROGRAM`], as they lie in memory.
fn image() -> Vec<u8> {
    let words = PROGRAM.lines().filter_map(|line| line.split_whitespace().next()).filter(|word| *word != ";");
    let words = words.map(|word| u32::from_str_radix(word, 16).expect("a word"));
    HEADER.into_iter().chain(words).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn an_aliased_instruction_is_reported_where_it_was_executed() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("alias-{}.img", std::process::id()));
    fs::write(&path, image()).expect("the program can be written");
    let watched = Boot::on("cortex-a72").mem("128M").smp(1).watch_image(&path, "");
    let _ = fs::remove_file(&path);
    let Some(watched) = watched else { return };
    watched.judged("M2");
    let text = watched.seen["text"].as_str().unwrap_or_default();
    watched.claim(text.ends_with(STORE), "the instruction is another");
}
