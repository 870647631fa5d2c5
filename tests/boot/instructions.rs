// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions of the built image that a rule allows in one form only. The compiler may produce others than the
//! sources ask for.
//!
//! Data among the code can only make them find too much.

use crate::elf::code;

const RET: u32 = 0xd65f_03c0;
/// LDP X29, X30, [SP], #16: the end of a function that has a frame record.
const LEAVE: u32 = 0xa8c1_7bfd;

/// HVC and SMC, with any immediate (DDI 0487, C4.1, "Exception generation").
fn calls_firmware(instruction: u32) -> bool {
    matches!(instruction & 0xffe0_001f, 0xd400_0002 | 0xd400_0003)
}

/// Returns true when nothing but a return from the function follows.
fn returns(code: &[u32]) -> bool {
    matches!(code, [RET, ..] | [LEAVE, RET, ..])
}

/// Firmware before SMCCC 1.1 may change x4 to x17. Each HVC and SMC stands at the end of a function of its own, whose callers
/// have nothing in those registers by the ABI. The crate's 32-bit calls made in place fail this: they declare x0 to x7.
#[test]
fn nothing_is_in_a_register_that_firmware_may_change() {
    let (base, words) = code();
    let calls: Vec<usize> = (0..words.len()).filter(|&at| calls_firmware(words[at])).collect();
    let in_place: Vec<_> =
        calls.iter().filter(|&&at| !returns(&words[at + 1..])).map(|at| base + 4 * *at as u64).collect();
    assert!(in_place.is_empty(), "calls of the firmware in the middle of a function: {in_place:x?}");
    // One by each instruction: with none the rule would say nothing, and another one is a second wrapper.
    let kinds: Vec<_> = calls.iter().map(|&at| words[at] & 0b11).collect();
    assert!(kinds == [2, 3] || kinds == [3, 2], "not one HVC and one SMC: {kinds:?}");
}

#[test]
fn the_scan_recognises_firmware_calls_and_returns() {
    const HVC: u32 = 0xd400_0002;
    const LDXRB_W9_X8: u32 = 0x085f_7d09;
    for instruction in [HVC, 0xd400_0003, 0xd400_0142] {
        assert!(calls_firmware(instruction), "{instruction:#x}");
    }
    // SVC #0, BRK #0, HLT #0xf000.
    for instruction in [0xd400_0001, 0xd420_0000, 0xd45e_0000, RET] {
        assert!(!calls_firmware(instruction), "{instruction:#x}");
    }
    assert!(returns(&[RET]) && returns(&[LEAVE, RET]));
    assert!(!returns(&[LDXRB_W9_X8, RET]) && !returns(&[LEAVE, LDXRB_W9_X8]) && !returns(&[]));
}
