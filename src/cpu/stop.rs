// SPDX-License-Identifier: MIT OR Apache-2.0
//! The panic IPI, which stops the other CPUs when one reports a panic or a fault.
//!
//! A panicking CPU may be anywhere, in the stop window too: nothing here takes a lock or waits without a bound. A CPU
//! that has its interrupts masked does not take the IPI; the report says that it did not answer.
#![cfg(target_os = "none")]

use core::sync::atomic::{AtomicBool, Ordering};

use crate::cpu::registers::ELR_EL1;
use cleave::aarch64::{barrier, hint};
use tock_registers::interfaces::Readable;

use crate::cpu::percpu;
use crate::cpu::power;
use crate::irq::gic::{self, encoding::Sgi};

/// Stops a CPU for good.
pub(crate) const STOP: Sgi = Sgi::new(2);

/// Set once a CPU has asked the others to stop: without it a stray interrupt of that number stops no CPU.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Tells every other CPU to stop.
pub(crate) fn ask_others() {
    if ASKED.swap(true, Ordering::SeqCst) {
        return;
    }
    // The flag is visible before the interrupt that makes them look at it.
    barrier::dsb_ishst();
    if let Some(controller) = gic::get() {
        controller.send_sgi_to_others(STOP);
    }
}

/// Stops this CPU: called from the interrupt.
pub(crate) fn asked() {
    if !ASKED.load(Ordering::SeqCst) {
        return;
    }
    if let Some(cpu) = percpu::try_this_cpu() {
        // No exception has been taken since the interrupt: it still says where that came.
        cpu.state.stopped_at.store(ELR_EL1.get(), Ordering::SeqCst);
        // Visible before the event that makes the waiting CPU look.
        barrier::dsb_ishst();
        hint::send_event();
    }
    power::halt()
}
