// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counts of a live map: its leaves and tables now, and the changes that it has had.
//!
//! The holder of the map lock changes them, together with the tables. Every CPU reads them whole at any time, as the last
//! change left them.

use core::array::from_fn;

use crate::atomics::{Atomics, Native};
use crate::snapshot::Snapshot;
use crate::tables::{Descriptor, Geometry, Hint, LeafCounts, Level, MapStats};

/// The number of changes that a map has had since it was painted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeCounts {
    splits: [u64; LEVELS],
    collapses: [u64; LEVELS],
    /// Changes and repaints that were put into force.
    pub transactions: u64,
}

/// Levels whose leaves can become tables: the first and the second. There are no leaves at level 0.
const LEVELS: usize = 2;

impl ChangeCounts {
    /// Returns the number of leaves of `level` that became tables. A leaf split by two levels counts once at its own level, and
    /// once for each part of it that was split again.
    #[must_use]
    pub fn splits(&self, level: Level) -> u64 {
        count(&self.splits, level)
    }

    /// Returns the number of tables whose memory is a leaf of `level`, or part of a larger one, again. Tables that were there when
    /// the map was painted, and splits, less collapses, are the tables that are there now.
    #[must_use]
    pub fn collapses(&self, level: Level) -> u64 {
        count(&self.collapses, level)
    }
}

fn count(counts: &[u64; LEVELS], level: Level) -> u64 {
    level.number().checked_sub(1).and_then(|index| counts.get(index)).copied().unwrap_or(0)
}

/// The leaves and tables of a map, and the changes that it has had.
///
/// Inside a change they are a difference, modulo 2^64 where it is negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MapCounts {
    /// The leaves and tables: what a walk would count.
    pub stats: MapStats,
    /// The changes.
    pub changes: ChangeCounts,
}

impl MapCounts {
    /// Counts `count` leaves like `leaf`, of `level` and not of the alias.
    pub(super) fn add(&mut self, level: Level, leaf: Descriptor, count: u64) {
        self.stats.leaves.add(level, leaf.into(), count);
        if !leaf.is_valid() {
            self.stats.unmapped.add(level, leaf.into(), count);
        }
    }

    /// Takes `count` leaves like `leaf`, of `level` and not of the alias, out of the counts.
    pub(super) fn remove(&mut self, level: Level, leaf: Descriptor, count: u64) {
        self.add(level, leaf, count.wrapping_neg());
    }

    /// Counts the leaf `new` of `level` in the place of `old`.
    pub(super) fn replace(&mut self, level: Level, old: Descriptor, new: Descriptor) {
        if old.is_valid() != new.is_valid() || old.is_contiguous() != new.is_contiguous() {
            self.remove(level, old, 1);
            self.add(level, new, 1);
        }
    }

    /// Counts a table in the place of `leaf` of `level`. Its entries are counted by themselves.
    pub(super) fn split(&mut self, level: Level, leaf: Descriptor) {
        self.remove(level, leaf, 1);
        self.stats.tables += 1;
        self.changes.splits[level.number() - 1] += 1;
    }

    /// Takes a table of `level` out of the counts, whose memory is a leaf again. Its entries are counted by themselves.
    pub(super) fn collapse(&mut self, level: Level) {
        self.stats.tables = self.stats.tables.wrapping_sub(1);
        self.changes.collapses[level.number() - 2] += 1;
    }

    /// Counts a split of every leaf but those of the alias into pages, as one transaction.
    pub(super) fn split_to_pages(&mut self, geometry: Geometry) {
        let leaves = |level: Level| self.stats.leaves.at(level) - self.stats.alias.at(level);
        let (first, second) = (leaves(Level::L1), leaves(Level::L2));
        self.changes.splits[0] += first;
        self.changes.splits[1] += second + first * geometry.entries(Level::L2) as u64;
        self.changes.transactions += 1;
        self.stats = self.stats.split_to_pages(geometry);
    }
}

/// The number of numbers that change: leaves of three levels with and without the Contiguous bit, those of them that are
/// invalid, tables, splits, collapses, transactions.
const CELLS: usize = 2 * KINDS + 1 + 2 * LEVELS + 1;

/// The number of kinds of leaves.
const KINDS: usize = 6;

/// Every kind of leaf.
fn kinds() -> [(Level, Hint); KINDS] {
    from_fn(|kind| (Level::ALL[1 + kind / 2], if kind % 2 == 0 { Hint::Single } else { Hint::Contiguous }))
}

fn pack(counts: &MapCounts) -> [u64; CELLS] {
    let MapCounts { stats, changes } = counts;
    let of = |leaves: &LeafCounts| kinds().map(|(level, hint)| leaves.of(level, hint));
    let (leaves, unmapped) = (of(&stats.leaves), of(&stats.unmapped));
    let rest = [[stats.tables, changes.transactions], changes.splits, changes.collapses];
    let mut all = leaves.into_iter().chain(unmapped).chain(rest.into_iter().flatten());
    from_fn(|_| all.next().unwrap_or(0))
}

fn unpack(cells: [u64; CELLS], alias: LeafCounts) -> MapCounts {
    let mut cells = cells.into_iter();
    let mut next = || cells.next().unwrap_or(0);
    let [leaves, unmapped] = from_fn(|_| {
        let mut leaves = LeafCounts::default();
        kinds().into_iter().for_each(|(level, hint)| leaves.add(level, hint, next()));
        leaves
    });
    let [tables, transactions, rest @ ..]: [u64; 2 + 2 * LEVELS] = from_fn(|_| next());
    let [splits, collapses] = [[rest[0], rest[1]], [rest[2], rest[3]]];
    let changes = ChangeCounts { splits, collapses, transactions };
    MapCounts { stats: MapStats { leaves, unmapped, alias, tables }, changes }
}

/// [`MapCounts`] that CPUs share.
pub(super) struct SharedCounts<A: Atomics = Native> {
    cells: Snapshot<CELLS, A>,
    /// The leaves of the alias, which never change.
    alias: LeafCounts,
}

impl<A: Atomics> SharedCounts<A> {
    /// Returns the counts of a map that was painted just now.
    pub(super) fn new(stats: &MapStats) -> Self {
        let counts = MapCounts { stats: *stats, changes: ChangeCounts::default() };
        Self { cells: Snapshot::new(pack(&counts)), alias: stats.alias }
    }

    /// Returns the counts.
    pub(super) fn get(&self) -> MapCounts {
        unpack(self.cells.read(), self.alias)
    }

    /// Sets the counts. The caller holds the map lock.
    pub(super) fn set(&self, counts: &MapCounts) {
        self.cells.replace(&pack(counts));
    }

    /// Adds the difference that a change has made. The caller holds the map lock.
    pub(super) fn add(&self, difference: &MapCounts) {
        let (mut cells, difference) = (self.cells.read(), pack(difference));
        cells.iter_mut().zip(difference).for_each(|(cell, more)| *cell = cell.wrapping_add(more));
        self.cells.replace(&cells);
    }
}
