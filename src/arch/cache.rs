//! Cache maintenance by virtual address (DDI 0487, D7, "Cache support"), over ranges.
//!
//! Each function ends with the DSB that completes it. Ranges are widened to whole lines.
#![allow(unsafe_code, reason = "cache maintenance is inline assembly")]

use core::arch::asm;
use core::ops::Range;

use tock_registers::interfaces::Readable;

use super::barrier;
use super::registers::{CTR_EL0, fields};
use crate::paging::VirtAddr;

/// Bytes in the smallest line of all data caches of this CPU.
#[must_use]
pub fn data_line() -> u64 {
    4 << CTR_EL0.read(fields::CTR_EL0::DminLine)
}

/// Bytes in the smallest line of all instruction caches of this CPU.
#[must_use]
pub fn instruction_line() -> u64 {
    4 << CTR_EL0.read(fields::CTR_EL0::IminLine)
}

macro_rules! by_range {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident: $instruction:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline]
            $vis fn $name(range: Range<VirtAddr>) {
                let line = data_line();
                let mut address = range.start.align_down(line).0;
                while address < range.end.0 {
                    // SAFETY: cleaning writes back what the program stored and nothing else; see `discard` for the one
                    // that does not clean.
                    unsafe { asm!(concat!($instruction, ", {}"), in(reg) address, options(nostack, preserves_flags)) }
                    address += line;
                }
                // Complete before anybody who looks past the caches: devices, and CPUs with their MMU off.
                barrier::dsb_sy();
            }
        )*
    };
}

by_range! {
    /// DC CIVAC: writes dirty lines back to the point of coherency, where a CPU with its MMU off reads, and drops the
    /// lines, so that what such a CPU wrote is read next. Dropping clean lines costs a refill; DC CVAC, which keeps
    /// them, has errata on the Cortex-A53 (819472, 824069, 826319, 827319, 855873).
    pub fn clean: "dc civac";
    /// DC CVAU: writes dirty lines back to the point of unification, where instruction fetches read.
    pub fn clean_to_unification: "dc cvau";
    fn invalidate: "dc ivac";
}

/// DC IVAC: drops lines, dirty ones unwritten.
///
/// # Safety
/// `range` begins and ends on lines of the largest size there is (a page, to be sure), and no store to it through the
/// caches may still matter.
pub unsafe fn discard(range: Range<VirtAddr>) {
    invalidate(range);
}

/// IC IALLU: this CPU's instruction cache is empty, and its next instruction is fetched anew.
pub fn invalidate_instructions() {
    // SAFETY: an instruction cache holds copies only.
    unsafe { asm!("ic iallu", options(nostack, preserves_flags)) }
    // Completes the invalidation on this CPU, then makes it fetch again.
    barrier::dsb_nsh();
    barrier::isb();
}
