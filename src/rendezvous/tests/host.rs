//! Threads as CPUs: with interrupts that are open or masked, a sleep that a kick alone ends, and a limit for every wait.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Host, Measured, Parked, Phase, Refused, Rendezvous, Slot};
use crate::machine::atomics::before_each;

/// No wait of these tests is longer unless something is wrong.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// What the interrupt controller and others know of a CPU.
#[derive(Default)]
struct Line {
    pending: Mutex<bool>,
    kicked: Condvar,
    masked: AtomicBool,
}

impl Line {
    fn pending(&self) -> std::sync::MutexGuard<'_, bool> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kick(&self) {
        *self.pending() = true;
        self.kicked.notify_all();
    }
}

/// What all CPUs share.
pub(super) struct World {
    pub(super) rendezvous: Rendezvous,
    lines: Vec<Line>,
    pub(super) slots: Vec<Slot>,
    pub(super) work: Vec<AtomicU64>,
    stop: AtomicBool,
    start: Instant,
}

impl World {
    pub(super) fn new(cpus: usize) -> Arc<Self> {
        Arc::new(Self {
            rendezvous: Rendezvous::new(),
            lines: (0..cpus).map(|_| Line::default()).collect(),
            slots: (0..cpus).map(|_| Slot::new()).collect(),
            work: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
            start: Instant::now(),
        })
    }

    pub(super) fn cpu(self: &Arc<Self>, me: usize) -> Cpu {
        Cpu { world: self.clone(), me, own: Rc::default() }
    }

    pub(super) fn is_masked(&self, cpu: usize) -> bool {
        self.lines[cpu].masked.load(Ordering::Acquire)
    }

    /// A follower: works, and attends when kicked, but not before `deaf` has passed.
    fn follow(self: &Arc<Self>, me: usize, deaf: Duration) {
        let cpu = self.cpu(me);
        while self.start.elapsed() < deaf && !self.stop.load(Ordering::Relaxed) {
            self.work[me].fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        }
        cpu.with_interrupts(|| {
            while !self.stop.load(Ordering::Relaxed) {
                self.work[me].fetch_add(1, Ordering::Relaxed);
                cpu.interrupt_point();
                std::thread::yield_now();
            }
        });
    }

    /// CPU 0 leads.
    pub(super) fn run<T>(
        self: &Arc<Self>,
        function: impl FnOnce(&Parked<'_>) -> T,
        deadline_ms: u64,
    ) -> Result<(T, Measured), Refused> {
        self.cpu(0).run(self.lines.len() as u32, deadline_ms, function)
    }
}

/// Waits until `done` says so.
pub(super) fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < LIMIT, "{} s have passed without this: {what}", LIMIT.as_secs());
        std::thread::yield_now();
    }
}

/// Runs `leader` beside a follower for each entry of `deaf`.
pub(super) fn with_followers(world: &Arc<World>, deaf: &[Duration], leader: impl FnOnce()) {
    /// Stops the followers, also when the leader fails: the test is to fail then, not to hang.
    struct Stop<'a>(&'a World);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.stop.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        let _stop = Stop(world);
        for (index, &deaf) in deaf.iter().enumerate() {
            scope.spawn(move || world.follow(index + 1, deaf));
        }
        leader();
    });
}

/// What is a CPU's own.
#[derive(Default)]
pub(super) struct Own {
    /// At how many points interrupts have been open so far.
    pub(super) points: Cell<u64>,
    /// The point at which a kick of an earlier rendezvous comes late.
    pub(super) late: Cell<Option<u64>>,
    /// It is in its interrupt handler.
    handling: Cell<bool>,
    /// Its masks keep no kick out.
    pub(super) leaky: Cell<bool>,
    /// No other CPU leads: what is under way is its own.
    pub(super) leads_alone: Cell<bool>,
}

