// SPDX-License-Identifier: MIT OR Apache-2.0
//! A live linear map: its plan, its roots, and the lock and the filling that CPUs share.

use super::counts::{MapCounts, SharedCounts};
use super::fill::{Fill, ReplacementMap, Share};
use super::layout::Layout;
use super::lock::{Busy, MapLock, MapLockGuard};
use crate::atomics::{Atomics, Native};
use crate::tables::{Cpu, MapStats, PhysAddr, TableMemory};

/// Root tables, all of them outside the linear map. But for the first they are empty before a repaint and after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roots {
    /// The one that every CPU walks from.
    pub live: PhysAddr,
    /// For the entries of the map to come.
    pub replacement: PhysAddr,
    /// For the entries of the old map, or for the temporary mapping.
    pub spare: PhysAddr,
    /// One that is empty and stays so: what TTBR0 names when there is no temporary mapping.
    pub empty: PhysAddr,
}

/// A linear map that is live: its plan, its roots, and what CPUs share while it is changed. A kernel has one, in a static.
pub struct LinearMap<'a, A: Atomics = Native> {
    pub(super) layout: Layout<'a>,
    pub(super) roots: Roots,
    /// The right to change it.
    pub(super) lock: MapLock<A>,
    /// The tables that CPUs fill together.
    pub(super) fill: Fill<A>,
    /// The counts of its leaves, tables and changes, written by the holder of the lock.
    pub(super) counts: SharedCounts<A>,
}

impl<'a, A: Atomics> LinearMap<'a, A> {
    /// Returns the linear map of `layout` below `roots`, whose counts are `stats`: what [`paint`](super::paint()) returned.
    #[must_use]
    pub fn new(layout: Layout<'a>, roots: Roots, stats: &MapStats) -> Self {
        Self { layout, roots, lock: MapLock::default(), fill: Fill::default(), counts: SharedCounts::new(stats) }
    }

    /// Returns the plan.
    #[must_use]
    pub const fn layout(&self) -> &Layout<'a> {
        &self.layout
    }

    /// Returns the root tables.
    #[must_use]
    pub const fn roots(&self) -> Roots {
        self.roots
    }

    /// Returns the number of leaves of each size, of tables and of changes, as the last change left them. A change under way on
    /// another CPU is waited for by none and shows in none of them; a caller that compares them with a walk holds the lock.
    #[must_use]
    pub fn counts(&self) -> MapCounts {
        self.counts.get()
    }

    /// Takes the right to change the map; for [`LinearMap::change`].
    ///
    /// # Errors
    /// [`Busy`] while another change is under way.
    pub fn try_lock(&self) -> Result<MapLockGuard<'_, A>, Busy> {
        self.lock.try_lock()
    }

    /// Returns true while there are tables to fill that a CPU which has filled `mine` chunks may help with.
    #[must_use]
    pub fn wants_help(&self, mine: u64) -> bool {
        self.fill.is_open() && self.fill.share_left(mine)
    }

    /// Fills tables of a repaint that is under way on another CPU or on this one, and returns how many. `mine` counts this
    /// CPU's chunks in the repaint so far; a kernel sets it to zero in [`Kernel::before_fill`](super::Kernel::before_fill).
    pub fn fill<M: TableMemory, R: TableMemory, C: Cpu>(
        &self,
        memory: M,
        roots: R,
        cpu: &C,
        share: Share,
        mine: &mut u64,
    ) -> u64 {
        if !self.fill.is_open() {
            return 0;
        }
        self.fill.work(&self.replacement(memory, roots), cpu, share, mine)
    }

    /// Returns the map and its replacement to be: `roots` reaches their roots and `memory` every other table.
    pub(super) fn replacement<M: TableMemory, R: TableMemory>(&self, memory: M, roots: R) -> ReplacementMap<'_, M, R> {
        let Roots { live, replacement, .. } = self.roots;
        ReplacementMap { layout: &self.layout, memory, roots, live, replacement }
    }
}
