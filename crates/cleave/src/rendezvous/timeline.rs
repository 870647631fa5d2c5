// SPDX-License-Identifier: MIT OR Apache-2.0
//! The timeline of a rendezvous: the times at which each CPU was called, masked its interrupts and went on.

use core::sync::atomic::Ordering;

use crate::atomics::{Atomic, Atomics, Native};

/// One CPU's part of the timeline. Written by that CPU, read by every CPU; it lies outside the linear map, for it is
/// written while the map is broken.
pub struct Slot<A: Atomics = Native> {
    /// The CPU leads or attends a rendezvous. Read and written by that CPU alone, so it needs no order between CPUs; an
    /// interrupt that could find it set is masked.
    inside: A::Bool,
    generation: A::U32,
    kicked: A::U64,
    arrived: A::U64,
    masked: A::U64,
    released: A::U64,
}

/// The times of a [`Slot`] as plain numbers: counter ticks, 0 where nothing has happened yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Times {
    /// The leader called this CPU. Only the leader's own slot has it.
    pub kicked: u64,
    /// This CPU took the call.
    pub arrived: u64,
    /// Its interrupts were masked.
    pub masked: u64,
    /// It went on.
    pub released: u64,
}

/// No generation yet.
const NEVER: u32 = u32::MAX;

crate::atomics::constructors! {
    /// Returns an empty slot.
    Slot<A> = Self {
        inside: <A as Atomics>::Bool::new(false),
        generation: <A as Atomics>::U32::new(NEVER),
        kicked: <A as Atomics>::U64::new(0),
        arrived: <A as Atomics>::U64::new(0),
        masked: <A as Atomics>::U64::new(0),
        released: <A as Atomics>::U64::new(0),
    }
}

impl<A: Atomics> Slot<A> {
    /// Returns true when this CPU arrived in the rendezvous of that generation.
    #[must_use]
    pub fn arrived_in(&self, generation: u32) -> bool {
        self.generation.load(Ordering::Acquire) == generation
    }

    /// Returns its times.
    #[must_use]
    pub fn times(&self) -> Times {
        Times {
            kicked: self.kicked.load(Ordering::Relaxed),
            arrived: self.arrived.load(Ordering::Relaxed),
            masked: self.masked.load(Ordering::Relaxed),
            released: self.released.load(Ordering::Relaxed),
        }
    }

    /// Marks that this CPU leads or attends, its interrupts masked.
    pub(super) fn enter(&self) {
        self.inside.store(true, Ordering::Relaxed);
    }

    /// Takes the mark back, while interrupts are still masked.
    pub(super) fn leave(&self) {
        self.inside.store(false, Ordering::Relaxed);
    }

    /// Returns true while this CPU leads or attends.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Relaxed)
    }

    pub(super) fn kicked(&self, ticks: u64) {
        self.kicked.store(ticks, Ordering::Relaxed);
    }

    /// Notes when this CPU took the call, and when its interrupts were masked. The step that arrives publishes both.
    pub(super) fn arrived(&self, arrived: u64, masked: u64) {
        self.arrived.store(arrived, Ordering::Relaxed);
        self.masked.store(masked, Ordering::Relaxed);
    }

    /// Notes that the step of arriving took place in `generation`.
    pub(super) fn arrived_in_generation(&self, generation: u32) {
        self.generation.store(generation, Ordering::Release);
    }

    pub(super) fn released(&self, ticks: u64) {
        self.released.store(ticks, Ordering::Relaxed);
    }
}
