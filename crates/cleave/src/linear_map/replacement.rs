// SPDX-License-Identifier: MIT OR Apache-2.0
//! The replacement: a complete copy of the linear map in pages, built beside the live one and reachable by no walker.
//!
//! The leader builds the upper tables ([`UpperTables::build`]); the page tables below them, nearly all of the work, are
//! filled by every CPU at hand ([`super::Fill`]). Nothing live changes until [`super::exchange`] exchanges the root entries.

use super::fill::ReplacementMap;
use super::layout::Layout;
use super::pool::Pool;
use super::successor::{Successor, successor};
use crate::tables::{Descriptor, Level, PhysAddr, TableMemory, slot};

/// The upper tables of a replacement, its page tables linked but not yet filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpperTables {
    /// Tables taken from the pool, the unfilled ones included.
    pub tables: u64,
    /// Those of them that are complete already.
    pub complete: u64,
}

impl UpperTables {
    /// Builds the replacement of `map` below its root, whose entries are overwritten, with tables from `pool`. The live map
    /// is only read.
    ///
    /// # Panics
    /// When the pool is too small for the map: a defect of the counts.
    pub fn build<M: TableMemory, R: TableMemory>(map: &ReplacementMap<'_, M, R>, pool: &mut Pool) -> Self {
        let ReplacementMap { layout, memory, roots, live, replacement } = map;
        let mut built = Self { tables: 0, complete: 0 };
        let mut copier = Copier { layout, memory, pool, built: &mut built };
        let level = layout.geometry().root_level();
        for entry in layout.root_entries() {
            let copy = copier.entry(roots.load(slot(*live, entry)), level);
            roots.store(slot(*replacement, entry), copy);
        }
        built
    }
}

struct Copier<'a, M> {
    layout: &'a Layout<'a>,
    memory: &'a M,
    pool: &'a mut Pool,
    built: &'a mut UpperTables,
}

impl<M: TableMemory> Copier<'_, M> {
    #[inline]
    fn take(&mut self) -> PhysAddr {
        self.built.tables += 1;
        self.pool.take(self.memory)
    }

    /// Returns the entry that takes the place of `old`, an entry of a table of `level`, with everything below it built.
    #[inline(always)]
    fn entry(&mut self, old: Descriptor, level: Level) -> Descriptor {
        match successor(self.layout, old, level) {
            Successor::Entry(entry) => entry,
            Successor::Table(below, next) => old.retargeted(self.copy(below, next)),
            Successor::Split(next) => Descriptor::table(self.split(old, next)),
        }
    }

    /// Copies the table `old` of `level`, with everything below it. The order of the stores does not matter: no walker
    /// reaches the copy.
    fn copy(&mut self, old: PhysAddr, level: Level) -> PhysAddr {
        let copy = self.take();
        self.built.complete += 1;
        // The level known, the loop over pages is a short one; an upper table has its own.
        if level == Level::L3 {
            self.copy_entries(old, copy, Level::L3);
        } else {
            self.copy_entries(old, copy, level);
        }
        copy
    }

    #[inline(always)]
    fn copy_entries(&mut self, old: PhysAddr, copy: PhysAddr, level: Level) {
        for index in 0..self.layout.geometry().entries(level) {
            let before = self.memory.load(slot(old, index));
            // Most entries of an upper table map nothing.
            let after = if before == Descriptor::EMPTY { before } else { self.entry(before, level) };
            self.memory.store(slot(copy, index), after);
        }
    }

    /// Builds a table of `level` in place of the leaf `old`. A page table stays unfilled until [`super::Fill`] fills
    /// it.
    #[inline]
    fn split(&mut self, old: Descriptor, level: Level) -> PhysAddr {
        let Some(next) = level.next() else { return self.take() };
        self.split_block(old, level, next)
    }

    fn split_block(&mut self, old: Descriptor, level: Level, next: Level) -> PhysAddr {
        let geometry = self.layout.geometry();
        let table = self.take();
        self.built.complete += 1;
        let first = old.split_child(level);
        for index in 0..geometry.entries(level) {
            let leaf = Descriptor(first.0 + index as u64 * geometry.size(level));
            let below = Descriptor::table(self.split(leaf, next));
            self.memory.store(slot(table, index), below);
        }
        table
    }
}
