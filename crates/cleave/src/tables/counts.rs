// SPDX-License-Identifier: MIT OR Apache-2.0
//! The number of leaves of each size in a map, and of the tables that it takes to split them.
//!
//! The count is kept while painting, so that a split can be planned without a walk of the map. A fresh walk
//! ([`MapStats::of_tree`]) must give the same numbers, which a test and the audit check.

use core::ops::Range;

use super::address::{PhysRange, VirtAddr};
use super::descriptor::{Descriptor, Kind};
use super::geometry::{Geometry, Level};
use super::traits::TableMemory;
use super::tree::TableTree;
use super::walk::Visit;

/// The number of leaves of each size. Contiguous leaves are counted singly, and only under `contiguous`. A difference of two counts
/// may be negative, and is modulo 2^64 then.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LeafCounts {
    plain: [u64; 4],
    contiguous: [u64; 4],
}

impl LeafCounts {
    /// Counts `count` leaves of `level`.
    pub fn add(&mut self, level: Level, hint: Hint, count: u64) {
        match hint {
            Hint::Single => add(&mut self.plain, level, count),
            Hint::Contiguous => add(&mut self.contiguous, level, count),
        }
    }

    /// Takes `count` leaves of `level` out of the counts.
    pub fn remove(&mut self, level: Level, hint: Hint, count: u64) {
        match hint {
            Hint::Single => add(&mut self.plain, level, count.wrapping_neg()),
            Hint::Contiguous => add(&mut self.contiguous, level, count.wrapping_neg()),
        }
    }

    /// Returns the number of leaves of `level` with or without the Contiguous bit, as `hint` says.
    #[must_use]
    pub const fn of(&self, level: Level, hint: Hint) -> u64 {
        match hint {
            Hint::Single => self.plain(level),
            Hint::Contiguous => self.contiguous(level),
        }
    }

    /// Returns the number of leaves of `level` without the Contiguous bit.
    #[must_use]
    pub const fn plain(&self, level: Level) -> u64 {
        self.plain[level.number()]
    }

    /// Returns the number of leaves of `level` with the Contiguous bit.
    #[must_use]
    pub const fn contiguous(&self, level: Level) -> u64 {
        self.contiguous[level.number()]
    }

    /// Returns the number of leaves of `level`, with or without the Contiguous bit.
    #[must_use]
    pub const fn at(&self, level: Level) -> u64 {
        self.plain(level) + self.contiguous(level)
    }
}

fn add(counts: &mut [u64; 4], level: Level, count: u64) {
    let place = &mut counts[level.number()];
    *place = place.wrapping_add(count);
}

/// The Contiguous bit of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// It stands for itself.
    Single,
    /// It is one of a group that a TLB may hold as one entry.
    Contiguous,
}

impl From<Descriptor> for Hint {
    fn from(leaf: Descriptor) -> Self {
        if leaf.is_contiguous() { Self::Contiguous } else { Self::Single }
    }
}

/// The leaves and tables of a linear map, and the tables that splitting it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MapStats {
    /// Every leaf of the map, the kernel alias and invalid leaves included.
    pub leaves: LeafCounts,
    /// The leaves that a change made invalid: they map nothing.
    pub unmapped: LeafCounts,
    /// The leaves of the kernel alias alone: they keep their size.
    pub alias: LeafCounts,
    /// Tables below the root.
    pub tables: u64,
}

impl MapStats {
    /// Counts `count` leaves of `level`.
    pub fn add_leaves(&mut self, level: Level, hint: Hint, part: Part, count: u64) {
        self.leaves.add(level, hint, count);
        if part == Part::Alias {
            self.alias.add(level, hint, count);
        }
    }

    /// Returns the number of new tables that it takes to split every leaf but those of the alias into pages: with the 4 KiB granule
    /// 513 for each 1 GiB block and 1 for each 2 MiB block, contiguous or not.
    #[must_use]
    pub fn tables_to_split(&self, geometry: Geometry) -> u64 {
        Level::ALL
            .iter()
            .map(|&level| (self.leaves.at(level) - self.alias.at(level)) * geometry.tables_to_split(level))
            .sum()
    }

    /// Returns the bytes that leaves of `level` with or without the Contiguous bit map.
    #[must_use]
    pub fn mapped_bytes(&self, geometry: Geometry, level: Level, hint: Hint) -> u64 {
        (self.leaves.of(level, hint) - self.unmapped.of(level, hint)) << geometry.shift(level)
    }

    /// Returns the bytes of the leaves that a change made invalid.
    #[must_use]
    pub fn unmapped_bytes(&self, geometry: Geometry) -> u64 {
        Level::ALL.into_iter().map(|level| self.unmapped.at(level) << geometry.shift(level)).sum()
    }

    /// Returns the counts of the map once every leaf but those of the alias is a page outside contiguous groups.
    #[must_use]
    pub fn split_to_pages(&self, geometry: Geometry) -> Self {
        let pages = |leaves: &LeafCounts| {
            let of = |level: Level| leaves.at(level) << (geometry.shift(level) - geometry.page_shift());
            Level::ALL.into_iter().skip(1).map(of).sum::<u64>()
        };
        let (mut leaves, mut unmapped) = (self.alias, LeafCounts::default());
        leaves.add(Level::L3, Hint::Single, pages(&self.leaves) - pages(&self.alias));
        unmapped.add(Level::L3, Hint::Single, pages(&self.unmapped));
        Self { leaves, unmapped, alias: self.alias, tables: self.tables + self.tables_to_split(geometry) }
    }

