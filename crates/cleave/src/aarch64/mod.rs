// SPDX-License-Identifier: MIT OR Apache-2.0
//! The only door to the hardware: one function per instruction, one type per thing the hardware encodes.
//!
//! What is data (an ID register's fields, a syndrome, a MIDR, a TLBI operand) is portable and tested on the host; what
//! executes an instruction exists on the device alone. Nothing here knows this kernel: neither its memory map, nor its
//! linker script, nor its console.
//!
//! Inline assembly here states its effect on memory: an instruction that orders accesses or changes what an address
//! means has no `nomem`, so that the compiler moves no access across it.

mod bbm;
pub mod errata;
mod facts;
pub mod features;
pub mod midr;
pub mod syndrome;
pub mod tlb;
pub mod translate;

pub use bbm::{BbmLevel, EntryLevel};
pub use facts::{CpuFacts, tlbi_repeat};

/// Whatever executes an instruction.
macro_rules! on_the_device {
    ($($(#[$attribute:meta])* mod $name:ident;)*) => {
        $(
            $(#[$attribute])*
            #[cfg(all(target_arch = "aarch64", target_os = "none"))]
            pub mod $name;
        )*
    };
}

on_the_device! {
    mod barrier;
    mod cache;
    mod cpu;
    mod hint;
    mod interrupts;
    mod mmu;
    mod registers;
    mod semihosting;
    mod timer;
    mod write_run;
}
