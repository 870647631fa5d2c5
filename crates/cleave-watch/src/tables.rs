// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables as they are in the machine's memory, read without an access of any CPU.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use cleave::tables::{Geometry, Kind, PhysAddr, TableTree, VirtAddr};
use cleave_model::{Machine, Through, View};

/// The machine's tables.
pub(crate) struct Tables<'a> {
    memory: View<'a>,
    geometry: Geometry,
}

impl<'a> Tables<'a> {
    /// Those of a machine.
    pub(crate) fn new(machine: &'a Machine, geometry: Geometry) -> Self {
        Self { memory: machine.view(0, Through::Physical), geometry }
    }

    fn tree(&self, root: PhysAddr) -> TableTree<View<'a>> {
        TableTree { memory: self.memory, geometry: self.geometry, root }
    }

    /// Returns the physical address of an address under a root.
    pub(crate) fn place(&self, root: PhysAddr, address: VirtAddr) -> Option<PhysAddr> {
        self.tree(root).translate(address).map(|(_, at)| at)
    }

    /// A root and every table below it.
    pub(crate) fn all(&self, root: PhysAddr) -> BTreeSet<PhysAddr> {
        let mut tables = self.below(root, 0..self.geometry.entries(self.geometry.root_level()));
        tables.insert(root);
        tables
    }

    /// The tables below a root that serve these addresses.
    pub(crate) fn of(&self, root: PhysAddr, addresses: &RangeInclusive<VirtAddr>) -> BTreeSet<PhysAddr> {
        let level = self.geometry.root_level();
        let [first, last] = [addresses.start(), addresses.end()].map(|&address| self.geometry.index(address, level));
        self.below(root, first..last + 1)
    }

    fn below(&self, root: PhysAddr, entries: Range<usize>) -> BTreeSet<PhysAddr> {
        let mut tables = BTreeSet::new();
        self.tree(root).walk(VirtAddr(0), entries, |visit| {
            if let Kind::Table(table) = visit.kind {
                tables.insert(table);
            }
        });
        tables
    }
}
