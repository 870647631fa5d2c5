// SPDX-License-Identifier: MIT OR Apache-2.0
//! Interrupts of scheduled CPUs: a kick that is pending is taken at any point at which interrupts are open, by lot, and
//! a CPU that waits for a kick sleeps until one is pending.

use std::rc::Rc;
use std::sync::Arc;

use super::Flag;
use super::schedule::{Baton, Scheduled, Turn, interrupt_point, set_handler};
use cleave::rendezvous::Host;

/// Interrupts are masked while it lives.
pub struct Masks {
    baton: Arc<Baton>,
    cpu: usize,
    /// They were masked before.
    before: bool,
}

impl Drop for Masks {
    fn drop(&mut self) {
        if !self.before {
            self.baton.turn().masked &= !(1 << self.cpu);
            // What was pending is taken as soon as it may be. A CPU that fails has failed.
            if !std::thread::panicking() {
                interrupt_point();
            }
        }
    }
}

/// The flag that stands for the interrupt controller.
const IPIS: usize = 1;

impl Turn {
    /// Returns the CPUs that sleep, and go on sleeping unless they are kicked.
    pub(super) const fn sleepers(&self) -> u32 {
        self.asleep & !self.kicked
    }

    /// Draws whether a CPU takes a kick at this point, if it can.
    pub(super) fn takes_interrupt(&mut self, cpu: usize) -> bool {
        let open = (!self.masked | self.leaky) & !self.handling & !self.deaf;
        (open & self.kicked) >> cpu & 1 == 1 && Baton::lot(self).is_multiple_of(4)
    }
}

impl Scheduled<'_> {
    /// Runs `handler` at any point at which a kick is pending and this CPU's interrupts are open.
    pub fn on_ipi(&self, handler: impl Fn(&Scheduled<'_>) + 'static) {
        set_handler(Rc::new(handler));
    }

    /// Keeps the programs of `cpus`, a bit for each, from taking a kick until the next call: they run for long with
    /// interrupts masked.
    pub fn deafen(&self, cpus: u32) {
        self.baton.turn().deaf = cpus;
    }

    /// Lets kicks through this CPU's masks from now on, as if the IPI could not be masked.
    pub fn leak_ipis(&self) {
        self.baton.turn().leaky |= 1 << self.cpu.number();
    }

    /// Kicks one CPU for no reason, as a kick of an earlier rendezvous does that comes late. It orders nothing.
    pub fn send_ipi_to(&self, cpu: usize) {
        self.baton.turn().kicked |= 1 << cpu;
    }

    /// Returns true when `cpu` has masked all of its interrupts by itself, not by taking one.
    #[must_use]
    pub fn has_masked_all(&self, cpu: usize) -> bool {
        self.baton.turn().masked >> cpu & 1 == 1
    }

    /// Takes an exception: interrupts are masked by it, and it synchronises the context.
    pub(super) fn enter_interrupt(&self) {
        let me = 1 << self.cpu.number();
        let mut turn = self.baton.turn();
        turn.kicked &= !me;
        turn.handling |= me;
        drop(turn);
        self.cpu.load_flag(IPIS, Flag::Ordered);
        self.cpu.branch();
        self.cpu.isb();
    }

    /// Returns from it.
    pub(super) fn leave_interrupt(&self) {
        self.baton.turn().handling &= !(1 << self.cpu.number());
    }
}

impl Host for Scheduled<'_> {
    type Masked = Masks;

    fn send_ipi(&self) {
        self.cpu.store_flag(IPIS, Flag::Ordered);
        self.baton.turn().kicked |= !(1 << self.cpu.number());
        self.step();
    }
    fn ticks(&self) -> u64 {
        self.cpu.machine().tick(1)
    }
    fn pause(&self) {
        self.cpu.machine().tick(100);
        self.step();
    }
    fn wait(&self) {
        // Leaves the kick pending, as WFI with interrupts masked does. Nothing else ends it.
        let cpu = self.cpu.number();
        while self.baton.turn().kicked >> cpu & 1 == 0 {
            self.baton.turn().asleep |= 1 << cpu;
            self.baton.pass(cpu);
        }
        self.baton.turn().asleep &= !(1 << cpu);
        self.step();
    }
    fn wake(&self) {
        self.step();
    }
    fn interrupts_enabled(&self) -> bool {
        let turn = self.baton.turn();
        (turn.masked | turn.handling) >> self.cpu.number() & 1 == 0
    }
    fn mask_all(&self) -> Masks {
        interrupt_point();
        let cpu = self.cpu.number();
        let mut turn = self.baton.turn();
        let before = turn.masked >> cpu & 1 == 1;
        turn.masked |= 1 << cpu;
        drop(turn);
        Masks { baton: self.baton.clone(), cpu, before }
    }
    fn isb(&self) {
        self.cpu.isb();
    }
    fn before_arrival(&self) {
        self.step();
    }
    fn on_arrival(&self) {
        self.cpu.park();
    }
    fn on_release(&self) {
        self.cpu.leave();
    }
}
