// SPDX-License-Identifier: MIT OR Apache-2.0
//! The executing CPU as an implementation of the table code's `Cpu`: one instruction a method.
#![allow(unsafe_code, reason = "TTBR0 is written by inline assembly")]

use super::{barrier, mmu, tlb};
use crate::tables::{Cpu, PhysAddr, TlbiLevels, TlbiRange, VirtAddr};

/// The CPU that executes the call.
#[derive(Clone, Copy, Debug)]
pub struct ThisCpu {
    _promised: (),
}

impl ThisCpu {
    /// Returns a handle that works on whichever CPU uses it.
    ///
    /// # Safety
    /// The program runs at EL1 and lets the table code have TTBR0_EL1 while it commits: nothing that runs or is read then lies
    /// below TTBR0, and the roots given to the table code ([`crate::linear_map::Roots`]) are level 0 tables that are empty
    /// or complete.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self { _promised: () }
    }
}

impl Cpu for ThisCpu {
    #[inline(always)]
    fn dsb_ishst(&self) {
        barrier::dsb_ishst();
    }
    #[inline(always)]
    fn dsb_ish(&self) {
        barrier::dsb_ish();
    }
    #[inline(always)]
    fn dsb_nsh(&self) {
        barrier::dsb_nsh();
    }
    #[inline(always)]
    fn isb(&self) {
        barrier::isb();
    }
    #[inline(always)]
    fn tlbi_vmalle1is(&self) {
        tlb::vmalle1is();
    }
    #[inline(always)]
    fn tlbi_address(&self, address: VirtAddr, levels: TlbiLevels) {
        match levels {
            TlbiLevels::All => tlb::vaae1is(address),
            TlbiLevels::Last => tlb::vaale1is(address),
        }
    }
    #[inline(always)]
    fn tlbi_range(&self, range: TlbiRange, levels: TlbiLevels) {
        match levels {
            TlbiLevels::All => tlb::rvaae1is(range),
            TlbiLevels::Last => tlb::rvaale1is(range),
        }
    }
    #[inline(always)]
    fn tlbi_vmalle1(&self) {
        tlb::vmalle1();
    }
    #[inline(always)]
    fn repeat_tlbi_workaround(&self) {
        tlb::vale1is(VirtAddr(0));
    }
    #[inline(always)]
    fn set_ttbr0(&self, root: PhysAddr) {
        // SAFETY: by the promise of `new`, root is a table that may be walked, and nothing in use lies below TTBR0.
        unsafe { mmu::set_ttbr0(root) };
    }
}
