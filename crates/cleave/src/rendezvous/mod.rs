// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rendezvous of all CPUs (Linux: `stop_machine`), in which the leader runs one function while all others stand
//! still.
//!
//! The leader calls the others by an interrupt; each masks its interrupts, arrives and waits. When the last has arrived the
//! leader's function runs. If one does not come in time the leader calls the rendezvous off, every CPU leaves, nothing
//! has happened, and the caller learns which CPUs were missing. After the function has begun there is nothing to wait
//! for, so there is no deadline and no way to fail.
//!
//! A rendezvous neither decides which CPUs take part ([`OnlineCpus`] is the kernel's promise) nor touches translation tables.

mod state;
mod timeline;

#[cfg(test)]
mod tests;

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::Ordering;

pub use state::{MAX_CPUS, Phase};
pub use timeline::{Slot, Times};

use crate::atomics::{Atomic, Atomics, Counter, Native};
use crate::deadline::Deadline;
use state::State;

/// The CPU that a rendezvous runs on. Each call is one action.
pub trait Host {
    /// Interrupts are masked while it lives.
    type Masked;

    /// Calls every other CPU by an interrupt that makes it call [`Rendezvous::attend`] (or, when it waits in
    /// [`Host::wait`], ends the wait). The caller's earlier stores are visible to the called before the call arrives.
    fn send_ipi(&self);
    /// Reads the counter, in ticks, in program order with the accesses around the read.
    fn ticks(&self) -> u64;
    /// Waits a while, at most some 100 microseconds, for another CPU to make progress: the leader's wait, which has a
    /// deadline to look at.
    fn pause(&self);
    /// Waits, with interrupts masked, until a kick is pending; may return early for no reason.
    fn wait(&self);
    /// Wakes a leader in [`Host::pause`].
    fn wake(&self);
    /// Returns true when this CPU would take the interrupt of a kick.
    fn interrupts_enabled(&self) -> bool;
    /// Masks every interrupt of this CPU, SError and debug included, until what it returns is dropped.
    fn mask_all(&self) -> Self::Masked;
    /// Executes an ISB, a context synchronisation event: later accesses of this CPU use no translation from before.
    fn isb(&self);
    /// Runs on each CPU after its kick and before its arrival.
    fn before_arrival(&self) {}
    /// Begins the ban: until [`Host::on_release`] this CPU must not allocate, free, lock, log or touch the linear map.
    fn on_arrival(&self) {}
    /// Ends the ban for this CPU.
    fn on_release(&self) {}
}

/// The CPUs that are online, counted by their slots: the set that a rendezvous stops.
#[derive(Debug)]
pub struct OnlineCpus {
    count: u32,
}

impl OnlineCpus {
    /// Counts the CPUs of these slots.
    ///
    /// # Safety
    /// Each slot is of another CPU, and the slots are those of every CPU that is online, the caller's included. As long as the
    /// value lives no CPU comes online or goes offline, and each answers an IPI of [`Host::send_ipi`] by
    /// [`Rendezvous::attend`] with its own slot. [`Parked`] is a proof on the strength of this.
    #[must_use]
    #[allow(unsafe_code, reason = "the set of online CPUs is a promise that no type can hold")]
    pub unsafe fn of<'a, A: Atomics>(slots: impl IntoIterator<Item = &'a Slot<A>>) -> Self {
        Self { count: slots.into_iter().count() as u32 }
    }

    /// Returns how many there are.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }
}

/// The proof that every online CPU stands still, for as long as it lives. Only a rendezvous makes one, of [`OnlineCpus`].
#[derive(Debug)]
pub struct Parked<'a> {
    cpus: u32,
    everyone: PhantomData<&'a mut ()>,
}

impl Parked<'_> {
    /// Returns how many CPUs stand still, the leader included.
    #[must_use]
    pub const fn cpus(&self) -> u32 {
        self.cpus
    }
}

/// An error that kept a rendezvous from taking place. Nothing has happened then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// Another one is under way.
    Busy,
    /// The caller has its interrupts masked: while it waits it could not answer a call itself. A defect of the caller.
    InterruptsMasked,
    /// Some CPU did not arrive before the deadline.
    Deadline {
        /// The number of CPUs that had arrived, the leader included.
        arrived: u32,
        /// The number expected.
        expected: u32,
        /// The generation that was called off, for [`Slot::arrived_in`].
        generation: u32,
    },
    /// More CPUs than [`MAX_CPUS`].
    TooMany,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("another rendezvous is under way"),
            Self::InterruptsMasked => f.write_str("rendezvous called with interrupts masked"),
            Self::Deadline { arrived, expected, .. } => {
                write!(f, "only {arrived} of {expected} CPUs came to the rendezvous in time")
            }
            Self::TooMany => write!(f, "a rendezvous holds at most {MAX_CPUS} CPUs"),
        }
    }
}

