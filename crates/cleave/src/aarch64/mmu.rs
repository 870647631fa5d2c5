// SPDX-License-Identifier: MIT OR Apache-2.0
//! The translation table base registers.
//!
//! ASID 0 and CnP 0 always: the kernel has no address spaces, and CPUs share no TLB entries (DDI 0487, TTBR1_EL1).
#![allow(unsafe_code, reason = "TTBRs are written by inline assembly")]

use core::arch::asm;

use super::barrier;
use super::registers;
use crate::tables::PhysAddr;

/// BADDR of a 48-bit physical address, 4 KiB aligned tables: bits 47:1, of which the low ones are zero.
const BADDR: u64 = 0xffff_ffff_f000;

/// Returns the address of the table in TTBR0_EL1.
#[must_use]
pub fn ttbr0() -> PhysAddr {
    PhysAddr(registers::ttbr0_el1() & BADDR)
}

/// Returns the address of the table in TTBR1_EL1.
#[must_use]
pub fn ttbr1() -> PhysAddr {
    PhysAddr(registers::ttbr1_el1() & BADDR)
}

/// Writes TTBR0_EL1; in force after the caller's ISB.
///
/// # Safety
/// `root` is a level 0 table all of whose memory is reachable by the walker, and no live reference points into what it
/// stops mapping. Translations cached under the old root stay until a TLBI.
#[inline(always)]
pub unsafe fn set_ttbr0(root: PhysAddr) {
    // SAFETY: the caller's promise. Not `nomem`: accesses keep to their side of the change.
    unsafe { asm!("msr ttbr0_el1, {}", in(reg) root.0, options(nostack, preserves_flags)) }
}

/// Writes TTBR1_EL1; in force after the caller's ISB.
///
/// # Safety
/// As for [`set_ttbr0`]; and it maps the code, stack and data in use exactly as the old root does.
#[inline(always)]
pub unsafe fn set_ttbr1(root: PhysAddr) {
    // SAFETY: the caller's promise. Not `nomem`, as above.
    unsafe { asm!("msr ttbr1_el1, {}", in(reg) root.0, options(nostack, preserves_flags)) }
}

/// Goes from the holding root to the real one: what a CPU does when it is admitted.
///
/// No TLBI: the real root only adds translations to those the holding root has, and what is invalid is never cached.
///
/// # Safety
/// As for [`set_ttbr1`].
pub unsafe fn switch_ttbr1(root: PhysAddr) {
    // SAFETY: the caller's promise.
    unsafe { set_ttbr1(root) };
    // The walks for every later access use the new root.
    barrier::isb();
}
