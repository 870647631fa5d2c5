// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks of a tree of tables: over every non-empty descriptor, or to one address.
//!
//! A walk reads memory. A TLB may still hold other entries, for which only the MMU can be asked
//! ([`crate::aarch64::translate`]). No CPU may change the tree during a walk.

use core::ops::Range;

use super::address::{PhysAddr, VirtAddr};
use super::descriptor::{Descriptor, Kind};
use super::geometry::Level;
use super::traits::{TableMemory, slot};
use super::tree::TableTree;

/// One non-empty descriptor met on a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Visit {
    /// The first virtual address it covers.
    pub address: VirtAddr,
    /// The level of the table that holds it.
    pub level: Level,
    /// The descriptor.
    pub descriptor: Descriptor,
    /// The kind of the descriptor at that level.
    pub kind: Kind,
    /// The physical address of the descriptor.
    pub slot: PhysAddr,
    /// The restrictions of the table descriptors above it, or-ed together.
    pub inherited: Inherited,
}

/// APTable, PXNTable and UXNTable of the tables on the way down, accumulated (Arm ARM D8.4.2, hierarchical control).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Inherited(u64);

impl Inherited {
    const AP_TABLE_READ_ONLY: u64 = 1 << 62;
    const PXN_TABLE: u64 = 1 << 59;

    const fn below(self, table: Descriptor) -> Self {
        Self(self.0 | (table.0 & 0xf800_0000_0000_0000))
    }

    /// Returns true when a leaf below may still be written at EL1, if its own descriptor allows it.
    #[must_use]
    pub const fn allows_write(self) -> bool {
        self.0 & Self::AP_TABLE_READ_ONLY == 0
    }

    /// Returns true when a leaf below may still be executed at EL1, if its own descriptor allows it.
    #[must_use]
    pub const fn allows_execute(self) -> bool {
        self.0 & Self::PXN_TABLE == 0
    }
}

impl Visit {
    /// Returns true when EL1 may write through this leaf.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.descriptor.is_writable() && self.inherited.allows_write()
    }

    /// Returns true when EL1 may execute through this leaf.
    #[must_use]
    pub fn is_executable(&self) -> bool {
        self.descriptor.is_executable() && self.inherited.allows_execute()
    }
}

impl<M: TableMemory> TableTree<M> {
    /// Calls `visit` for every non-empty descriptor below the root entries `entries`, tables before what is in them,
    /// in the order of addresses. `base` is the virtual address that root entry 0 covers.
    pub fn walk(&self, base: VirtAddr, entries: Range<usize>, mut visit: impl FnMut(Visit)) {
        let level = self.geometry.root_level();
        self.walk_table(Table { at: self.root, level, base, inherited: Inherited::default() }, entries, &mut visit);
    }

    fn walk_table(&self, table: Table, entries: Range<usize>, visit: &mut impl FnMut(Visit)) {
        for index in entries {
            let slot = slot(table.at, index);
            let descriptor = self.memory.load(slot);
            let kind = descriptor.kind(self.geometry, table.level);
            if kind == Kind::Empty {
                continue;
            }
            // Wraps only behind the last entry of the topmost table, which is never used.
            let address = VirtAddr(table.base.0.wrapping_add((index as u64) << self.geometry.shift(table.level)));
            visit(Visit { address, level: table.level, descriptor, kind, slot, inherited: table.inherited });
            if let (Kind::Table(at), Some(level)) = (kind, table.level.next()) {
                let below = Table { at, level, base: address, inherited: table.inherited.below(descriptor) };
                self.walk_table(below, 0..self.geometry.entries(level), visit);
            }
        }
    }

