// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cache maintenance by virtual address (DDI 0487, D7, "Cache support"), over ranges.
#![allow(unsafe_code, reason = "cache maintenance is inline assembly")]

use core::arch::asm;
use core::ops::Range;

use super::{barrier, registers};
use crate::tables::VirtAddr;

/// Returns the bytes in the smallest line of all data caches of this CPU.
#[must_use]
pub fn data_line() -> u64 {
    // CTR_EL0.DminLine, bits 19:16: log2 of its words.
    4 << (registers::ctr_el0() >> 16 & 0xf)
}

/// Writes dirty lines back to the point of coherency, where a CPU with its MMU off reads, and drops the lines, so that
/// what such a CPU wrote is read next (DC CIVAC). Complete on return. The range is widened to whole lines.
///
/// Dropping clean lines costs a refill; DC CVAC, which keeps them, has errata on the Cortex-A53 (819472, 824069, 826319,
/// 827319, 855873).
#[inline]
pub fn clean(range: Range<VirtAddr>) {
    let line = data_line();
    let mut address = range.start.align_down(line).0;
    while address < range.end.0 {
        // SAFETY: cleaning writes back what the program stored and nothing else.
        unsafe { asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) }
        address += line;
    }
    // Complete before any observer that bypasses the caches reads: devices, and CPUs with their MMU off.
    barrier::dsb_sy();
}