    /// Counts `tree` by a walk, in the root entries `entries`; `base` is the virtual address that entry 0 covers, `alias` the
    /// physical range of the kernel alias.
    pub fn of_tree<M: TableMemory>(
        tree: &TableTree<M>,
        base: VirtAddr,
        entries: Range<usize>,
        alias: PhysRange,
    ) -> Self {
        let mut stats = Self::default();
        tree.walk(base, entries, |visit| stats.count(&visit, alias));
        stats
    }

    /// Counts what a walk has found; `alias` is the physical range of the kernel alias.
    pub fn count(&mut self, visit: &Visit, alias: PhysRange) {
        match visit.kind {
            Kind::Table(_) => self.tables += 1,
            Kind::Leaf(output) | Kind::InvalidLeaf(output) => {
                let part = if alias.contains(output) { Part::Alias } else { Part::Memory };
                self.add_leaves(visit.level, visit.descriptor.into(), part, 1);
                if !visit.descriptor.is_valid() {
                    self.unmapped.add(visit.level, visit.descriptor.into(), 1);
                }
            }
            Kind::Empty | Kind::Reserved => {}
        }
    }
}

/// The part of the linear map that a leaf belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Ordinary memory: split on demand.
    Memory,
    /// The alias of the kernel's text and read-only data: read-only, and never split.
    Alias,
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeMemory;
    use super::super::traits::slot;
    use super::super::{Attributes, Granule, PhysAddr, VaBits};
    use super::*;

    #[test]
    fn a_tree_is_counted_leaf_by_leaf() {
        let memory = FakeMemory::default();
        let [root, table1, table2] = [0x1000, 0x2000, 0x3000].map(PhysAddr);
        for table in [root, table1, table2] {
            memory.zero_table(table, 512);
        }
        let leaf = |output: u64, level| Attributes::NORMAL.leaf(PhysAddr(output), level);
        memory.store(slot(root, 3), Descriptor::table(table1));
        memory.store(slot(table1, 0), leaf(0, Level::L1));
        memory.store(slot(table1, 1), leaf(1 << 30, Level::L1).made_invalid());
        memory.store(slot(table1, 2), Descriptor::table(table2));
        memory.store_run(slot(table2, 16), leaf(0x8200_0000, Level::L2).with_contiguous(), 0x20_0000, 16);
        memory.store(slot(table2, 40), leaf(0x8500_0000, Level::L2));
        memory.store(slot(table2, 41), leaf(0x8520_0000, Level::L2));
        // In root entries that are not asked for.
        memory.store(slot(root, 4), Descriptor::table(PhysAddr(0xdead_0000)));

        let alias = PhysRange::new(PhysAddr(0x8500_0000), PhysAddr(0x8520_0000));
        let base = VirtAddr(0xffff_0000_0000_0000);
        let tree = TableTree { memory: &memory, geometry: Geometry::K4_V48, root };
        let stats = MapStats::of_tree(&tree, base, 0..4, alias);
        assert_eq!(stats.tables, 2);
        assert_eq!((stats.leaves.plain(Level::L1), stats.leaves.contiguous(Level::L1)), (2, 0));
        assert_eq!((stats.leaves.plain(Level::L2), stats.leaves.contiguous(Level::L2)), (2, 16));
        assert_eq!((stats.alias.at(Level::L2), stats.alias.at(Level::L1)), (1, 0));
        assert_eq!((stats.unmapped.at(Level::L1), stats.unmapped.at(Level::L2)), (1, 0));
        assert_eq!(stats.unmapped_bytes(Geometry::K4_V48), 1 << 30);
        assert_eq!(stats.mapped_bytes(Geometry::K4_V48, Level::L1, Hint::Single), 1 << 30);
        assert_eq!(stats.mapped_bytes(Geometry::K4_V48, Level::L2, Hint::Contiguous), 16 << 21);
        // An invalid block counts: its pages will be there, invalid.
        assert_eq!(stats.tables_to_split(Geometry::K4_V48), 2 * 513 + 17);
    }

    #[test]
    fn the_tables_of_a_split_depend_on_the_granule_and_omit_the_alias() {
        for (granule, per_l1) in [(Granule::K4, 513), (Granule::K16, 2049), (Granule::K64, 8193)] {
            let geometry = Geometry { granule, va_bits: VaBits::V48 };
            let mut stats = MapStats::default();
            stats.add_leaves(Level::L2, Hint::Contiguous, Part::Memory, 32);
            stats.add_leaves(Level::L2, Hint::Single, Part::Alias, 5);
            stats.add_leaves(Level::L3, Hint::Single, Part::Memory, 1000);
            stats.add_leaves(Level::L3, Hint::Contiguous, Part::Alias, 128);
            assert_eq!(stats.tables_to_split(geometry), 32);
            if geometry.leaf_allowed(Level::L1) {
                stats.add_leaves(Level::L1, Hint::Single, Part::Memory, 2);
                assert_eq!(stats.tables_to_split(geometry), 32 + 2 * per_l1);
            }
        }
    }
}
