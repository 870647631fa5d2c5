// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access to the AArch64 hardware: one function per instruction, one type per register format, and ready
//! implementations of the library's traits.
//!
//! The ready pieces implement the library's traits on a real CPU: [`OffsetView`] (table memory at a constant distance),
//! [`ThisCpu`] (barriers, TLBIs, TTBR0), [`OneCpu`] and [`PollingCpus`] (the host of a rendezvous). [`MAIR_EL1`] and
//! [`tcr_el1`] are the register values that the leaves of [`crate::tables`] are made for. Begin with these.
//!
//! What is data (an ID register's fields, a syndrome, a MIDR, a TLBI operand) is portable and tested on the host; what
//! executes an instruction exists where the architecture is AArch64, under any operating system or none, and in the
//! documentation on every host. Nothing here knows a kernel: neither its memory map, nor its linker script, nor its console.
//!
//! Inline assembly here states its effect on memory: an instruction that orders accesses or changes what an address
//! means has no `nomem`, so that the compiler moves no access across it.

mod bbm;
pub mod errata;
mod facts;
pub mod features;
pub mod instruction;
pub mod midr;
mod offset_view;
pub mod syndrome;
pub mod tlb;
pub mod translate;
mod translation_control;

pub use bbm::{BbmLevel, EntryLevel};
pub use facts::{CpuFacts, tlbi_repeat};
pub use offset_view::OffsetView;
pub use translation_control::{MAIR_EL1, tcr_el1};

/// Declares modules that execute instructions. rustdoc looks into no body, so that it shows them on every host.
macro_rules! on_the_device {
    ($($visibility:vis mod $name:ident;)*) => {
        $(
            #[cfg(any(target_arch = "aarch64", doc))]
            $visibility mod $name;
        )*
    };
}

on_the_device! {
    pub mod barrier;
    pub mod cache;
    pub mod cpu;
    pub mod hint;
    mod host;
    pub mod interrupts;
    pub mod mmu;
    mod registers;
    pub mod semihosting;
    mod this_cpu;
    pub mod timer;
    pub mod runs;
}

#[cfg(any(target_arch = "aarch64", doc))]
pub use {
    host::{OneCpu, PollingCpus},
    this_cpu::ThisCpu,
};