/// The times of a rendezvous, in ticks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Measured {
    /// The generation, for [`Slot::arrived_in`].
    pub generation: u32,
    /// The call to the others.
    pub kicked: u64,
    /// Right after the leader saw the last CPU arrive: the stop window begins.
    pub began: u64,
    /// Right after the store that releases: the stop window ends.
    pub ended: u64,
    /// The last CPU has left.
    pub gone: u64,
}

/// The CPU that is to lead a rendezvous, with what it leads.
#[derive(Clone, Copy)]
pub struct Leader<'a, H, A: Atomics = Native> {
    /// The kernel's rendezvous point.
    pub rendezvous: &'a Rendezvous<A>,
    /// This CPU.
    pub host: &'a H,
    /// The slot of this CPU.
    pub slot: &'a Slot<A>,
    /// The CPUs to stop.
    pub online: &'a OnlineCpus,
}

impl<H: Host, A: Atomics> Leader<'_, H, A> {
    /// Stops every online CPU, runs `function` on this one while all stand still, and lets all go. `deadline` is the time the
    /// others have to come, in ticks.
    ///
    /// # Errors
    /// [`Refused`]: `function` has not run.
    pub fn stop<T>(&self, deadline: u64, function: impl FnOnce(&Parked<'_>) -> T) -> Result<(T, Measured), Refused> {
        let Self { rendezvous, host, slot, online: &OnlineCpus { count: cpus } } = *self;
        if cpus > MAX_CPUS {
            return Err(Refused::TooMany);
        }
        if !host.interrupts_enabled() {
            return Err(Refused::InterruptsMasked);
        }
        // Masked before the word leaves Idle. With interrupts open and the phase Gather, an IPI that comes late would make
        // this CPU attend its own rendezvous, and wait for a release that it alone can give. A CPU that finds another's
        // rendezvous under way must attend it: the masks are dropped before it is told so.
        let masks = host.mask_all();
        slot.enter();
        let generation = match rendezvous.begin(cpus) {
            Ok(generation) => generation,
            Err(refused) => {
                slot.leave();
                drop(masks);
                return Err(refused);
            }
        };
        let kicked = host.ticks();
        slot.kicked(kicked);
        host.send_ipi();
        host.before_arrival();
        host.on_arrival();
        let arrived = host.ticks();
        slot.arrived(arrived, host.ticks());
        rendezvous.step(generation, State::arrive);
        slot.arrived_in_generation(generation);
        if let Err(refused) = rendezvous.await_run(host, generation, cpus, kicked, deadline) {
            host.on_release();
            // Those that came wait for a kick.
            host.send_ipi();
            slot.leave();
            drop(masks);
            return Err(refused);
        }
        let parked = Parked { cpus, everyone: PhantomData };
        // Worked out in front of the stop window, which is counted in instructions.
        let release = core::hint::black_box(State::release(generation, cpus - 1).pack());
        let began = host.ticks();
        let result = function(&parked);
        // No other CPU changes the word in Run. Release: what the function did comes before any CPU that sees this.
        rendezvous.state.store(release, Ordering::Release);
        let ended = host.ticks();
        host.send_ipi();
        slot.released(ended);
        host.on_release();
        slot.leave();
        drop(masks);
        while State::unpack(rendezvous.state.load(Ordering::Acquire)).missing != 0 {
            host.pause();
        }
        let gone = host.ticks();
        rendezvous.state.store(State::idle(generation.wrapping_add(1)).pack(), Ordering::Release);
        Ok((result, Measured { generation, kicked, began, ended, gone }))
    }
}

/// One rendezvous point. A kernel has one.
pub struct Rendezvous<A: Atomics = Native> {
    state: A::U64,
}

crate::atomics::constructors! {
    /// Returns a rendezvous point at rest, in generation 0.
    Rendezvous<A> = Self { state: <A as Atomics>::U64::new(State::idle(0).pack()) }
}

