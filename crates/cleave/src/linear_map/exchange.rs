// SPDX-License-Identifier: MIT OR Apache-2.0
//! The exchange, or the split in place: the change of the live map in the stop window, while every CPU stands still.
//!
//! It cannot fail, allocate, log or block, and it gets no view through the linear map. Two ways: exchanging the root
//! entries for a replacement's (a constant number of steps), or the classic one, which splits the broken map in place.

use super::layout::Layout;
use super::pool::Pool;
use super::successor::{Successor, successor};
use crate::rendezvous::Parked;
use crate::tables::{Cpu, Descriptor, Geometry, Level, PhysAddr, TableMemory, TlbiRepeat, invalidate_everywhere, slot};

/// The root entries of a linear map, in the live root and in the replacement's: what is exchanged. Worked out before
/// the window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootSpan {
    live: PhysAddr,
    replacement: PhysAddr,
    entries: usize,
}

impl RootSpan {
    /// Returns the entries of `layout` in the tables `live` and `replacement`.
    #[must_use]
    pub fn of(layout: &Layout<'_>, live: PhysAddr, replacement: PhysAddr) -> Self {
        let entries = layout.root_entries();
        Self { live: slot(live, entries.start), replacement: slot(replacement, entries.start), entries: entries.len() }
    }
}

/// Exchanges the root entries of the live map for those of the replacement, by break-before-make. The old root entries
/// are overwritten: the caller copies them first if it is going to free the old tables.
///
/// `roots` reaches both roots and lies outside the linear map. Every CPU is parked, so no CPU uses a broken entry; the
/// replacement is complete and visible to walkers (its fillers did DSB ISHST, and the caller acquired the state word
/// that they released).
#[inline(always)]
pub fn exchange<R: TableMemory, C: Cpu>(
    roots: &R,
    cpu: &C,
    span: RootSpan,
    repeat: TlbiRepeat,
    _everyone: &Parked<'_>,
) {
    for entry in 0..span.entries {
        roots.store(slot(span.live, entry), Descriptor::EMPTY);
    }
    invalidate_everywhere(cpu, repeat);
    for entry in 0..span.entries {
        roots.store(slot(span.live, entry), roots.load(slot(span.replacement, entry)));
    }
    make_visible(cpu);
}

/// Makes the new root entries visible to all walkers before the release, and to this CPU's own later accesses: the end
/// of every make.
#[inline(always)]
fn make_visible<C: Cpu>(cpu: &C) {
    // Pairs the stores of the root entries with every walk after the release. A follower's ISB behind its acquire of
    // the release does the rest on its side.
    cpu.dsb_ishst();
    cpu.isb();
}

/// The temporary mapping by which the classic split reaches tables while the linear map is broken: a map of RAM under TTBR0.
#[derive(Clone, Copy, Debug)]
pub struct TemporaryMapping<W> {
    /// A view through it.
    pub view: W,
    /// Its root table.
    pub root: PhysAddr,
    /// The root to go back to: an empty table.
    pub empty: PhysAddr,
}

/// The classic split: the leader splits the live map in place while every CPU stands still. The stop window's length grows with
/// RAM.
#[derive(Debug)]
pub struct InPlace<'a, R, W> {
    /// The plan of the map.
    pub layout: &'a Layout<'a>,
    /// Reaches the two root tables, outside the linear map.
    pub roots: &'a R,
    /// The live root.
    pub live: PhysAddr,
    /// A table outside the linear map that keeps the root entries meanwhile.
    pub save: PhysAddr,
    /// The way to all other tables.
    pub temporary: &'a TemporaryMapping<W>,
}

impl<R: TableMemory, W: TableMemory> InPlace<'_, R, W> {
    /// Breaks the root entries, splits leaf after leaf with frames of the pool, and makes the root entries again. Returns how
    /// many tables it used.
    ///
    /// # Panics
    /// When the pool is too small: a defect of the counts.
    pub fn run<C: Cpu>(&self, cpu: &C, pool: &mut Pool, repeat: TlbiRepeat, _parked: &Parked<'_>) -> u64 {
        let Self { layout, roots, live, save, temporary } = *self;
        let geometry = layout.geometry();
        // Its tables are visible to the walker: painting them ended with a DSB ISHST.
        cpu.set_ttbr0(temporary.root);
        // The window may be used from here on; before, TTBR0 named an empty table, of which no TLB holds anything.
        cpu.isb();
        for entry in layout.root_entries() {
            roots.store(slot(save, entry), roots.load(slot(live, entry)));
            roots.store(slot(live, entry), Descriptor::EMPTY);
        }
        invalidate_everywhere(cpu, repeat);
        let mut splitter = Splitter { layout, view: &temporary.view, pool, tables: 0 };
        for entry in layout.root_entries() {
            let old = roots.load(slot(save, entry));
            let new = splitter.entry(old, geometry.root_level());
            roots.store(slot(save, entry), new);
        }
        let tables = splitter.tables;
        // Every table written above is visible to walkers before the entries that make them reachable again.
        cpu.dsb_ishst();
        for entry in layout.root_entries() {
            roots.store(slot(live, entry), roots.load(slot(save, entry)));
        }
        make_visible(cpu);
        cpu.set_ttbr0(temporary.empty);
        // No walk begins at the window's root after this, ...
        cpu.isb();
        // ... so what this CPU's TLB holds of it is all there will be, and goes; no other CPU ever had the window.
        cpu.tlbi_vmalle1();
        cpu.dsb_nsh();
        cpu.isb();
        tables
    }
}

struct Splitter<'a, W> {
    layout: &'a Layout<'a>,
    view: &'a W,
    pool: &'a mut Pool,
    tables: u64,
}

impl<W: TableMemory> Splitter<'_, W> {
    fn geometry(&self) -> Geometry {
        self.layout.geometry()
    }

    /// Returns the entry that takes the place of `old`, an entry of a table of `level`. Tables below are changed in place, which
    /// is allowed because nothing reaches them and no TLB remembers them.
    fn entry(&mut self, old: Descriptor, level: Level) -> Descriptor {
        match successor(self.layout, old, level) {
            Successor::Entry(entry) => entry,
            Successor::Table(below, next) => {
                for index in 0..self.geometry().entries(next) {
                    let at = slot(below, index);
                    let before = self.view.load(at);
                    let after = self.entry(before, next);
                    if after != before {
                        self.view.store(at, after);
                    }
                }
                old
            }
            Successor::Split(next) => self.split(old, next),
        }
    }

    fn split(&mut self, old: Descriptor, level: Level) -> Descriptor {
        let geometry = self.geometry();
        let table = self.pool.take(self.view);
        self.tables += 1;
        let first = old.split_child(level);
        match level.next() {
            None => self.view.store_run(table, first, geometry.page_size(), geometry.entries(level)),
            Some(next) => {
                for index in 0..geometry.entries(level) {
                    let below = self.split(Descriptor(first.0 + index as u64 * geometry.size(level)), next);
                    self.view.store(slot(table, index), below);
                }
            }
        }
        Descriptor::table(table)
    }
}
