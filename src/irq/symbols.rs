// SPDX-License-Identifier: MIT OR Apache-2.0
//! Places around the rendezvous that a debugger can stop at by name: functions that only return. The one in its
//! middle, `cleave_window`, stands with the code that opens the window ([`crate::mm::repaint`]).
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "names for debuggers, and no frames")]

/// On every CPU: it was called to a rendezvous and is about to arrive.
// SAFETY: no other function has this name; returning is all it does.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) extern "C" fn cleave_gather() {
    core::arch::naked_asm!("ret")
}

/// On every CPU: it goes on. The map is whole again.
// SAFETY: no other function has this name; returning is all it does.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub(crate) extern "C" fn cleave_release() {
    core::arch::naked_asm!("ret")
}
