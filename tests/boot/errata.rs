// SPDX-License-Identifier: MIT OR Apache-2.0
//! Errata of early Cortex-A53s that show in the code alone: sequences of instructions, looked for in the built image.
//!
//! The sequences are those of Arm's Cortex-A53 MPCore software developers errata notice (EPM-048406), as the linkers that
//! mend them look for them. Data among the code can only make them find too much.

use crate::elf::code;

/// An instruction of the class of loads and stores, prefetches among them (DDI 0487, C4.1, "Loads and Stores").
fn touches_memory(instruction: u32) -> bool {
    instruction & 0x0a00_0000 == 0x0800_0000
}

/// The general-purpose registers that a load writes its data to.
fn loaded(instruction: u32) -> impl Iterator<Item = u32> {
    let field = |at: u32| instruction >> at & 0x1f;
    let vector = instruction & 1 << 26 != 0;
    let (pair, loads) = match instruction >> 27 & 7 {
        // Exclusive and ordered; register pairs; by PC; all others.
        0b001 => (false, instruction & 1 << 22 != 0),
        0b101 => (true, instruction & 1 << 22 != 0),
        0b011 => (false, true),
        _ => (false, instruction >> 22 & 3 != 0),
    };
    let first = (loads && !vector).then_some(field(0));
    let second = (loads && !vector && pair).then_some(field(10));
    first.into_iter().chain(second)
}

/// A 64-bit multiply that adds or subtracts (DDI 0487, "Data-processing (3 source)"): MADD, MSUB, and the long ones.
fn accumulates(instruction: u32) -> bool {
    let long = instruction >> 21 & 7;
    instruction & 0xff00_0000 == 0x9b00_0000 && matches!(long, 0b000 | 0b001 | 0b101) && instruction >> 10 & 0x1f != 31
}

/// Erratum 835769: a memory access right before a 64-bit multiply-accumulate that does not wait for its data.
fn is_835769(code: &[u32]) -> bool {
    let &[access, multiply, ..] = code else { return false };
    let reads = [5, 10, 16].map(|at| multiply >> at & 0x1f);
    touches_memory(access) && accumulates(multiply) && !loaded(access).any(|register| reads.contains(&register))
}

/// Erratum 843419: an ADRP in one of the last two words of a page, a memory access, and then, at once or one instruction
/// later, an access at an unsigned offset from the ADRP's register. `address` is the first one's.
fn is_843419(address: u64, code: &[u32]) -> bool {
    let &[adrp, access, third, fourth, ..] = code else { return false };
    let page = adrp & 0x1f;
    let by_offset = |instruction: u32| instruction & 0x3b00_0000 == 0x3900_0000 && instruction >> 5 & 0x1f == page;
    address & 0xfff >= 0xff8
        && adrp & 0x9f00_0000 == 0x9000_0000
        && touches_memory(access)
        && (by_offset(third) || by_offset(fourth))
}

/// Every place of the image's code where `found` holds.
fn places(found: impl Fn(u64, &[u32]) -> bool) -> Vec<u64> {
    let (base, words) = code();
    let at = |index: usize| base + 4 * index as u64;
    (0..words.len()).filter(|&index| found(at(index), &words[index..])).map(at).collect()
}

/// The linker's `--fix-cortex-a53-843419` is on, and does its work: the image has none of the sequence.
#[test]
fn the_image_has_no_sequence_of_erratum_843419() {
    let found = places(is_843419);
    assert!(found.is_empty(), "{found:x?}");
}

/// Erratum 835769 is LLVM's to avoid, by a switch that rustc does not vouch for, so it is off: docs/hardware.md says what
/// that leaves and how it is turned on. This holds the page to its words "about twenty".
#[test]
fn the_image_has_about_twenty_sequences_of_erratum_835769_at_most() {
    let found = places(|_, code| is_835769(code));
    println!("{} sequences: {found:x?}", found.len());
    assert!(found.len() <= 24, "{} sequences: {found:x?}", found.len());
}

#[test]
fn the_sequences_are_told_from_their_neighbours() {
    const LDR_X11_X19: u32 = 0xf940_0a6b; // ldr x11, [x19, #16]
    const STP_X0_X1: u32 = 0xa900_07e0; // stp x0, x1, [sp]
    const LDP_X8_X9: u32 = 0xa940_27e8; // ldp x8, x9, [sp]
    const MADD_8_21_8_9: u32 = 0x9b08_26a8; // madd x8, x21, x8, x9
    const MADD_8_21_8_11: u32 = 0x9b08_2ea8; // madd x8, x21, x8, x11
    const MUL_8_21_8: u32 = 0x9b08_7ea8; // mul x8, x21, x8
    const UMULH_8_21_8: u32 = 0x9bc8_7ea8; // umulh x8, x21, x8
    const MADD_W: u32 = 0x1b08_26a8; // madd w8, w21, w8, w9
    const ADD: u32 = 0x8b09_0108; // add x8, x8, x9
    for (code, hit) in [
        ([LDR_X11_X19, MADD_8_21_8_9], true),
        ([STP_X0_X1, MADD_8_21_8_11], true),
        ([LDR_X11_X19, MADD_8_21_8_11], false),
        ([LDP_X8_X9, MADD_8_21_8_9], false),
        ([LDR_X11_X19, MUL_8_21_8], false),
        ([LDR_X11_X19, UMULH_8_21_8], false),
        ([LDR_X11_X19, MADD_W], false),
        ([ADD, MADD_8_21_8_9], false),
    ] {
        assert_eq!(is_835769(&code), hit, "{code:x?}");
    }
    const ADRP_X0: u32 = 0x9000_0000; // adrp x0, .
    const LDR_X1_X0: u32 = 0xf940_0401; // ldr x1, [x0, #8]
    for (address, code, hit) in [
        (0xff8, [ADRP_X0, STP_X0_X1, LDR_X1_X0, ADD], true),
        (0x1ffc, [ADRP_X0, STP_X0_X1, ADD, LDR_X1_X0], true),
        (0xff4, [ADRP_X0, STP_X0_X1, LDR_X1_X0, ADD], false),
        (0xff8, [ADRP_X0, ADD, LDR_X1_X0, ADD], false),
        (0xff8, [ADRP_X0, STP_X0_X1, LDR_X11_X19, ADD], false),
    ] {
        assert_eq!(is_843419(address, &code), hit, "{address:#x} {code:x?}");
    }
}
