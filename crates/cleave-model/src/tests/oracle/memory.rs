// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory as a list of stores: every value a slot ever had, and the CPU that stored it.

use super::world::{SLOTS, STORED, Slot, Table};
use cleave::tables::Descriptor;

/// A value of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    pub(super) value: Descriptor,
    /// The CPU and the event that stored it; none for what was there at first.
    pub(super) by: Option<(usize, usize)>,
}

/// A root that a CPU wrote to its TTBR1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) table: Table,
    pub(super) by: Option<usize>,
}

/// Every slot's values and every CPU's roots, oldest first.
#[derive(Debug)]
pub(super) struct Memory {
    slots: [Vec<Version>; SLOTS.len()],
    roots: Vec<Vec<Root>>,
}

/// The number of the version of each slot that some walker sees.
pub(super) type Seen = [u8; STORED];

impl Memory {
    pub(super) fn new(at_first: [Descriptor; SLOTS.len()], cpus: usize) -> Self {
        Self {
            slots: at_first.map(|value| vec![Version { value, by: None }]),
            roots: vec![vec![Root { table: Table::Root, by: None }]; cpus],
        }
    }

    pub(super) fn store(&mut self, slot: Slot, value: Descriptor, cpu: usize, event: usize) {
        self.slots[slot].push(Version { value, by: Some((cpu, event)) });
    }

    pub(super) fn set_root(&mut self, cpu: usize, table: Table, event: usize) {
        self.roots[cpu].push(Root { table, by: Some(event) });
    }

    pub(super) fn versions(&self, slot: Slot) -> &[Version] {
        &self.slots[slot]
    }

    pub(super) fn roots(&self, cpu: usize) -> &[Root] {
        &self.roots[cpu]
    }

    /// Returns the value of a slot for an observer that has seen these events.
    pub(super) fn read(&self, seen: &Seen, slot: Slot) -> Descriptor {
        self.slots[slot][seen.get(slot).copied().map_or(0, usize::from)].value
    }

    /// Returns the state of an observer that has seen every event.
    pub(super) fn newest(&self) -> Seen {
        core::array::from_fn(|slot| self.slots[slot].len() as u8 - 1)
    }
}
