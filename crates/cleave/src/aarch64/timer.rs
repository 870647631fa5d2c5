// SPDX-License-Identifier: MIT OR Apache-2.0
//! The virtual counter (DDI 0487, "The Generic Timer in AArch64 state").
//!
//! CNTVOFF_EL2 is 0 (boot/el2.S), so it is the physical counter, or what the hypervisor makes of it.
#![allow(unsafe_code, reason = "the ordered read and the control register are inline assembly")]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use super::registers;

/// Returns CNTVCT_EL0, read no earlier than everything before it has executed.
///
/// The ISB is what holds the read back (reads of the counter may otherwise be speculated: CNTVCT_EL0); the compiler keeps memory
/// accesses on their side.
///
/// Read twice: on a Cortex-A73 a read while the lower word rolls over can be wrong by 2^32 (erratum 858921). If bit 32 of
/// the two differs, the roll-over lies between them and the first is the right one; otherwise the second is. Done on
/// every core, since a look at MIDR_EL1 costs as much as the three instructions it would save.
#[inline(always)]
#[must_use]
pub fn count() -> u64 {
    let (first, second): (u64, u64);
    // SAFETY: reading the counter has no side effect.
    unsafe {
        asm!("isb", "mrs {first}, cntvct_el0", "mrs {second}, cntvct_el0", first = out(reg) first,
            second = out(reg) second, options(nostack, preserves_flags));
    }
    if (first ^ second) >> 32 & 1 != 0 { first } else { second }
}

/// Returns CNTVCT_EL0, whenever the CPU happens to read it: for what needs neither order nor exactness, and no protection
/// from erratum 858921.
#[inline(always)]
#[must_use]
pub fn count_unordered() -> u64 {
    registers::cntvct_el0()
}

/// The frequency of [`set_frequency`]; 0 before.
static FREQUENCY: AtomicU64 = AtomicU64::new(0);

/// Returns the frequency of the counter in Hz: one number on every CPU, or what firmware says on this CPU while
/// [`set_frequency`] has not been called.
#[inline]
#[must_use]
pub fn frequency() -> u64 {
    match FREQUENCY.load(Ordering::Relaxed) {
        0 => firmware_frequency(),
        hertz => hertz,
    }
}

/// Sets what [`frequency`] returns, on every CPU.
pub fn set_frequency(hertz: u64) {
    FREQUENCY.store(hertz, Ordering::Relaxed);
}

/// Returns CNTFRQ_EL0 in Hz. It is a note that firmware leaves on each CPU, and does not change the counter; firmware may
/// leave it at 0, or different on some CPU (DDI 0487, CNTFRQ_EL0).
#[inline]
#[must_use]
pub fn firmware_frequency() -> u64 {
    // Bits 63:32 are RES0.
    registers::cntfrq_el0() & 0xffff_ffff
}

/// Sets the rate of this CPU's event stream by [`frequency`]: one event every 50 to 100 microseconds, or as close as the field
/// gets (DDI 0487, CNTKCTL_EL1.EVNTI: an event every 2^(EVNTI + 1) ticks). The boot assembly has set it by CNTFRQ_EL0, which
/// may be wrong. No barrier: a WFE that is early or late once is no error.
pub fn set_event_rate() {
    let interval = ((frequency() / 10_000).max(2).ilog2() - 1).min(15);
    let control = registers::cntkctl_el1() & !(0xf << 4) | u64::from(interval) << 4;
    // SAFETY: the field changes how often this CPU gets an event, and a WFE may end early for any reason.
    unsafe { asm!("msr cntkctl_el1, {}", in(reg) control, options(nomem, nostack, preserves_flags)) };
}
