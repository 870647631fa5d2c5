// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupt masking on this CPU: PSTATE.DAIF (DDI 0487, C5.2, DAIF).
#![allow(unsafe_code, reason = "PSTATE is written by inline assembly")]

use core::arch::asm;
use core::marker::PhantomData;

use super::registers;
use super::syndrome::Syndrome;

/// PSTATE.I as DAIF has it.
const IRQS: u64 = 1 << 7;

/// Interrupts are masked; dropping it gives back what was before.
///
/// Guards are dropped in the reverse order of their making, and on the CPU they were made on.
#[must_use = "interrupts come back when it is dropped"]
#[derive(Debug)]
pub struct Masked {
    before: u64,
    // Neither Send nor Sync: the mask is this CPU's.
    _this_cpu: PhantomData<*mut ()>,
}

impl Masked {
    /// Keeps interrupts masked when the guard is gone.
    pub fn keep(self) {
        core::mem::forget(self);
    }
}

impl Drop for Masked {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: these are the mask bits read when the guard was made. Not `nomem`: what was done under the mask is done
        // before it ends.
        unsafe { asm!("msr daif, {}", in(reg) self.before, options(nostack, preserves_flags)) }
    }
}

/// Masks IRQ and FIQ. SError and debug exceptions stay as they are.
#[inline(always)]
pub fn mask() -> Masked {
    let before = registers::daif();
    // SAFETY: masking only postpones. Not `nomem`: nothing done under the mask moves in front of it.
    unsafe { asm!("msr daifset, #0b0011", options(nostack, preserves_flags)) }
    Masked { before, _this_cpu: PhantomData }
}

/// Masks debug exceptions, SError, IRQ and FIQ.
#[inline(always)]
pub fn mask_all() -> Masked {
    let before = registers::daif();
    // SAFETY: as in `mask`.
    unsafe { asm!("msr daifset, #0b1111", options(nostack, preserves_flags)) }
    Masked { before, _this_cpu: PhantomData }
}

/// Returns true when this CPU takes no IRQ, regardless of FIQs: SGIs are IRQs, so PSTATE.I alone decides whether this
/// CPU can answer one.
#[inline(always)]
#[must_use]
pub fn are_masked() -> bool {
    registers::daif() & IRQS != 0
}

/// Returns whether an SError is pending, masked or not: ISR_EL1.A (DDI 0487, ISR_EL1).
#[inline(always)]
#[must_use]
pub fn error_is_pending() -> bool {
    let pending: u64;
    // SAFETY: reading ISR_EL1 has no side effect. Not `nomem`: it is read behind what may have made the SError pending.
    unsafe { asm!("mrs {}, isr_el1", out(reg) pending, options(nostack, preserves_flags)) }
    pending & 1 << 8 != 0
}

/// Waits for the errors of everything before it, where the CPU has FEAT_RAS, and takes what it was given of one that is pending
/// and masked: DISR_EL1 (DDI 0487, "Error Synchronization Barrier"). That SError is pending no longer.
#[must_use]
pub fn take_deferred_error() -> Option<Syndrome> {
    let disr: u64;
    // SAFETY: ESB (HINT #16, a NOP without FEAT_RAS) changes DISR_EL1 alone.
    unsafe { asm!("hint #16", options(nostack, preserves_flags)) };
    // ID_AA64PFR0_EL1.RAS, bits 31:28: without it there is no such register.
    if registers::id_aa64pfr0_el1() >> 28 & 0xf == 0 {
        return None;
    }
    // SAFETY: reads and clears DISR_EL1, which exists.
    unsafe {
        asm!("mrs {0}, S3_0_C12_C1_1", "msr S3_0_C12_C1_1, xzr", out(reg) disr, options(nostack, preserves_flags));
    }
    Syndrome::from_deferred(disr)
}

/// Unmasks SError, IRQ and FIQ: for a CPU whose vectors, stacks and interrupt controller are ready. FIQs are not used;
/// one that arrives is better reported than lost.
#[inline(always)]
pub fn unmask() {
    // SAFETY: the vectors are in place since boot (boot/el1.S), and every exception has its stack.
    unsafe { asm!("msr daifclr, #0b0111", options(nostack, preserves_flags)) }
}

/// Unmasks SError alone: from as early as its report can be printed.
#[inline(always)]
pub fn unmask_errors() {
    // SAFETY: as in `unmask`.
    unsafe { asm!("msr daifclr, #0b0100", options(nostack, preserves_flags)) }
}
