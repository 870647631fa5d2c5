//! A load that is allowed to fault: the self-test's probe, and whoever wants to look at memory that may not be mapped.
#![allow(unsafe_code, reason = "a load of its own, in assembly")]

use core::arch::global_asm;

use cleave::paging::VirtAddr;

use super::Frame;

global_asm!(
    "    .section .text.cleave_expected, \"ax\", %progbits",
    "    .balign 4",
    "    .type cleave_expected_load, %function",
    // x0: the address. Returns the value in x0 and, in x1, 1 if there was one; the handler makes it 0.
    "cleave_expected_load:",
    "    mov     x1, #1",
    "cleave_expected_fault:",
    "    ldr     x0, [x0]",
    "    ret",
    "    .size cleave_expected_load, . - cleave_expected_load",
    "    .global cleave_expected_load",
    "    .global cleave_expected_fault",
    "    .text",
);

/// The two registers a pair comes back in (AAPCS64, 6.9).
#[repr(C)]
struct Loaded {
    value: u64,
    loaded: u64,
}

unsafe extern "C" {
    fn cleave_expected_load(address: u64) -> Loaded;
    fn cleave_expected_fault();
}

/// The 64-bit word at `address`, or `None` if the load faulted. Usable anywhere, in the rendezvous window too.
pub(crate) fn faulting_load(address: VirtAddr) -> Option<u64> {
    // SAFETY: an aligned load changes nothing; where it faults, `skips` makes the function return 0 in x1.
    let found = unsafe { cleave_expected_load(address.0) };
    (found.loaded != 0).then_some(found.value)
}

/// Lets [`faulting_load`] go on when `frame` is its fault; false for any other.
pub(super) fn skips(frame: &mut Frame) -> bool {
    if frame.elr != cleave_expected_fault as *const () as u64 {
        return false;
    }
    frame.registers[1] = 0;
    frame.elr += 4;
    true
}
