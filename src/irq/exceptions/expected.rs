// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads that are allowed to fault: the self-test's probe, memory that may not be mapped, a device that may not be there.
#![allow(unsafe_code, reason = "a load of its own, in assembly")]

use core::arch::global_asm;

use cleave::aarch64::interrupts;
use cleave::tables::VirtAddr;

use super::frame::Frame;

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
    // x0: the address. As above, for a device's 32-bit register.
    "    .type cleave_expected_read, %function",
    "cleave_expected_read:",
    "    mov     x1, #1",
    "cleave_expected_read_fault:",
    "    ldr     w0, [x0]",
    // DSB SY: the device has answered; an abort that is not synchronous is on its way to this CPU as an SError.
    "    dsb     sy",
    // ISB: what follows, a look at ISR_EL1 say, comes behind the answer.
    "    isb",
    "    ret",
    "    .size cleave_expected_read, . - cleave_expected_read",
    "    .global cleave_expected_load",
    "    .global cleave_expected_fault",
    "    .global cleave_expected_read",
    "    .global cleave_expected_read_fault",
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
    fn cleave_expected_read(address: u64) -> Loaded;
    fn cleave_expected_read_fault();
}

/// Loads the 64-bit word at `address`; `None` if the load faulted. Usable anywhere, in the stop window too.
pub(crate) fn faulting_load(address: VirtAddr) -> Option<u64> {
    // SAFETY: an aligned load changes nothing; where it faults, `skips` makes the function return 0 in x1.
    let found = unsafe { cleave_expected_load(address.0) };
    (found.loaded != 0).then_some(found.value)
}

/// Reads the 32-bit register of a device that may not be there; `None` if nothing answered. An interconnect may report
/// the read by SError: it is masked meanwhile, and stays pending.
pub(crate) fn faulting_read(address: VirtAddr) -> Option<u32> {
    let _masked = interrupts::mask_all();
    let before = interrupts::error_is_pending();
    // SAFETY: the caller's device is mapped as such, or the read faults, and `skips` makes the function return 0 in x1.
    let found = unsafe { cleave_expected_read(address.0) };
    // One that was pending before says nothing of this read, and hides what this read has to say.
    let failed = !before && interrupts::error_is_pending();
    (found.loaded != 0 && !failed).then_some(found.value as u32)
}

/// Lets [`faulting_load`] and [`faulting_read`] go on when `frame` is their fault; false for any other.
pub(super) fn skips(frame: &mut Frame) -> bool {
    if frame.elr != cleave_expected_fault as *const () as u64
        && frame.elr != cleave_expected_read_fault as *const () as u64
    {
        return false;
    }
    frame.registers[1] = 0;
    frame.elr += 4;
    true
}
