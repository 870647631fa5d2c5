//! CPUs that are loom's threads. A kick is a flag; time stands still until it is over.

use std::cell::Cell;

use cleave::rendezvous::Host;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread::yield_now;

/// What the interrupt controller and the counter are.
pub(crate) struct Board {
    /// How often each CPU was called.
    kicks: Vec<AtomicUsize>,
    clock: Clock,
}

/// What time it is.
#[derive(Debug)]
pub(crate) enum Clock {
    /// Always the same: nobody looks, and loom has less to try.
    Stopped,
    /// Past any deadline from the beginning.
    Late,
    /// Past it from some moment on.
    Running(AtomicBool),
}

impl Board {
    pub(crate) fn new(cpus: usize, clock: Clock) -> Self {
        Self { kicks: (0..cpus).map(|_| AtomicUsize::new(0)).collect(), clock }
    }

    pub(crate) fn cpu(&self, me: usize) -> Cpu<'_> {
        Cpu { board: self, me, reads: Cell::new(0), taken: Cell::new(0) }
    }

    /// The deadline has passed.
    pub(crate) fn time_is_up(&self) {
        if let Clock::Running(over) = &self.clock {
            over.store(true, Ordering::Relaxed);
        }
    }
}

/// A deadline that passes when [`Board::time_is_up`] says so.
pub(crate) const DEADLINE: u64 = 1;

/// A deadline that never passes.
pub(crate) const NEVER: u64 = u64::MAX;

/// One CPU.
pub(crate) struct Cpu<'a> {
    board: &'a Board,
    me: usize,
    /// How often it has read the counter.
    reads: Cell<u64>,
    /// The kicks it has taken.
    taken: Cell<usize>,
}

impl Cpu<'_> {
    /// Takes the interrupt of a kick, if one is pending.
    pub(crate) fn take_kick(&self) -> bool {
        // The interrupt comes after what its sender did before it. A count, and not a flag that is taken back: loom does
        // not know that nothing comes between what a swap finds and what it leaves.
        let kicks = self.board.kicks[self.me].load(Ordering::Acquire);
        self.taken.replace(kicks) != kicks
    }

    /// Waits for a kick.
    pub(crate) fn await_kick(&self) {
        while !self.take_kick() {
            yield_now();
        }
    }
}

impl Host for Cpu<'_> {
    type Masked = ();

    fn kick_others(&self) {
        for (cpu, kick) in self.board.kicks.iter().enumerate() {
            if cpu != self.me {
                kick.fetch_add(1, Ordering::Release);
            }
        }
    }
    fn ticks(&self) -> u64 {
        match &self.board.clock {
            Clock::Stopped => 0,
            // The call to the others is at 0, whatever comes after it later.
            Clock::Late => self.reads.replace(self.reads.get() + 1),
            Clock::Running(over) => u64::from(over.load(Ordering::Relaxed)),
        }
    }
    fn pause(&self) {
        yield_now();
    }
    fn wait(&self) {
        // May return early; the kick stays pending.
        yield_now();
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        true
    }
    fn mask_all(&self) {}
    fn isb(&self) {}
}
