//! Stopping the other CPUs when one reports its last, and saying where each was.
//!
//! A panicking CPU may be anywhere, in the rendezvous window too: nothing here takes a lock or waits without a bound. A
//! CPU that has its interrupts masked does not hear the call; it is said to have not answered.
#![cfg(target_os = "none")]

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

use cleave::aarch64::registers::ELR_EL1;
use cleave::aarch64::{barrier, hint, timer};
use cleave::deadline::Deadline;
use tock_registers::interfaces::Readable;

use crate::cpu::percpu;
use crate::cpu::power;
use crate::cpu::smp;
use crate::irq::gic::{self, encoding::Sgi};

/// Stops a CPU for good.
pub(crate) const STOP: Sgi = Sgi::new(2);

/// How long the others are waited for, in milliseconds.
const PATIENCE: u64 = 100;

/// Somebody has asked: without it a stray interrupt of that number stops nobody.
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

/// What the interrupt does, on the CPU that was told.
pub(crate) fn asked() {
    if !ASKED.load(Ordering::SeqCst) {
        return;
    }
    if let Some(cpu) = percpu::try_this_cpu() {
        // No exception has been taken since the interrupt: it still says where that came.
        cpu.own.stopped_at.store(ELR_EL1.get(), Ordering::SeqCst);
        // Visible before the event that makes the waiting CPU look.
        barrier::dsb_ishst();
        hint::send_event();
    }
    power::halt()
}

/// The others' states, a line each. Waits until all have stopped, or for [`PATIENCE`].
pub(crate) struct Others;

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let me = percpu::try_this_cpu().map(|cpu| cpu.id);
        let others = || smp::online().filter(|cpu| Some(cpu.id) != me);
        let stopped = |cpu: &percpu::PerCpu| cpu.own.stopped_at.load(Ordering::SeqCst);
        let mut deadline = Deadline::new(timer::count(), timer::frequency() / 1000 * PATIENCE);
        while others().any(|cpu| stopped(cpu) == 0 && !cpu.window.is_inside()) && !deadline.has_passed(timer::count()) {
            hint::wait_for_event();
        }
        for cpu in others() {
            match stopped(cpu) {
                0 if cpu.window.is_inside() => writeln!(f, "  CPU {}: parked in the rendezvous", cpu.id)?,
                0 => writeln!(f, "  CPU {}: did not answer: its interrupts are masked", cpu.id)?,
                at => writeln!(f, "  CPU {}: stopped at\n  #0  {at:#018x}", cpu.id)?,
            }
        }
        Ok(())
    }
}
