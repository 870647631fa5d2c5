// SPDX-License-Identifier: MIT OR Apache-2.0
//! Threads as CPUs: with interrupts that are open or masked, a sleep that a kick alone ends, and a limit for every wait.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::super::{Host, Leader, Measured, OnlineCpus, Parked, Phase, Refused, Rendezvous, Slot};
use crate::atomics::{Access, Observed, Observer};

thread_local! {
    /// The hook that this thread calls before every access of an atomic.
    static BEFORE: RefCell<Option<Rc<dyn Fn()>>> = const { RefCell::new(None) };
}

/// Atomics before each access of which a CPU may be interrupted.
pub(super) struct Interruptible;

impl Observer for Interruptible {
    fn observe<T>(_cell: usize, _access: Access, operation: impl FnOnce() -> Option<T>) -> Option<T> {
        let hook = BEFORE.with(|before| before.borrow().clone());
        if let Some(hook) = hook {
            hook();
        }
        operation()
    }
}

/// Takes the hook of this thread away again.
struct Hook;

impl Drop for Hook {
    fn drop(&mut self) {
        BEFORE.with(|before| before.borrow_mut().take());
    }
}

/// Calls `hook` on this thread before every access of an atomic, until the returned guard is dropped.
#[must_use]
fn before_each(hook: impl Fn() + 'static) -> Hook {
    BEFORE.with(|before| *before.borrow_mut() = Some(Rc::new(hook)));
    Hook
}

/// No wait of these tests is longer unless something is wrong.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

/// The state of a CPU that the interrupt controller and other CPUs see.
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

    fn interrupt(&self) {
        *self.pending() = true;
        self.kicked.notify_all();
    }
}

/// The state that all CPUs share.
pub(super) struct World {
    pub(super) rendezvous: Rendezvous<Observed<Interruptible>>,
    lines: Vec<Line>,
    pub(super) slots: Vec<Slot<Observed<Interruptible>>>,
    pub(super) work: Vec<AtomicU64>,
    stop: AtomicBool,
    start: Instant,
    /// The CPUs that kicks reach: the first so many.
    online: AtomicUsize,
    /// The time at which each CPU begins to take kicks, in ticks.
    hears: Vec<AtomicU64>,
    /// A clock that goes on only while the leader waits, and for every CPU that has begun to take kicks until it has come.
    stepped: Option<AtomicU64>,
}

impl World {
    pub(super) fn new(cpus: usize) -> Arc<Self> {
        Arc::new(Self::with_clock(cpus, None))
    }

    /// Returns a world whose clock only the leader's steps advance, regardless of how the host schedules its threads.
    pub(super) fn stepped(cpus: usize) -> Arc<Self> {
        Arc::new(Self::with_clock(cpus, Some(AtomicU64::new(0))))
    }

    fn with_clock(cpus: usize, stepped: Option<AtomicU64>) -> Self {
        Self {
            rendezvous: Rendezvous::default(),
            lines: (0..cpus).map(|_| Line::default()).collect(),
            slots: (0..cpus).map(|_| Slot::default()).collect(),
            work: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
            stop: AtomicBool::new(false),
            start: Instant::now(),
            online: AtomicUsize::new(cpus),
            hears: (0..cpus).map(|_| AtomicU64::new(0)).collect(),
            stepped,
        }
    }

    /// Returns the time in ticks: microseconds, or steps.
    fn now(&self) -> u64 {
        self.stepped
            .as_ref()
            .map_or_else(|| self.start.elapsed().as_micros() as u64, |steps| steps.load(Ordering::Relaxed))
    }

