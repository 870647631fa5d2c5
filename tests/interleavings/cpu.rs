// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that are loom's threads: with interrupts that are open or masked, and a sleep that a kick alone ends.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::atomics::before_each;
use cleave::rendezvous::Host;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::yield_now;

/// The interrupt controller and the counter.
pub(crate) struct Board {
    /// The number of kicks of each CPU.
    ipis: Vec<AtomicUsize>,
    clock: Clock,
}

/// The source of the time.
#[derive(Debug)]
pub(crate) enum Clock {
    /// Always the same: no CPU reads it, and loom has less to try.
    Stopped,
    /// Later whenever a CPU looks, for each CPU by itself: no time is 0, and any deadline has passed at the second look.
    Counting,
    /// Past it from some moment on.
    Running(AtomicBool),
}

impl Board {
    pub(crate) fn new(cpus: usize, clock: Clock) -> Arc<Self> {
        Arc::new(Self { ipis: (0..cpus).map(|_| AtomicUsize::new(0)).collect(), clock })
    }

    /// The deadline has passed.
    pub(crate) fn time_is_up(&self) {
        if let Clock::Running(over) = &self.clock {
            over.store(true, Ordering::Relaxed);
        }
    }

    /// Kicks a CPU for no reason, as a kick of an earlier rendezvous does that comes late. It orders nothing.
    pub(crate) fn send_ipi_to(&self, cpu: usize) {
        self.ipis[cpu].fetch_add(1, Ordering::Relaxed);
    }
}

/// A deadline that passes when [`Board::time_is_up`] says so.
pub(crate) const DEADLINE: u64 = 1;

/// A deadline that never passes.
pub(crate) const NEVER: u64 = u64::MAX;

/// The number of times that a sleeping CPU looks for a kick; after it no kick can be pending.
const LONGEST_SLEEP: u32 = 200;

/// The action of a CPU that takes a kick.
type Handler = Rc<dyn Fn(&Cpu)>;

#[derive(Default)]
struct Lines {
    /// The number of times that it has read the counter.
    reads: Cell<u64>,
    /// The kicks it has taken.
    taken: Cell<usize>,
    masked: Cell<bool>,
    /// Masks keep no kick out.
    leaky: Cell<bool>,
    /// It is in its interrupt handler.
    handling: Cell<bool>,
    handler: RefCell<Option<Handler>>,
}

/// One CPU.
#[derive(Clone)]
pub(crate) struct Cpu {
    board: Arc<Board>,
    me: usize,
    lines: Rc<Lines>,
}

impl Cpu {
    pub(crate) fn new(board: &Arc<Board>, me: usize) -> Self {
        Self { board: board.clone(), me, lines: Rc::default() }
    }

    pub(crate) fn number(&self) -> usize {
        self.me
    }

    /// Takes the interrupt of a kick, if one is pending.
    pub(crate) fn take_ipi(&self) -> bool {
        // The interrupt comes after what its sender did before it. A count, and not a flag that is taken back: loom does
        // not know that nothing comes between what a swap finds and what it leaves.
        let ipis = self.board.ipis[self.me].load(Ordering::Acquire);
        self.lines.taken.replace(ipis) != ipis
    }

    /// Waits for a kick.
    pub(crate) fn await_ipi(&self) {
        while !self.take_ipi() {
            yield_now();
        }
    }

    /// Has `handler` run wherever a kick is pending and interrupts are open, until what this returns is dropped: before any
    /// access of an atomic, where interrupts are about to be masked, and where they have been opened. At which of them is
    /// loom's choice, for the load that finds the kick may find an older value first.
    pub(crate) fn on_ipi(&self, handler: impl Fn(&Self) + 'static) -> Handling {
        *self.lines.handler.borrow_mut() = Some(Rc::new(handler));
        let cpu = self.clone();
        before_each(move || cpu.interrupt_point());
        Handling(self.clone())
    }

    /// Its masks keep no kick out from now on.
    pub(crate) fn leak_ipis(&self) {
        self.lines.leaky.set(true);
    }

    /// A place at which a pending kick is taken, if it can be.
    pub(crate) fn interrupt_point(&self) {
        let lines = &*self.lines;
        if lines.handling.get() || lines.masked.get() && !lines.leaky.get() {
            return;
        }
        let Some(handler) = lines.handler.borrow().clone() else { return };
        if self.take_ipi() {
            lines.handling.set(true);
            handler(self);
            lines.handling.set(false);
        }
    }
}

/// A CPU has a handler while it lives. What the handler holds is loom's, and must not outlive its execution.
#[must_use]
pub(crate) struct Handling(Cpu);

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.lines.handler.borrow_mut().take();
    }
}

/// Interrupts are masked while it lives.
pub(crate) struct Masks {
    cpu: Cpu,
    before: bool,
}

impl Drop for Masks {
    fn drop(&mut self) {
        self.cpu.lines.masked.set(self.before);
        if !std::thread::panicking() {
            self.cpu.interrupt_point();
        }
    }
}

impl Host for Cpu {
    type Masked = Masks;

    fn send_ipi(&self) {
        for (cpu, ipis) in self.board.ipis.iter().enumerate() {
            if cpu != self.me {
                ipis.fetch_add(1, Ordering::Release);
            }
        }
    }
    fn ticks(&self) -> u64 {
        match &self.board.clock {
            Clock::Stopped => 0,
            Clock::Counting => self.lines.reads.replace(self.lines.reads.get() + 1) + 1,
            Clock::Running(over) => u64::from(over.load(Ordering::Relaxed)),
        }
    }
    fn pause(&self) {
        yield_now();
    }
    fn wait(&self) {
        // A pending kick ends it, and stays pending; nothing else does. It orders nothing.
        for _ in 0..LONGEST_SLEEP {
            if self.board.ipis[self.me].load(Ordering::Relaxed) != self.lines.taken.get() {
                return yield_now();
            }
            yield_now();
        }
        panic!("CPU {} sleeps, and no kick is on its way", self.me);
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        !self.lines.masked.get() && !self.lines.handling.get()
    }
    fn mask_all(&self) -> Masks {
        self.interrupt_point();
        Masks { cpu: self.clone(), before: self.lines.masked.replace(true) }
    }
    fn isb(&self) {}
}
