// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hints: ways to wait (DDI 0487, D1, "Mechanisms for entering a low-power state").
//!
//! WFE and WFI are compiler barriers for memory: what another CPU wrote before it sent the event is read after.
#![allow(unsafe_code, reason = "hints are inline assembly")]

use core::arch::asm;

macro_rules! hints {
    ($($(#[$doc:meta])* $name:ident: $instruction:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name() {
                // SAFETY: a hint changes no register and no memory, and may always do nothing.
                unsafe { asm!($instruction, options(nostack, preserves_flags)) }
            }
        )*
    };
}

hints! {
    /// WFE: sleeps until an event, an interrupt, or the next beat of the event stream (`boot/el1.S`: about 100 us).
    wait_for_event: "wfe";
    /// WFI: sleeps until an interrupt is pending, masked or not. Completed stores first: a DSB is the caller's.
    wait_for_interrupt: "wfi";
    /// SEV: an event for every CPU. What they are to see must be ordered before it with a DSB.
    send_event: "sev";
    /// YIELD: the loop around it waits for another CPU.
    yield_now: "yield";
}