impl<A: Atomics> Rendezvous<A> {
    /// Returns the present phase and generation, for people and debuggers.
    #[must_use]
    pub fn phase(&self) -> (Phase, u32) {
        let state = State::unpack(self.state.load(Ordering::Relaxed));
        (state.phase, state.generation)
    }

    fn swap(&self, from: State, to: State) -> Result<(), State> {
        // AcqRel: a step publishes what this CPU did before it, and sees what the others published by theirs.
        self.state
            .compare_exchange(from.pack(), to.pack(), Ordering::AcqRel, Ordering::Acquire)
            .map(|_| ())
            .map_err(State::unpack)
    }

    /// Changes the state from Idle to Gather.
    fn begin(&self, cpus: u32) -> Result<u32, Refused> {
        let state = State::unpack(self.state.load(Ordering::Acquire));
        if state.phase != Phase::Idle {
            return Err(Refused::Busy);
        }
        // How many CPUs are expected is in the word: a caller that loses the swap has left no trace of its own number.
        self.swap(state, State::gather(state.generation, cpus)).map_err(|_| Refused::Busy)?;
        Ok(state.generation)
    }

    /// Applies `next` to the word while it belongs to `generation`, and returns whether that has happened.
    fn step(&self, generation: u32, next: impl Fn(State) -> Option<State>) -> bool {
        let mut state = State::unpack(self.state.load(Ordering::Acquire));
        while let Some(next) = next(state).filter(|_| state.generation == generation) {
            match self.swap(state, next) {
                Ok(()) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// Waits as the leader for all followers, until the deadline.
    fn await_run<H: Host>(
        &self,
        host: &H,
        generation: u32,
        cpus: u32,
        kicked: u64,
        deadline: u64,
    ) -> Result<(), Refused> {
        let mut deadline = Deadline::new(kicked, deadline);
        loop {
            let state = State::unpack(self.state.load(Ordering::Acquire));
            if state.phase == Phase::Run {
                return Ok(());
            }
            if deadline.has_passed(host.ticks()) {
                // The swap fails when a follower arrived in this very moment; then look again.
                if self.swap(state, State::idle(generation.wrapping_add(1))).is_ok() {
                    return Err(Refused::Deadline { arrived: cpus - state.missing, expected: cpus, generation });
                }
                continue;
            }
            host.pause();
        }
    }

    /// Takes part in a rendezvous that another CPU leads. Called from the interrupt of its kick, which has been
    /// acknowledged and ended. Returns when this CPU may go on, and false when there was nothing to attend.
    ///
    /// A kick that comes late or twice is harmless. It finds no rendezvous, or one that this CPU has yet to join. It never
    /// finds one that this CPU leads or has joined already: both are done with interrupts masked. Should a host's masks
    /// let an interrupt through all the same, the mark in `slot` keeps this CPU from waiting for itself.
    pub fn attend<H: Host>(&self, host: &H, slot: &Slot<A>) -> bool {
        if slot.is_inside() {
            return false;
        }
        let state = State::unpack(self.state.load(Ordering::Acquire));
        if state.phase != Phase::Gather {
            return false;
        }
        let generation = state.generation;
        host.before_arrival();
        let arrived = host.ticks();
        // Masked before this CPU counts as arrived: to have arrived is to stand still.
        let masks = host.mask_all();
        slot.enter();
        host.on_arrival();
        slot.arrived(arrived, host.ticks());
        let attended = self.step(generation, State::arrive);
        if attended {
            slot.arrived_in_generation(generation);
            host.wake();
            self.await_release(host, slot, generation);
        }
        host.on_release();
        slot.leave();
        drop(masks);
        attended
    }

    fn await_release<H: Host>(&self, host: &H, slot: &Slot<A>, generation: u32) {
        let released = loop {
            let state = State::unpack(self.state.load(Ordering::Acquire));
            if state.generation != generation {
                break false;
            }
            if state.phase == Phase::Release {
                break true;
            }
            host.wait();
        };
        // Behind the branch on the acquired word: before FEAT_ETS2 only a context synchronisation event here keeps this
        // CPU from taking a fault that a walk of the broken map produced (Arm ARM B2.3.12 and D8.16).
        host.isb();
        slot.released(host.ticks());
        if released {
            // Release: this CPU's slot is written before the leader sees it gone. The count is in the low bits.
            self.state.fetch_sub(1, Ordering::Release);
            host.wake();
        }
    }
}
