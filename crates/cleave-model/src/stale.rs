// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stale entries, which a TLB or a walk cache may still hold although memory differs.
//!
//! What memory holds now may always be cached, so it need not be remembered; what it held before is a [`StaleEntry`],
//! from the store that replaced it until an invalidation of it has completed on every CPU that may have walked it. That
//! is every schedule of caching and eviction at once: a stale entry is there if some TLB of some machine may have it.

use super::table_place::{Cpus, Place};
use super::tlbi::{Named, Scope};
use super::{CpuState, Rule, State};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr};

/// nG of a leaf.
pub(super) const NOT_GLOBAL: u64 = 1 << 11;

/// A translation or a table entry that some CPU may hold and memory no longer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct StaleEntry {
    pub(super) number: u64,
    pub(super) slot: PhysAddr,
    pub(super) old: Descriptor,
    /// The level of the table the entry stood in; none for a root that a base register held.
    pub(super) level: Option<Level>,
    /// That root, or the one that this was below.
    pub(super) root: Option<PhysAddr>,
    /// The first virtual address it covers.
    pub(super) address: VirtAddr,
    /// The CPUs that may hold it.
    pub(super) holders: Cpus,
    pub(super) restrictions: u64,
    /// The ASID it was walked under: what is not global holds for that one only.
    pub(super) asid: u16,
    /// The CPU that replaced it, and the number of its store; `None` for a root.
    pub(super) store: Option<(usize, u64)>,
    /// The stale entry of the table entry it can be walked through again.
    pub(super) above: Option<u64>,
    /// On an erratum core: the CPU that has done the first of two invalidations.
    pub(super) half: Option<usize>,
    /// The rule that the attempts to invalidate it have broken so far.
    pub(super) blame: Rule,
}

impl StaleEntry {
    /// Returns the stale entry of a value that an entry at `place` held and that its holders may have walked.
    pub(super) const fn new(slot: PhysAddr, old: Descriptor, place: Place, address: VirtAddr) -> Self {
        Self {
            number: 0,
            slot,
            old,
            level: Some(place.level),
            root: None,
            address,
            holders: place.holders,
            restrictions: place.restrictions,
            asid: 0,
            store: None,
            above: None,
            half: None,
            blame: Rule::MakeWithoutTlbi,
        }
    }
}

/// A TLBI that counts for a stale entry and waits for its DSB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued {
    pub(super) stale: u64,
    pub(super) scope: Scope,
    pub(super) second: bool,
}

impl State {
    pub(super) fn is_table(&self, stale: &StaleEntry) -> bool {
        match stale.level {
            None => true,
            Some(level) => matches!(stale.old.kind(self.geometry, level), Kind::Table(_)),
        }
    }

    /// Returns the number of bytes that a stale entry covers.
    pub(super) fn bytes(&self, stale: &StaleEntry) -> u128 {
        stale.level.map_or(1 << self.geometry.address_bits(), |level| 1 << self.geometry.shift(level))
    }

    pub(super) fn covers(&self, stale: &StaleEntry, address: VirtAddr) -> bool {
        u128::from(address.0.wrapping_sub(stale.address.0)) < self.bytes(stale)
    }

    /// Remembers what a store replaced.
    pub(super) fn remember(&mut self, cpu: usize, slot: PhysAddr, old: Descriptor, place: Place, address: VirtAddr) {
        let store = Some((cpu, self.cpus[cpu].order.stores));
        self.remember_for_each_asid(StaleEntry { store, ..StaleEntry::new(slot, old, place, address) });
    }

    /// Remembers that a CPU's base register held another root before.
    pub(super) fn remember_root(&mut self, cpu: usize, root: PhysAddr, base: VirtAddr) {
        let top = self.top(base, 1 << cpu);
        let stale = StaleEntry::new(root, Descriptor(root.0), top, base);
        self.remember_for_each_asid(StaleEntry { level: None, root: Some(root), ..stale });
    }

    /// Remembers a stale entry for each ASID that some of its holders walk under.
    pub(super) fn remember_for_each_asid(&mut self, stale: StaleEntry) {
        let mut left = stale.holders;
        while left != 0 {
            let asid = self.cpus[left.trailing_zeros() as usize].registers.asid;
            let alike: Cpus =
                self.of(left).filter(|(_, cpu)| cpu.registers.asid == asid).map(|(number, _)| 1 << number).sum();
            left &= !alike;
            self.push(StaleEntry { holders: alike, asid, ..stale });
        }
    }

    pub(super) fn push(&mut self, stale: StaleEntry) {
        self.stale_number += 1;
        self.stale_entries.push(StaleEntry { number: self.stale_number, ..stale });
    }

    /// Returns true when the stale entry covers some of the named addresses.
    pub(super) fn meets(&self, stale: &StaleEntry, named: Named) -> bool {
        let first = u128::from(stale.address.0);
        let start = u128::from(named.start.0);
        first < start + u128::from(named.bytes) && start < first + self.bytes(stale)
    }

    fn of(&self, holders: Cpus) -> impl Iterator<Item = (usize, &CpuState)> + '_ {
        self.cpus.iter().enumerate().filter(move |(number, _)| holders >> number & 1 == 1)
    }
}
