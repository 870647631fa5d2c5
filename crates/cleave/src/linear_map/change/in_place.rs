// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes in place: stores to live entries, while every CPU goes on.
//!
//! Permissions and validity may change so on any CPU, outside contiguous groups. Sizes may change so where every CPU has
//! FEAT_BBM level 2. No step changes the size of a mapping together with its permissions (DDI 0487, D8.17.1), and each is
//! complete on every CPU before the next begins:
//!
//! 1. groups that the change touches lose the Contiguous bit;
//! 2. leaves that it covers in part become tables of smaller leaves with the same attributes;
//! 3. leaves that it covers whole get their new attributes;
//! 4. groups that it covers whole are joined again.

use super::rewrite::Rewrite;
use super::rule::{Change, Cover, Next};
use super::stale::StaleAddresses;
use crate::linear_map::pool::Pool;
use crate::tables::{Cpu, Descriptor, Kind, Level, PhysAddr, TableMemory, TlbiLevels, TlbiRepeat, VirtAddr, slot};

/// A step of a change in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Loosen,
    Resize,
    Edit,
    Join,
}

/// The most tables that a collapse takes out of the tree before their invalidation.
pub(super) const BATCH: usize = 64;

/// A change in place under way.
pub(super) struct InPlaceChange<'a, 'p, V, C, F> {
    /// The rule, the view, the pool and the counts.
    pub(super) rewrite: Rewrite<'a, V, &'p mut Pool>,
    pub(super) cpu: &'a C,
    pub(super) repeat: TlbiRepeat,
    /// Every CPU has FEAT_TLBIRANGE.
    pub(super) by_range: bool,
    /// Gives back the tables of a tree that no TLB holds any more.
    pub(super) free: F,
    /// Room for the tables that a collapse took out of the tree and that a TLB may still hold.
    pub(super) retired: &'a mut [(PhysAddr, Level)],
    pub(super) waiting: usize,
    /// The addresses of what was valid and has changed since the last invalidation.
    pub(super) stale: StaleAddresses,
    /// Something was stored since the last barrier.
    pub(super) stored: bool,
    /// Something was stored.
    pub(super) changed: bool,
}

impl<'a, 'p, V: TableMemory, C: Cpu, F: FnMut(&V, PhysAddr, Level)> InPlaceChange<'a, 'p, V, C, F> {
    pub(super) fn new(
        rewrite: Rewrite<'a, V, &'p mut Pool>,
        cpu: &'a C,
        (repeat, by_range): (TlbiRepeat, bool),
        retired: &'a mut [(PhysAddr, Level)],
        free: F,
    ) -> Self {
        let stale = StaleAddresses::new();
        Self { rewrite, cpu, repeat, by_range, free, retired, waiting: 0, stale, stored: false, changed: false }
    }

    /// Makes the change below the root `live`. Where `sizes` is false no leaf changes its size and no group is touched. Returns true
    /// when something changed.
    pub(super) fn run(&mut self, live: PhysAddr, sizes: bool) -> bool {
        let steps: &[Step] = match (sizes, self.rewrite.rule.change) {
            (false, _) => &[Step::Edit],
            (true, Change::Split(_)) => &[Step::Loosen, Step::Resize],
            (true, Change::Collapse) => &[Step::Resize, Step::Join],
            (true, _) => &[Step::Loosen, Step::Resize, Step::Edit, Step::Join],
        };
        for &step in steps {
            self.rewrite.rule.sizes_only = step == Step::Resize;
            let layout = self.rewrite.rule.layout;
            let level = layout.geometry().root_level();
            let unit = layout.geometry().contiguous(level).unwrap_or(1);
            let entries = layout.root_entries();
            let start = layout.root_base().0.wrapping_sub(layout.base().0);
            let last = entries.end.next_multiple_of(unit).min(layout.geometry().entries(level));
            self.table(step, live, level, start, entries.start / unit * unit..last);
            self.complete(step);
        }
        self.changed
    }

    /// Makes what `step` has stored visible to walkers, and what it replaced gone from every TLB; then gives retired tables back.
    fn complete(&mut self, step: Step) {
        if !self.stale.is_empty() {
            // A change of size replaces entries of other levels too, and a table is cached for walks.
            let levels = if step == Step::Resize { TlbiLevels::All } else { TlbiLevels::Last };
            let geometry = self.rewrite.rule.geometry();
            self.stale.invalidate(self.cpu, self.repeat, levels, geometry, self.by_range);
        } else if self.stored {
            // From invalid to valid: no TLB holds anything (Arm ARM D8.17). The stores are seen by walkers, ...
            self.cpu.dsb_ishst();
            // ... and by the accesses of this CPU that follow.
            self.cpu.isb();
        }
        self.stored = false;
        for &(table, level) in &self.retired[..self.waiting] {
            (self.free)(self.rewrite.view, table, level);
        }
        self.waiting = 0;
    }

    /// Stores `new` in place of `old`, by which TLBs may hold the leaves of `stride` bytes of the `bytes` bytes from `start` on.
    fn store(&mut self, at: PhysAddr, (old, new): (Descriptor, Descriptor), start: u64, (bytes, stride): (u64, u64)) {
        self.rewrite.view.store(at, new);
        (self.stored, self.changed) = (true, true);
        if old.is_valid() {
            let base = self.rewrite.rule.layout.base();
            self.stale.add(VirtAddr(base.0.wrapping_add(start)), stride, bytes / stride);
        }
    }