    /// Translates `address`: returns its leaf and the physical address, or `None` unless a valid leaf maps it.
    pub fn translate(&self, address: VirtAddr) -> Option<(Visit, PhysAddr)> {
        let geometry = self.geometry;
        let mut at = self.root;
        let mut level = geometry.root_level();
        let mut inherited = Inherited::default();
        loop {
            let slot = slot(at, geometry.index(address, level));
            let descriptor = self.memory.load(slot);
            let kind = descriptor.kind(geometry, level);
            match kind {
                Kind::Table(next) => {
                    inherited = inherited.below(descriptor);
                    at = next;
                    level = level.next()?;
                }
                Kind::Leaf(output) => {
                    let offset = address.0 & (geometry.size(level) - 1);
                    let first = address.align_down(geometry.size(level));
                    let visit = Visit { address: first, level, descriptor, kind, slot, inherited };
                    return Some((visit, output.offset(offset)));
                }
                Kind::Empty | Kind::InvalidLeaf(_) | Kind::Reserved => return None,
            }
        }
    }
}

/// A table on a walk.
#[derive(Clone, Copy)]
struct Table {
    at: PhysAddr,
    level: Level,
    base: VirtAddr,
    inherited: Inherited,
}

#[cfg(test)]
mod tests {
    use super::super::fake::FakeMemory;
    use super::super::{Attributes, Geometry, Granule, Permissions, VaBits};
    use super::*;

    const K4: Geometry = Geometry::K4_V48;
    const ROOT: PhysAddr = PhysAddr(0x1_0000);
    const TABLE1: PhysAddr = PhysAddr(0x2_0000);
    const TABLE2: PhysAddr = PhysAddr(0x3_0000);
    const TABLE3: PhysAddr = PhysAddr(0x4_0000);
    const BASE: VirtAddr = VirtAddr(0xffff_0000_0000_0000);

    fn tree_of(memory: &FakeMemory) -> TableTree<&FakeMemory> {
        TableTree { memory, geometry: K4, root: ROOT }
    }

    /// Builds a tree with one leaf of each level behind the last entry of each table, and one descriptor of every other
    /// kind.
    fn tree() -> FakeMemory {
        let memory = FakeMemory::default();
        for table in [ROOT, TABLE1, TABLE2, TABLE3] {
            memory.zero_table(table, 512);
        }
        let leaf = |output, level| Attributes::NORMAL.leaf(PhysAddr(output), level);
        memory.store(slot(ROOT, 511), Descriptor::table(TABLE1));
        memory.store(slot(TABLE1, 0), leaf(0x4000_0000, Level::L1));
        memory.store(slot(TABLE1, 511), Descriptor::table(TABLE2));
        memory.store(slot(TABLE2, 1), leaf(0x4020_0000, Level::L2).made_invalid());
        memory.store(slot(TABLE2, 511), Descriptor::table(TABLE3));
        // Valid, and of a type level 3 does not have.
        memory.store(slot(TABLE3, 7), Descriptor(0x5000_0701));
        memory.store(slot(TABLE3, 511), leaf(0x1234_5000, Level::L3));
        memory
    }

    #[test]
    fn a_walk_meets_everything_in_the_order_of_addresses() {
        let mut met = Vec::new();
        tree_of(&tree()).walk(BASE, 0..512, |visit| met.push((visit.address.0, visit.level, visit.kind)));
        assert_eq!(
            met,
            [
                (0xffff_ff80_0000_0000, Level::L0, Kind::Table(TABLE1)),
                (0xffff_ff80_0000_0000, Level::L1, Kind::Leaf(PhysAddr(0x4000_0000))),
                (0xffff_ffff_c000_0000, Level::L1, Kind::Table(TABLE2)),
                (0xffff_ffff_c020_0000, Level::L2, Kind::InvalidLeaf(PhysAddr(0x4020_0000))),
                (0xffff_ffff_ffe0_0000, Level::L2, Kind::Table(TABLE3)),
                (0xffff_ffff_ffe0_7000, Level::L3, Kind::Reserved),
                (0xffff_ffff_ffff_f000, Level::L3, Kind::Leaf(PhysAddr(0x1234_5000))),
            ]
        );
    }

    #[test]
    fn a_walk_keeps_to_the_root_entries_it_was_given() {
        tree_of(&tree()).walk(BASE, 0..511, |visit| panic!("{visit:?}"));
    }

