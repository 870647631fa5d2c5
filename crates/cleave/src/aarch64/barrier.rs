// SPDX-License-Identifier: MIT OR Apache-2.0
//! Barriers (DDI 0487, B2, "Memory barriers"): one function per instruction the kernel uses.
//!
//! Each is a compiler barrier for memory too. What a barrier orders against what is said where it is used.
#![allow(unsafe_code, reason = "barriers are inline assembly")]

use core::arch::asm;

macro_rules! barriers {
    ($($(#[$doc:meta])* $name:ident: $instruction:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub fn $name() {
                // SAFETY: a barrier changes no register and no memory; without `nomem` the compiler keeps every
                // access on its side.
                unsafe { asm!($instruction, options(nostack, preserves_flags)) }
            }
        )*
    };
}

barriers! {
    /// Full barrier, full system: for what reaches devices, or memory read past the caches.
    dsb_sy: "dsb sy";
    /// Full barrier, inner shareable: completes broadcast TLBIs and cache maintenance for all CPUs.
    dsb_ish: "dsb ish";
    /// Stores, inner shareable: descriptor stores are visible to every walker before what follows.
    dsb_ishst: "dsb ishst";
    /// Full barrier, this CPU: completes its local TLBIs.
    dsb_nsh: "dsb nsh";
    /// Context synchronisation: what follows is fetched and executed under all register and TLB changes before it.
    isb: "isb";
}