    /// Does one step for `entries` of `table` of `level`, which covers memory from `start` on.
    fn table(&mut self, step: Step, table: PhysAddr, level: Level, start: u64, entries: core::ops::Range<usize>) {
        let geometry = self.rewrite.rule.geometry();
        let (size, unit) = (geometry.size(level), geometry.contiguous(level).unwrap_or(1));
        for first in self.rewrite.rule.touched(start, level, unit, entries).step_by(unit) {
            let at = start.wrapping_add(first as u64 * size);
            if self.rewrite.rule.cover(at, size * unit as u64) == Cover::Nothing {
                continue;
            }
            let group = slot(table, first);
            match step {
                Step::Loosen => self.loosen(group, unit, level, at),
                Step::Join => self.join(group, unit, level, at),
                Step::Resize | Step::Edit => {}
            }
            for index in self.rewrite.rule.touched(start, level, 1, first..first + unit) {
                self.entry(step, slot(table, index), level, start.wrapping_add(index as u64 * size));
            }
        }
    }

    /// Does one step for the entry at `at`, and for everything below it.
    fn entry(&mut self, step: Step, at: PhysAddr, level: Level, start: u64) {
        let Rewrite { rule, view, .. } = self.rewrite;
        let geometry = rule.geometry();
        if rule.cover(start, geometry.size(level)) == Cover::Nothing {
            return;
        }
        let old = view.load(at);
        match (old.kind(geometry, level), level.next()) {
            (Kind::Table(below), Some(next)) => {
                let collapses = step == Step::Resize && rule.change == Change::Collapse;
                let counts = &mut self.rewrite.counts;
                match collapses.then(|| rule.collapsed(view, old, level, start, counts)).flatten() {
                    Some(leaf) => self.collapse(at, (below, next), leaf, level, start),
                    None => self.table(step, below, next, start, 0..geometry.entries(next)),
                }
            }
            (Kind::Leaf(_) | Kind::InvalidLeaf(_), _) if matches!(step, Step::Resize | Step::Edit) => {
                let leaf_size = (geometry.size(level), geometry.size(level));
                match rule.next(old, level, start) {
                    Next::Leaf(leaf) if leaf != old => {
                        self.rewrite.counts.replace(level, old, leaf);
                        self.store(at, (old, leaf), start, leaf_size);
                    }
                    Next::Leaf(_) => {}
                    Next::Split(next) => {
                        let new = self.rewrite.split(old, next, start);
                        // The new tables are visible to walkers before the store that links them.
                        self.cpu.dsb_ishst();
                        self.store(at, (old, new), start, leaf_size);
                    }
                }
            }
            _ => {}
        }
    }

    /// Puts `leaf` in the place of the table at `old`, which a walker may still be in.
    fn collapse(&mut self, at: PhysAddr, old: (PhysAddr, Level), leaf: Descriptor, level: Level, start: u64) {
        let geometry = self.rewrite.rule.geometry();
        self.rewrite.counts.add(level, leaf, 1);
        // A TLB may hold each page of the table, or of the tables below it.
        self.store(at, (Descriptor::table(old.0), leaf), start, (geometry.size(level), geometry.page_size()));
        self.retired[self.waiting] = old;
        self.waiting += 1;
        if self.waiting == self.retired.len() {
            self.complete(Step::Resize);
        }
    }

    /// Takes the Contiguous bit from the group at `group`, if the change touches it.
    fn loosen(&mut self, group: PhysAddr, unit: usize, level: Level, start: u64) {
        let Rewrite { rule, view, .. } = self.rewrite;
        let leader = view.load(group);
        let stays_as_it_is = !rule.change.is_edit() && rule.stays_joined(start, level);
        if unit == 1 || !rule.is_joined(leader, level) || rule.leaves_alone(leader, start) || stays_as_it_is {
            return;
        }
        let joins_again = rule.stays_joined(start, level);
        let size = rule.geometry().size(level);
        for index in 0..unit {
            let at = slot(group, index);
            let old = view.load(at);
            let new = if joins_again { old.without_contiguous().marked() } else { old.without_contiguous() };
            self.rewrite.counts.replace(level, old, new);
            self.store(at, (old, new), start + index as u64 * size, (size, size));
        }
    }

    /// Sets the Contiguous bit in the group at `group`, if it was loosened, or if a collapse can join it.
    fn join(&mut self, group: PhysAddr, unit: usize, level: Level, start: u64) {
        let Rewrite { rule, view, .. } = self.rewrite;
        let leader = view.load(group);
        let wanted = rule.change == Change::Collapse && !rule.is_joined(leader, level) || leader.is_marked();
        if unit == 1 || !wanted {
            return;
        }
        let size = rule.geometry().size(level);
        if !rule.may_join(leader, unit, level, start) || !view.is_run(group, leader, size, unit) {
            return;
        }
        for index in 0..unit {
            let at = slot(group, index);
            let old = view.load(at);
            let new = old.unmarked().with_contiguous();
            self.rewrite.counts.replace(level, old, new);
            self.store(at, (old, new), start + index as u64 * size, (size, size));
        }
    }
}
