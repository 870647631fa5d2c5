// SPDX-License-Identifier: MIT OR Apache-2.0
//! CPUs that run at the same time, one step of one of them after another's, in an order that a seed decides.
//!
//! Each CPU is a thread, and one thread has the baton. It may lose it at every access of an atomic and at every call of
//! [`Host`]; the next CPU is drawn by lot, so a run with the same seed is the same run. Between those points a CPU's
//! steps are not interrupted: what other CPUs may see of them meanwhile is the machine's to judge, not the schedule's.
//! At the same points a CPU whose interrupts are open may take the interrupt of a kick (`interrupt.rs`).

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Flag, Machine, OnCpu, State};

/// An access to an atomic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Touch {
    Load(Flag),
    Store(Flag),
    /// The ordering of its load and of its store.
    Modify(Flag, Flag),
}

thread_local! {
    static HERE: RefCell<Option<Watcher>> = const { RefCell::new(None) };
}

/// The machine and the CPU that this thread is.
#[derive(Clone)]
struct Watcher {
    machine: Arc<Mutex<State>>,
    baton: Arc<Baton>,
    cpu: usize,
    /// The handler of a kick's interrupt.
    handler: Option<Rc<Handler>>,
}

/// A CPU's interrupt handler.
pub(super) type Handler = dyn Fn(&Scheduled<'_>);

/// Has `handler` run by this CPU when it takes the interrupt of a kick.
pub(super) fn set_handler(handler: Rc<Handler>) {
    HERE.with(|here| {
        if let Some(watcher) = here.borrow_mut().as_mut() {
            watcher.handler = Some(handler);
        }
    });
}

/// A place between two instructions of the CPU that this thread is: a kick that is pending may be taken here, by lot.
pub(super) fn interrupt_point() {
    let Some(watcher) = HERE.with(|here| here.borrow().clone()) else { return };
    let Some(handler) = watcher.handler else { return };
    if !watcher.baton.turn().takes_interrupt(watcher.cpu) {
        return;
    }
    let machine = Machine { state: watcher.machine };
    let scheduled = Scheduled { cpu: machine.cpu(watcher.cpu), baton: watcher.baton };
    scheduled.enter_interrupt();
    handler(&scheduled);
    scheduled.leave_interrupt();
}

/// Does `operation` on the atomic at `flag`, as the CPU that this thread is, if it is one. The operation says what it
/// found, and nothing when it stored nothing though it meant to.
pub(super) fn touched<T>(flag: usize, touch: Touch, operation: impl FnOnce() -> Option<T>) -> Option<T> {
    // A CPU that has failed gives locks back on its way out, and is of no more interest.
    let watcher = HERE.with(|here| here.borrow().clone()).filter(|_| !std::thread::panicking());
    let Some(watcher) = watcher else { return operation() };
    watcher.baton.maybe_pass(watcher.cpu);
    interrupt_point();
    let found = operation();
    let mut state = watcher.machine.lock().unwrap_or_else(PoisonError::into_inner);
    let (load, store) = match (touch, found.is_some()) {
        (Touch::Load(load), _) | (Touch::Modify(load, _), false) => (Some(load), None),
        (Touch::Store(store), _) => (None, Some(store)),
        (Touch::Modify(load, store), true) => (Some(load), Some(store)),
    };
    if let Some(kind) = load {
        state.flag_loaded(watcher.cpu, flag, kind);
        // The library's code branches on a loaded value before it goes on.
        state.branch(watcher.cpu);
    }
    match (load, store) {
        (Some(_), Some(kind)) => state.flag_modified(watcher.cpu, flag, kind),
        (None, Some(kind)) => state.flag_stored(watcher.cpu, flag, kind),
        (_, None) => {}
    }
    found
}

/// A run that takes more than this has no end: every CPU waits for another.
const MOST_PASSES: u64 = 200_000;

#[derive(Default)]
pub(super) struct Turn {
    current: usize,
    /// The CPUs whose program has not ended.
    alive: u32,
    /// The CPUs that a kick is pending for.
    pub(super) kicked: u32,
    pub(super) masked: u32,
    /// The CPUs that are in their interrupt handler.
    pub(super) handling: u32,
    /// The CPUs that sleep until a kick is pending.
    pub(super) asleep: u32,
    /// The CPUs whose program has interrupts masked for as long as this says so.
    pub(super) deaf: u32,
    /// The CPUs whose masks keep no kick out.
    pub(super) leaky: u32,
    lots: u64,
    /// The number of times that the baton went on.
    passes: u64,
    /// CPU 0 has ended.
    over: bool,
    failed: bool,
    /// The reason why no CPU makes progress.
    stuck: Option<String>,
}

impl Turn {
    /// Ends the run: no CPU makes progress.
    fn get_stuck(&mut self) {
        // The first one to notice knows most.
        if self.failed {
            return;
        }
        let asleep: Vec<usize> = (0..32).filter(|cpu| self.sleepers() >> cpu & 1 == 1).collect();
        self.stuck = Some(format!("no CPU makes progress; CPUs that sleep and get no kick: {asleep:?}"));
        self.failed = true;
    }
}

pub(super) struct Baton {
    turn: Mutex<Turn>,
    passed: Vec<Condvar>,
}

impl Baton {
    pub(super) fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lot(turn: &mut Turn) -> u64 {
        turn.lots = turn.lots.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        turn.lots >> 33
    }

    /// Waits until it is this CPU's turn.
    fn wait(&self, cpu: usize) {
        let mut turn = self.turn();
        while turn.current != cpu && !turn.failed {
            turn = self.passed[cpu].wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        let (failed, stuck) = (turn.failed, turn.stuck.clone());
        drop(turn);
        assert!(!failed, "{}", stuck.unwrap_or_else(|| "another CPU failed".into()));
    }

    fn give(&self, turn: &mut Turn) {
        let alive = turn.alive;
        if alive == 0 {
            return;
        }
        let nth = Self::lot(turn) % u64::from(alive.count_ones());
        let next = (0..32).filter(|cpu| alive >> cpu & 1 == 1).nth(nth as usize);
        turn.current = next.unwrap_or(0) as usize;
        self.passed[turn.current].notify_one();
    }

    /// Lets another CPU go on, or the same one, by lot.
    pub(super) fn pass(&self, cpu: usize) {
        let mut turn = self.turn();
        turn.passes += 1;
        // Every CPU sleeps, or those that do not have run out of time; and after CPU 0's end no CPU is kicked any more.
        if turn.passes > MOST_PASSES
            || turn.alive & !turn.sleepers() == 0
            || turn.over && turn.sleepers() >> cpu & 1 == 1
        {
            turn.get_stuck();
            self.passed.iter().for_each(Condvar::notify_all);
        }
        self.give(&mut turn);
        let mine = turn.current == cpu && !turn.failed;
        drop(turn);
        if !mine {
            self.wait(cpu);
        }
    }

    /// Passes the baton at one step in four.
    fn maybe_pass(&self, cpu: usize) {
        let pass = Self::lot(&mut self.turn()).is_multiple_of(4);
        if pass {
            self.pass(cpu);
        }
    }

    fn end(&self, cpu: usize, failed: bool) {
        let mut turn = self.turn();
        turn.alive &= !(1 << cpu);
        turn.over |= cpu == 0;
        turn.failed |= failed;
        if turn.failed {
            self.passed.iter().for_each(Condvar::notify_all);
        } else {
            self.give(&mut turn);
        }
    }
}

/// Runs programs on the CPUs of a machine.
pub struct Schedule<'a> {
    machine: &'a Machine,
    seed: u64,
}

impl<'a> Schedule<'a> {
    /// Returns a schedule drawn from `seed`.
    #[must_use]
    pub const fn new(machine: &'a Machine, seed: u64) -> Self {
        Self { machine, seed }
    }

    /// Runs `leader` on CPU 0 and `follower` on every other one; the followers end when [`Scheduled::is_over`] says so.
    ///
    /// # Panics
    /// When a program does.
    pub fn run<T>(&self, leader: impl FnOnce(&Scheduled<'a>) -> T, follower: impl Fn(&Scheduled<'a>) + Sync) -> T {
        let cpus = self.machine.cpus();
        let turn = Turn { alive: (1 << cpus) - 1, lots: self.seed, ..Turn::default() };
        let baton = Arc::new(Baton { turn: Mutex::new(turn), passed: (0..cpus).map(|_| Condvar::new()).collect() });
        let on = |cpu: usize| Scheduled { cpu: self.machine.cpu(cpu), baton: baton.clone() };
        let result = std::thread::scope(|scope| {
            let follower = &follower;
            for cpu in 1..cpus {
                let scheduled = on(cpu);
                scope.spawn(move || {
                    // A failure elsewhere ends this one too, and is reported there.
                    let _ = scheduled.run(|| follower(&scheduled));
                });
            }
            let scheduled = on(0);
            let result = scheduled.run(|| leader(&scheduled));
            // The CPU that fails wins over those that failed because of it.
            result.unwrap_or_else(|payload| resume_unwind(payload))
        });
        // A follower that never ends is a failure of its own.
        let stuck = baton.turn().stuck.take();
        assert!(stuck.is_none(), "{}", stuck.unwrap_or_default());
        result
    }
}

/// A CPU under a schedule: the [`Host`](cleave::rendezvous::Host) of a rendezvous.
pub struct Scheduled<'a> {
    pub(super) cpu: OnCpu<'a>,
    pub(super) baton: Arc<Baton>,
}

impl<'a> Scheduled<'a> {
    fn run<T>(&self, program: impl FnOnce() -> T) -> std::thread::Result<T> {
        let cpu = self.cpu.number();
        let watcher =
            Watcher { machine: self.cpu.machine().shared_state(), baton: self.baton.clone(), cpu, handler: None };
        let result = catch_unwind(AssertUnwindSafe(|| {
            self.baton.wait(cpu);
            HERE.with(|here| *here.borrow_mut() = Some(watcher));
            program()
        }));
        HERE.with(|here| *here.borrow_mut() = None);
        self.baton.end(cpu, result.is_err());
        result
    }

    /// Returns the CPU itself.
    #[must_use]
    pub const fn cpu(&self) -> OnCpu<'a> {
        self.cpu
    }

    /// Returns true when CPU 0's program has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.baton.turn().over
    }

    /// Lets the others go on.
    pub fn step(&self) {
        self.baton.pass(self.cpu.number());
        interrupt_point();
    }

    /// Draws a number below `bound`.
    #[must_use]
    pub fn lot(&self, bound: u64) -> u64 {
        Baton::lot(&mut self.baton.turn()) % bound.max(1)
    }
}
