// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's two IPIs and its side of the rendezvous. One SGI calls a CPU to the rendezvous (or ends its wait
//! there), the other wakes it up to look for work.
#![cfg(target_os = "none")]

use core::sync::atomic::Ordering;

use cleave::aarch64::{barrier, hint, interrupts, timer};
use cleave::rendezvous::{Host, Rendezvous};
use spin::Once;

use crate::cpu::ban;
use crate::cpu::percpu::this_cpu;
use crate::cpu::stop;
use crate::irq::gic::{self, encoding::Sgi};
use crate::irq::symbols;
use crate::mm::init_data::ro_after_init;

/// Calls to the rendezvous, and releases from it.
pub(crate) const IPI: Sgi = Sgi::new(0);
/// Wakes an idle CPU.
const WAKE: Sgi = Sgi::new(1);

/// The kernel's one rendezvous.
pub(crate) static RENDEZVOUS: Rendezvous = Rendezvous::new();

/// Calls at points of every rendezvous, on the CPU that gets there. Installed from above: nothing here depends on it.
pub(crate) struct Hooks {
    /// The leader is about to send the IPI that calls the others, or lets them go.
    pub(crate) before_ipi: fn(),
    /// The IPI is taken, and the CPU has not arrived.
    pub(crate) before_arrival: fn(),
    /// The CPU is parked; true when it must not sleep.
    pub(crate) while_parked: fn() -> bool,
    /// The CPU is woken up to look for work, and is still in the interrupt.
    pub(crate) woken: fn(),
}

ro_after_init! {
    static HOOKS: Once<Hooks> = Once::new();
}

/// Installs the hooks of every rendezvous. The first call counts.
pub(crate) fn install(hooks: Hooks) {
    HOOKS.call_once(|| hooks);
}

fn hooks(call: impl FnOnce(&Hooks)) {
    if let Some(hooks) = HOOKS.get() {
        call(hooks);
    }
}

/// Handles an IRQ, interrupts masked, on the exception stack.
pub(crate) fn handle_irq() {
    let Some(controller) = gic::get() else { return };
    let Some(interrupt) = controller.acknowledge() else { return };
    // What makes the rendezvous free of deadlocks: an interrupted CPU holds no lock, for locks mask interrupts.
    let held = this_cpu().state.locks.load(Ordering::Relaxed);
    assert!(held == 0, "interrupted with {held} locks held");
    let is_ipi = interrupt.is(IPI);
    let stopped = interrupt.is(stop::STOP);
    let known = is_ipi || stopped || interrupt.is(WAKE);
    let id = interrupt.id();
    // Ended before the rendezvous is attended: the release is the same SGI, and must be able to become pending while
    // this CPU waits for it with interrupts masked.
    controller.end(interrupt);
    if stopped {
        stop::asked();
    } else if is_ipi {
        RENDEZVOUS.attend(&ThisCpu, &this_cpu().state.slot);
    } else if known {
        hooks(|hooks| (hooks.woken)());
    } else {
        log::warn!("unexpected interrupt {id}");
    }
}

/// Wakes every other CPU to look for work. What this CPU wrote before is visible to them then.
pub(crate) fn wake_others() {
    if let Some(controller) = gic::get() {
        controller.send_sgi_to_others(WAKE);
    }
}

/// Wakes this CPU to look for work: it takes the interrupt as soon as interrupts are open.
pub(crate) fn wake_self() {
    if let Some(controller) = gic::get() {
        controller.send_sgi_to_self(WAKE);
    }
}

/// Sends the IPI to this CPU, without a rendezvous: it attends as soon as interrupts are open, and finds nothing.
pub(crate) fn send_ipi_to_self() {
    if let Some(controller) = gic::get() {
        controller.send_sgi_to_self(IPI);
    }
}

/// Waits for an interrupt unless `busy` finds something to do; interrupts are open on the way in and out.
///
/// Looked at with interrupts masked, so that a wake-up between the look and the sleep is not lost: it stays pending,
/// and a pending interrupt ends WFI whether it is masked or not (DDI 0487, D1.7.2).
pub(crate) fn idle_unless(busy: impl FnOnce() -> bool) {
    let masked = interrupts::mask();
    if !busy() {
        hint::wait_for_interrupt();
    }
    drop(masked);
}

/// The CPU that attends or leads a rendezvous.
pub(crate) struct ThisCpu;

impl Host for ThisCpu {
    type Masked = interrupts::Masked;

    #[inline(always)]
    fn send_ipi(&self) {
        hooks(|hooks| (hooks.before_ipi)());
        if let Some(controller) = gic::get() {
            // Stores before are visible before the SGI is: the driver's barrier.
            controller.send_sgi_to_others(IPI);
        }
    }

    #[inline(always)]
    fn ticks(&self) -> u64 {
        timer::count()
    }

    fn pause(&self) {
        // The event stream ends it after some 100 us at the latest (boot/el1.S), so the deadline is looked at.
        hint::wait_for_event();
    }

    fn wait(&self) {
        let busy = HOOKS.get().is_some_and(|hooks| (hooks.while_parked)());
        if !busy {
            hint::wait_for_interrupt();
        }
    }

    fn wake(&self) {
        // The step this CPU just took is visible before the event that makes the leader look at it.
        barrier::dsb_ishst();
        hint::send_event();
    }

    fn interrupts_enabled(&self) -> bool {
        !interrupts::are_masked()
    }

    #[inline(always)]
    fn mask_all(&self) -> Self::Masked {
        interrupts::mask_all()
    }

    #[inline(always)]
    fn isb(&self) {
        barrier::isb();
    }

    fn before_arrival(&self) {
        symbols::cleave_gather();
        hooks(|hooks| (hooks.before_arrival)());
    }

    fn on_arrival(&self) {
        ban::enter();
    }

    fn on_release(&self) {
        ban::leave();
        symbols::cleave_release();
    }
}
