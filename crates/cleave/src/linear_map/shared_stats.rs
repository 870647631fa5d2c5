// SPDX-License-Identifier: MIT OR Apache-2.0
//! The counts of a live map, read and written by the holder of the map lock.

use core::array::from_fn;
use core::sync::atomic::Ordering;

use crate::atomics::{Atomic, Atomics, Native};
use crate::tables::{Hint, LeafCounts, Level, MapStats};

/// A [`MapStats`] that CPUs share. The lock orders the accesses of its holders.
pub(super) struct SharedStats<A: Atomics = Native> {
    leaves: [A::U64; 8],
    alias: [A::U64; 8],
    tables: A::U64,
}

/// Every kind of leaf.
fn kinds() -> [(Level, Hint); 8] {
    from_fn(|kind| (Level::ALL[kind / 2], if kind % 2 == 0 { Hint::Single } else { Hint::Contiguous }))
}

fn count(leaves: &LeafCounts, (level, hint): (Level, Hint)) -> u64 {
    match hint {
        Hint::Single => leaves.plain(level),
        Hint::Contiguous => leaves.contiguous(level),
    }
}

impl<A: Atomics> SharedStats<A> {
    pub(super) fn new(stats: &MapStats) -> Self {
        let cells = |leaves: &LeafCounts| kinds().map(|kind| <A as Atomics>::U64::new(count(leaves, kind)));
        let (leaves, alias) = (cells(&stats.leaves), cells(&stats.alias));
        Self { leaves, alias, tables: <A as Atomics>::U64::new(stats.tables) }
    }

    /// Returns the counts. The caller holds the map lock.
    pub(super) fn get(&self) -> MapStats {
        let leaves = |cells: &[A::U64; 8]| {
            let mut leaves = LeafCounts::default();
            for ((level, hint), cell) in kinds().into_iter().zip(cells) {
                leaves.add(level, hint, cell.load(Ordering::Relaxed));
            }
            leaves
        };
        let tables = self.tables.load(Ordering::Relaxed);
        MapStats { leaves: leaves(&self.leaves), alias: leaves(&self.alias), tables }
    }

    /// Sets the counts. The caller holds the map lock.
    pub(super) fn set(&self, stats: &MapStats) {
        for (cells, leaves) in [(&self.leaves, &stats.leaves), (&self.alias, &stats.alias)] {
            for (kind, cell) in kinds().into_iter().zip(cells) {
                cell.store(count(leaves, kind), Ordering::Relaxed);
            }
        }
        self.tables.store(stats.tables, Ordering::Relaxed);
    }
}