    /// Lets a step of time pass, once every CPU that takes kicks by now has come.
    fn pass_time(&self) {
        let Some(steps) = &self.stepped else { return };
        let (now, (_, generation)) = (self.now(), self.rendezvous.phase());
        for (cpu, hears) in
            self.hears.iter().enumerate().skip(1).filter(|(_, hears)| hears.load(Ordering::Relaxed) <= now)
        {
            let told = || format!("CPU {cpu}, which takes kicks since {hears:?}, comes");
            until(&told(), || self.slots[cpu].arrived_in(generation));
        }
        steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Puts the first `cpus` CPUs online. The others take no kicks from now on, not even late ones.
    pub(super) fn set_online(&self, cpus: usize) {
        self.online.store(cpus, Ordering::Relaxed);
        (cpus..self.work.len()).for_each(|cpu| self.await_work(cpu));
    }

    /// Waits until a follower works: it is in no handler that began before.
    pub(super) fn await_work(&self, cpu: usize) {
        let before = self.work[cpu].load(Ordering::Relaxed);
        until("a CPU that is offline works", || self.work[cpu].load(Ordering::Relaxed) != before);
    }

    pub(super) fn cpu(self: &Arc<Self>, me: usize) -> Cpu {
        Cpu { world: self.clone(), me, own: Rc::default() }
    }

    pub(super) fn is_masked(&self, cpu: usize) -> bool {
        self.lines[cpu].masked.load(Ordering::Acquire)
    }

    /// Runs a follower, which works and attends when kicked.
    fn follow(self: &Arc<Self>, me: usize) {
        let cpu = self.cpu(me);
        while self.now() < self.hears[me].load(Ordering::Relaxed) && !self.stop.load(Ordering::Relaxed) {
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

    /// Runs a rendezvous that CPU 0 leads.
    pub(super) fn run<T>(
        self: &Arc<Self>,
        function: impl FnOnce(&Parked<'_>) -> T,
        deadline_ms: u64,
    ) -> Result<(T, Measured), Refused> {
        self.cpu(0).run(self.online.load(Ordering::Relaxed) as u32, deadline_ms * 1000, function)
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

/// Runs `leader` beside a follower for each entry of `deaf`: so long it takes no kicks, as if it had masked its interrupts.
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
            world.hears[index + 1].store(deaf.as_micros() as u64, Ordering::Relaxed);
        }
        for me in 1..=deaf.len() {
            scope.spawn(move || world.follow(me));
        }
        leader();
    });
}

/// The state of one CPU.
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
    /// Kicks come to it late: none of those that are pending is taken yet.
    pub(super) deaf: Cell<bool>,
    /// No other CPU leads: what is under way is its own.
    pub(super) leads_alone: Cell<bool>,
    /// The time at which it first found the test over while it waited for its release.
    over: Cell<Option<Instant>>,
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
        deadline: u64,
        function: impl FnOnce(&Parked<'_>) -> T,
    ) -> Result<(T, Measured), Refused> {
        let (rendezvous, slot) = (&self.world.rendezvous, &self.world.slots[self.me]);
        let slots = self.world.slots.iter().cycle().take(cpus as usize);
        // SAFETY: no proof is needed: nothing is changed that a CPU could meet, and some tests count wrongly on purpose.
        #[allow(unsafe_code, reason = "the tests choose how many CPUs are counted")]
        let online = unsafe { OnlineCpus::of(slots) };
        self.with_interrupts(|| Leader { rendezvous, host: self, slot, online: &online }.stop(deadline, function))
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
        if own.deaf.get() || own.handling.get() || self.world.is_masked(self.me) && !own.leaky.get() {
            return;
        }
        let point = own.points.replace(own.points.get() + 1);
        if own.late.get() == Some(point) {
            self.line().interrupt();
        }
        own.handling.set(true);
        if own.leads_alone.get() && !own.leaky.get() {
            let (phase, _) = self.world.rendezvous.phase();
            let mine = matches!(phase, Phase::Gather | Phase::Run);
            assert!(!mine, "the leader could be interrupted in its own rendezvous, in {phase:?}");
        }
        let online = self.me < self.world.online.load(Ordering::Relaxed);
        if std::mem::take(&mut *self.line().pending()) && online {
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

    fn send_ipi(&self) {
        let online = self.world.online.load(Ordering::Relaxed);
        for (cpu, line) in self.world.lines.iter().enumerate().take(online) {
            if cpu != self.me {
                line.interrupt();
            }
        }
    }
    fn ticks(&self) -> u64 {
        self.world.now()
    }
    fn pause(&self) {
        let (phase, generation) = self.world.rendezvous.phase();
        let waited = self.world.start.elapsed();
        assert!(waited < LIMIT, "the leader still waits for others in {phase:?} of generation {generation}");
        if phase != Phase::Release {
            self.world.pass_time();
        }
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
        // A kick that is pending ends every sleep at once, so a CPU that is never let go does not sleep: it goes round.
        if self.world.stop.load(Ordering::Relaxed) {
            let over = self.own.over.get().unwrap_or_else(Instant::now);
            self.own.over.set(Some(over));
            let (me, phase) = (self.me, self.world.rendezvous.phase());
            assert!(over.elapsed() < LIMIT, "the test is over, and CPU {me} waits for its release: {phase:?}");
        }
        std::thread::yield_now();
    }
    fn wake(&self) {}
    fn interrupts_enabled(&self) -> bool {
        !self.world.is_masked(self.me) && !self.own.handling.get()
    }
    fn mask_all(&self) -> Masks {
        self.interrupt_point();
        if self.own.handling.get() {
            // Long enough for the leader to act, if it did not wait for this.
            std::thread::sleep(Duration::from_micros(100));
        }
        let before = self.line().masked.swap(true, Ordering::AcqRel);
        Masks { cpu: self.clone(), before }
    }
    fn isb(&self) {}
}
