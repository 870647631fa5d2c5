// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries cached together with a stale entry: below a table entry that is gone, and at other places of the same table.
//!
//! A table entry that was replaced stands for everything a walk can find below it. An invalidation of some addresses
//! takes the entry and leaves most of that; so before one, what is below gets stale entries of its own. Each knows the
//! entry it came from, which it can be walked through again while some CPU has that.

use super::State;
use super::stale::{Issued, StaleEntry};
use super::table_place::{Cpus, Place, RESTRICTIONS};
use super::tlbi::Named;
use cleave::tables::{Descriptor, Kind, PhysAddr, VirtAddr, slot};

impl State {
    /// Returns true when the store that replaced the entry is complete.
    fn is_ordered(&self, stale: &StaleEntry) -> bool {
        stale.store.is_none_or(|(writer, store)| store <= self.cpus[writer].order.completed)
    }

    /// Adds the places of entries whose replacing store is not ordered yet: they can be found by way of a new root of
    /// these CPUs as well, or of a table entry with other restrictions.
    pub(super) fn find_unordered(&mut self, holders: Cpus) {
        for stale in self.stale_entries.clone() {
            if self.is_ordered(&stale) {
                continue;
            }
            let places = self.places(self.table_of(stale.slot)).to_vec();
            for place in places.into_iter().filter(|place| place.current && place.holders & holders != 0) {
                self.find_again(&stale, Place { holders: place.holders & holders, ..place });
            }
        }
    }

    /// Remembers a stale entry at another place of its table, unless it is known there.
    fn find_again(&mut self, stale: &StaleEntry, place: Place) {
        let address = self.address_in(place, self.index_of(stale.slot));
        let is_known = |known: &StaleEntry| {
            (known.slot, known.old, known.store) == (stale.slot, stale.old, stale.store)
                && (known.address, known.restrictions) == (address, place.restrictions)
                && known.holders & place.holders == place.holders
        };
        if stale.level == Some(place.level) && !self.stale_entries.iter().any(is_known) {
            let store = stale.store;
            self.remember_for_each_asid(StaleEntry { store, ..StaleEntry::new(stale.slot, stale.old, place, address) });
        }
    }

    /// Gives what is below a table entry stale entries of its own, before an invalidation of addresses takes the entry.
    pub(super) fn expand_for(&mut self, named: Named) {
        let mut next = 0;
        while let Some(found) = self.stale_entries[next..]
            .iter()
            .position(|stale| self.is_table(stale) && stale.above.is_none() && self.meets(stale, named))
        {
            let parent = self.stale_entries[next + found];
            next += found + 1;
            if let Some((table, place)) = self.below(&parent) {
                self.expand(&parent, table, place);
            }
        }
    }

    fn expand(&mut self, parent: &StaleEntry, table: PhysAddr, place: Place) {
        let entries: Vec<_> = self.valid_in(table, place.level).collect();
        for (index, old) in entries {
            let (at, address) = (slot(table, index), self.address_in(place, index));
            let is_known = |known: &StaleEntry| {
                known.above == Some(parent.number) && (known.slot, known.old, known.address) == (at, old, address)
            };
            if !self.stale_entries.iter().any(is_known) {
                // Under the ASID the table was walked under, which may be another than its holders' now.
                let above = Some(parent.number);
                let StaleEntry { store, asid, root, half, blame, .. } = *parent;
                let fresh = StaleEntry::new(at, old, place, address);
                self.push(StaleEntry { store, asid, root, half, blame, above, ..fresh });
                self.issue_alike(parent);
            }
            self.expand_below(parent, old, address, place);
        }
    }

    fn expand_below(&mut self, parent: &StaleEntry, old: Descriptor, address: VirtAddr, place: Place) {
        if let (Kind::Table(below), Some(level)) = (old.kind(self.geometry, place.level), place.level.next()) {
            let restrictions = place.restrictions | old.0 & RESTRICTIONS;
            self.expand(parent, below, Place { level, base: address, restrictions, ..place });
        }
    }

    /// Lets the invalidations under way for a stale entry take the last one, which was below it, as well.
    fn issue_alike(&mut self, parent: &StaleEntry) {
        let stale = self.stale_number;
        for cpu in &mut self.cpus {
            let issued: Vec<_> = cpu.issued.iter().filter(|one| one.stale == parent.number).copied().collect();
            cpu.issued.extend(issued.into_iter().map(|one| Issued { stale, ..one }));
        }
    }
}