/// A CPU. A pending kick is taken wherever interrupts are open: before any access of the rendezvous' atomics, where
/// interrupts are about to be masked, and where they have been opened.
#[derive(Clone)]
pub(super) struct Cpu {
    world: Arc<World>,
    me: usize,
    pub(super) own: Rc<Own>,
}

impl Cpu {
    /// Runs a program that may be interrupted.
    pub(super) fn with_interrupts<T>(&self, program: impl FnOnce() -> T) -> T {
        let cpu = self.clone();
        let _hook = before_each(move || cpu.interrupt_point());
        program()
    }

    /// Leads a rendezvous.
    pub(super) fn run<T>(
        &self,
        cpus: u32,
        deadline_ms: u64,
        function: impl FnOnce(&Parked<'_>) -> T,
    ) -> Result<(T, Measured), Refused> {
        let (rendezvous, slot) = (&self.world.rendezvous, &self.world.slots[self.me]);
        self.with_interrupts(|| rendezvous.run(self, slot, cpus, deadline_ms * 1000, function))
    }

    /// Attends one.
    pub(super) fn attend(&self) -> bool {
        self.world.rendezvous.attend(self, &self.world.slots[self.me])
    }

    fn line(&self) -> &Line {
        &self.world.lines[self.me]
    }

    fn interrupt_point(&self) {
        let own = &*self.own;
        if own.handling.get() || self.world.is_masked(self.me) && !own.leaky.get() {
            return;
        }
        let point = own.points.replace(own.points.get() + 1);
        if own.late.get() == Some(point) {
            self.line().kick();
        }
        own.handling.set(true);
        if own.leads_alone.get() && !own.leaky.get() {
            let (phase, _) = self.world.rendezvous.phase();
            let mine = matches!(phase, Phase::Gather | Phase::Masked | Phase::Run);
            assert!(!mine, "the leader could be interrupted in its own rendezvous, in {phase:?}");
        }
        if std::mem::take(&mut *self.line().pending()) {
            let attended = self.attend();
            assert!(!(attended && own.leads_alone.get()), "the leader attends its own rendezvous");
        }
        own.handling.set(false);
    }
}

/// Interrupts are masked while it lives.
pub(super) struct Masks {
    cpu: Cpu,
    before: bool,
}

impl Drop for Masks {
    fn drop(&mut self) {
        self.cpu.line().masked.store(self.before, Ordering::Release);
        if !std::thread::panicking() {
            self.cpu.interrupt_point();
        }
    }
}

impl Host for Cpu {
    type Masked = Masks;

    fn kick_others(&self) {
        for (cpu, line) in self.world.lines.iter().enumerate() {
            if cpu != self.me {
                line.kick();
            }
        }
    }
    fn ticks(&self) -> u64 {
        self.world.start.elapsed().as_micros() as u64
    }
    fn pause(&self) {
        let (phase, generation) = self.world.rendezvous.phase();
        let waited = self.world.start.elapsed();
        assert!(waited < LIMIT, "the leader still waits for others in {phase:?} of generation {generation}");
        std::thread::yield_now();
    }
    fn wait(&self) {
        // A pending kick ends it, and stays pending, as with WFI and interrupts masked. Nothing else does.
        assert!(self.own.handling.get() || self.world.is_masked(self.me), "CPU {} sleeps unmasked", self.me);
        let (line, start) = (self.line(), Instant::now());
        let mut pending = line.pending();
        while !*pending {
            let (me, waited) = (self.me, start.elapsed());
            assert!(
                waited < LIMIT,
                "CPU {me} has slept for {waited:?} and no kick has come: {:?}",
                self.world.rendezvous.phase()
            );
            let woken = line.kicked.wait_timeout(pending, LIMIT - waited);
            pending = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(pending);
        std::thread::yield_now();
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        !self.world.is_masked(self.me) && !self.own.handling.get()
    }
    fn mask_all(&self) -> Masks {
        self.interrupt_point();
        let before = self.line().masked.swap(true, Ordering::AcqRel);
        Masks { cpu: self.clone(), before }
    }
    fn isb(&self) {}
}
