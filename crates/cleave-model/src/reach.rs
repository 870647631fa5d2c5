// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables that a walker may reach: through a translation table base register, or through a table entry that some
//! CPU may still hold in a walk cache although it is gone from memory.

use super::State;
use super::memory::ByNumber;
use super::stale::StaleEntry;
use super::table_place::{Cpus, Half, Place, RESTRICTIONS};
use cleave::tables::{Descriptor, Kind, Level, PhysAddr, VirtAddr};

/// Every table that can be reached, by its address.
pub(super) type Reach = ByNumber<Vec<Place>>;

impl State {
    pub(super) fn table_of(&self, slot: PhysAddr) -> PhysAddr {
        slot.align_down(self.geometry.page_size())
    }

    pub(super) fn index_of(&self, slot: PhysAddr) -> usize {
        ((slot.0 - self.table_of(slot).0) / 8) as usize
    }

    /// Returns the first address of the upper half.
    pub(super) fn upper_half(&self) -> VirtAddr {
        VirtAddr(!0 << self.geometry.address_bits())
    }

    /// Returns the places of a table: each way by which a walker may reach it.
    pub(super) fn places(&mut self, table: PhysAddr) -> &[Place] {
        if self.reach.is_none() {
            let mut reach = Reach::default();
            for (root, base, holders) in self.roots() {
                let top = self.top(base, holders);
                self.add_tree(&mut reach, root, top);
            }
            for stale in self.stale_entries.iter().filter(|stale| stale.holders != 0) {
                if let Some((table, place)) = self.below(stale) {
                    self.add_tree(&mut reach, table, place);
                }
            }
            self.reach = Some(reach);
        }
        self.reach.as_ref().and_then(|reach| reach.get(&table.0)).map_or(&[], Vec::as_slice)
    }

    /// Returns every table that a CPU reaches by tables in memory.
    pub(super) fn reached_by(&mut self, cpu: usize) -> Vec<(PhysAddr, Place)> {
        // Makes the map if there is none.
        self.places(PhysAddr(0));
        let all = self.reach.iter().flatten();
        let mine = |place: &&Place| place.current && place.holders >> cpu & 1 == 1;
        all.flat_map(|(&table, places)| places.iter().filter(mine).map(move |&place| (PhysAddr(table), place)))
            .collect()
    }

    /// Returns the base register that translates an address.
    pub(super) fn half_of(&self, address: VirtAddr) -> Half {
        if address >= self.upper_half() { Half::Upper } else { Half::Lower }
    }

    pub(super) fn top(&self, base: VirtAddr, holders: Cpus) -> Place {
        Place { level: self.geometry.root_level(), base, holders, current: true, restrictions: 0 }
    }

    /// Returns the table that a stale table entry named, and its place for the CPUs that may still hold the entry.
    pub(super) fn below(&self, stale: &StaleEntry) -> Option<(PhysAddr, Place)> {
        let place = |level| Place {
            level,
            base: stale.address,
            holders: stale.holders,
            current: false,
            restrictions: stale.restrictions | stale.old.0 & RESTRICTIONS,
        };
        match stale.level {
            // A root that a base register held.
            None => stale.root.map(|root| (root, place(self.geometry.root_level()))),
            Some(level) => match stale.old.kind(self.geometry, level) {
                Kind::Table(table) => level.next().map(|next| (table, place(next))),
                _ => None,
            },
        }
    }

    /// Returns every root in use, the address it begins at, and the CPUs that use it. A register that was written and
    /// not yet synchronised may have its old value or its new one.
    pub(super) fn roots(&self) -> Vec<(PhysAddr, VirtAddr, Cpus)> {
        let mut roots: Vec<(PhysAddr, VirtAddr, Cpus)> = Vec::new();
        let upper = self.upper_half();
        for (number, cpu) in self.cpus.iter().enumerate().filter(|(_, cpu)| cpu.mmu) {
            for registers in [&cpu.registers, &cpu.pending] {
                for (root, base) in [(registers.ttbr0, VirtAddr(0)), (registers.ttbr1, upper)] {
                    let Some(root) = root else { continue };
                    match roots.iter_mut().find(|known| (known.0, known.1) == (root, base)) {
                        Some(known) => known.2 |= 1 << number,
                        None => roots.push((root, base, 1 << number)),
                    }
                }
            }
        }
        roots
    }

    /// Adds a table and everything below it.
    pub(super) fn add_tree(&self, reach: &mut Reach, table: PhysAddr, place: Place) {
        let places = reach.entry(table.0).or_default();
        match places.iter_mut().find(|known| Place { holders: place.holders, ..**known } == place) {
            Some(known) if known.holders | place.holders == known.holders => return,
            Some(known) => known.holders |= place.holders,
            None => places.push(place),
        }
        for (index, below) in self.tables_in(table, place.level) {
            let (Some(level), Kind::Table(child)) = (place.level.next(), below.kind(self.geometry, place.level)) else {
                continue;
            };
            let base = self.address_in(place, index);
            let restrictions = place.restrictions | below.0 & RESTRICTIONS;
            self.add_tree(reach, child, Place { level, base, restrictions, ..place });
        }
    }

    /// Returns the places of `wanted` in the tree of a table.
    pub(super) fn find_below(&self, table: PhysAddr, place: Place, wanted: PhysAddr, found: &mut Vec<Place>) {
        if table == wanted {
            found.push(place);
        }
        for (index, below) in self.tables_in(table, place.level) {
            if let (Some(level), Kind::Table(child)) = (place.level.next(), below.kind(self.geometry, place.level)) {
                let base = self.address_in(place, index);
                let restrictions = place.restrictions | below.0 & RESTRICTIONS;
                self.find_below(child, Place { level, base, restrictions, ..place }, wanted, found);
            }
        }
    }

    /// Returns the first address that entry `index` of a table covers.
    pub(super) fn address_in(&self, place: Place, index: usize) -> VirtAddr {
        VirtAddr(place.base.0.wrapping_add((index as u64) << self.geometry.shift(place.level)))
    }

    /// Returns the valid entries of a table.
    pub(super) fn valid_in(&self, table: PhysAddr, level: Level) -> impl Iterator<Item = (usize, Descriptor)> + '_ {
        let entries = self.memory.entries(table, self.geometry.entries(level));
        entries.filter(|(_, descriptor)| descriptor.is_valid())
    }

    /// Returns the table descriptors of a table.
    fn tables_in(&self, table: PhysAddr, level: Level) -> Vec<(usize, Descriptor)> {
        if level == Level::L3 {
            return Vec::new();
        }
        let is_table = |descriptor: Descriptor| matches!(descriptor.kind(self.geometry, level), Kind::Table(_));
        self.valid_in(table, level).filter(|&(_, descriptor)| is_table(descriptor)).collect()
    }
}
