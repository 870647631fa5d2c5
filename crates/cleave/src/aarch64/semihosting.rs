// SPDX-License-Identifier: MIT OR Apache-2.0
//! Semihosting, as far as it ends a run: SYS_EXIT_EXTENDED (Semihosting for AArch32 and AArch64, 7.10).
#![allow(unsafe_code, reason = "the call is inline assembly")]

use core::arch::asm;

const SYS_EXIT_EXTENDED: u64 = 0x20;
/// The reason: the application ended of its own accord.
const ADP_STOPPED_APPLICATION_EXIT: u64 = 0x2_0026;

/// Ends the emulator with `status`. Returns when the emulator or debugger that takes the call ignores it.
///
/// The instruction is undefined where nothing takes semihosting calls: the caller must expect that exception.
pub fn exit(status: u64) {
    let block = [ADP_STOPPED_APPLICATION_EXIT, status];
    // SAFETY: the call reads the two words of `block`, which outlive it, and changes x0 only.
    unsafe {
        asm!("hlt #0xf000", inout("x0") SYS_EXIT_EXTENDED => _, in("x1") block.as_ptr(), options(nostack));
    }
}
