// SPDX-License-Identifier: MIT OR Apache-2.0
//! The event log that a violation shows.

use core::fmt;
use std::collections::VecDeque;

use super::{Dsb, Flag, Tlbi};
use cleave::tables::{Descriptor, PhysAddr, VirtAddr};

/// The number of events that a violation shows.
pub const EVENTS_KEPT: usize = 20;

/// One action of one CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// The CPU.
    pub cpu: usize,
    /// Its action.
    pub action: Action,
}

/// An architectural action of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the architecture's own names")]
pub enum Action {
    /// Stores of descriptors from a slot on: the first one, and how many.
    Store(PhysAddr, Descriptor, usize),
    Dsb(Dsb),
    Isb,
    Branch,
    Tlbi(Tlbi),
    /// An access to memory through the translation regime.
    Access(VirtAddr),
    SetTtbr0(PhysAddr),
    SetTtbr1(PhysAddr),
    SetTcr(u64),
    SetMair(u64),
    SetVmid(u16),
    MmuOn,
    /// A plain or release store of a flag that other CPUs look at.
    StoreFlag(Flag),
    /// A plain or acquire load of one.
    LoadFlag(Flag),
    CpuOn(usize),
    CheckIn,
    Admitted,
    Arrived,
    Left,
    Allocate(PhysAddr),
    Free(PhysAddr),
    /// An access with the MMU off.
    Uncached(PhysAddr),
    /// An access through the data cache.
    Cached(PhysAddr),
    CacheClean(PhysAddr),
    CacheInvalidate(PhysAddr),
    CacheCleanInvalidate(PhysAddr),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CPU {}: ", self.cpu)?;
        match self.action {
            Action::Store(slot, value, 1) => write!(f, "[{slot}] := {value:?}"),
            Action::Store(slot, value, count) => write!(f, "[{slot}...] := {value:?} and on, {count} descriptors"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Log(VecDeque<Event>);

impl Log {
    pub(super) fn push(&mut self, event: Event) {
        if self.0.len() == EVENTS_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    pub(super) fn last(&self) -> Vec<Event> {
        self.0.iter().copied().collect()
    }
}