    #[test]
    fn only_valid_leaves_translate() {
        let memory = tree();
        let output = |address| tree_of(&memory).translate(VirtAddr(address)).map(|(_, output)| output.0);
        assert_eq!(output(u64::MAX), Some(0x1234_5fff));
        assert_eq!(output(0xffff_ff80_3fff_ffff), Some(0x7fff_ffff));
        assert_eq!(output(0xffff_ffff_c020_0000), None);
        assert_eq!(output(0xffff_ffff_ffe0_7000), None);
        assert_eq!(output(0xffff_ffff_ffff_efff), None);
        assert_eq!(output(BASE.0), None);
    }

    #[test]
    fn restrictions_add_up_on_the_way_down() {
        let memory = tree();
        let text = Attributes::NORMAL.with_permissions(Permissions::ReadExecute).leaf(PhysAddr(0x1000), Level::L3);
        memory.store(slot(TABLE3, 0), text);
        let may = |address| {
            let (visit, _) = tree_of(&memory).translate(VirtAddr(address)).unwrap();
            (visit.is_writable(), visit.is_executable())
        };
        let (code, data) = (0xffff_ffff_ffe0_0000, u64::MAX);
        assert_eq!((may(code), may(data)), ((false, true), (true, false)));
        // APTable[1] of the root entry, PXNTable of the one below; APTable[0] and UXNTable are for EL0.
        memory.store(slot(TABLE2, 511), Descriptor(TABLE3.0 | 3 | 1 << 60 | 1 << 61));
        assert_eq!((may(code), may(data)), ((false, true), (true, false)));
        memory.store(slot(ROOT, 511), Descriptor(TABLE1.0 | 3 | 1 << 62));
        assert_eq!((may(code), may(data)), ((false, true), (false, false)));
        memory.store(slot(TABLE1, 511), Descriptor(TABLE2.0 | 3 | 1 << 59));
        assert_eq!((may(code), may(data)), ((false, false), (false, false)));
        // A walk accumulates the same.
        tree_of(&memory).walk(BASE, 511..512, |visit| {
            if visit.level == Level::L3 {
                assert!(!visit.inherited.allows_write() && !visit.inherited.allows_execute());
            }
            if visit.level == Level::L1 {
                assert!(!visit.inherited.allows_write() && visit.inherited.allows_execute());
            }
        });
    }

    #[test]
    fn offsets_within_a_leaf_have_the_bits_of_the_granule() {
        for (granule, output) in [(Granule::K16, 0x1_2345_4000), (Granule::K64, 0x1_2345_0000)] {
            let geometry = Geometry { granule, va_bits: VaBits::V39 };
            let memory = FakeMemory::default();
            let mut table = 0x10_0000;
            let root = PhysAddr(table);
            let mut level = geometry.root_level();
            while let Some(next) = level.next() {
                let entries = geometry.entries(level);
                memory.zero_table(PhysAddr(table), entries);
                memory.store(slot(PhysAddr(table), entries - 1), Descriptor::table(PhysAddr(table + 0x10_0000)));
                table += 0x10_0000;
                level = next;
            }
            let entries = geometry.entries(level);
            memory.zero_table(PhysAddr(table), entries);
            let leaf = Attributes::NORMAL.leaf(PhysAddr(output), level);
            memory.store(slot(PhysAddr(table), entries - 1), leaf);
            let tree = TableTree { memory: &memory, geometry, root };
            let (visit, found) = tree.translate(VirtAddr(u64::MAX)).unwrap();
            assert_eq!(found, PhysAddr(output + geometry.page_size() - 1));
            assert_eq!(visit.address, VirtAddr(geometry.page_size().wrapping_neg()));
            let base = VirtAddr(!0 << geometry.address_bits());
            let mut met = Vec::new();
            let top = geometry.entries(geometry.root_level());
            tree.walk(base, 0..top, |visit| met.push(visit));
            assert_eq!(met.last(), Some(&visit));
        }
    }
}
