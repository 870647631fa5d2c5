// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debugger symbols around the rendezvous: functions that only return, on which a breakpoint can be set by name. The
//! one in its middle, `cleave_window`, stands with the code that opens the window ([`crate::mm::repaint`]).
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "names for debuggers, and no frames")]

/// Marks, on every CPU, the moment before it arrives in a rendezvous.
// SAFETY: no other function has this name; returning is all it does.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) extern "C" fn cleave_gather() {
    core::arch::naked_asm!("ret")
}

/// Marks, on every CPU, the release. The map is whole again.
// SAFETY: no other function has this name; returning is all it does.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) extern "C" fn cleave_release() {
    core::arch::naked_asm!("ret")
}
