// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copied paths: a new tree for a change, which shares every table below which nothing changes with the old one.
//!
//! No walker reaches the new tables until the root entries are exchanged, so the order of the stores does not matter, and
//! permissions, sizes and hints may change in one step.

use super::rule::{Change, Cover, Next, Rule};
use crate::linear_map::counts::MapCounts;
use crate::linear_map::pool::Pool;
use crate::tables::{Descriptor, Kind, Level, PhysAddr, TableMemory, slot};

/// The source of a rewrite's new tables.
pub(super) trait Supply {
    /// Returns the next table, or `None` where tables are counted and not written.
    fn take<V: TableMemory>(&mut self, view: &V, why: Why) -> Option<PhysAddr>;
}

/// The reason for a new table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    /// The copy of a table on the way to a change.
    Copy,
    /// A leaf becomes smaller ones.
    Split,
}

/// Counts the tables that a change takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counting {
    pub(super) copies: u64,
    pub(super) splits: u64,
}

impl Supply for Counting {
    fn take<V: TableMemory>(&mut self, _view: &V, why: Why) -> Option<PhysAddr> {
        match why {
            Why::Copy => self.copies += 1,
            Why::Split => self.splits += 1,
        }
        None
    }
}

impl Supply for &mut Pool {
    fn take<V: TableMemory>(&mut self, view: &V, _why: Why) -> Option<PhysAddr> {
        Some(Pool::take(self, view))
    }
}

/// The changes that a rewrite makes, by their kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Kinds {
    /// A leaf outside contiguous groups got other permissions, or became valid or invalid.
    pub(super) edits: bool,
    /// A leaf became smaller or larger, or a group began, ended or was edited as one.
    pub(super) sizes: bool,
}

/// A rewrite under way.
pub(super) struct Rewrite<'a, V, S> {
    pub(super) rule: Rule<'a>,
    /// Reaches every table, the roots included.
    pub(super) view: &'a V,
    pub(super) supply: S,
    /// The difference that the change makes to the counts of the map.
    pub(super) counts: MapCounts,
    pub(super) kinds: Kinds,
}

impl<V: TableMemory, S: Supply> Rewrite<'_, V, S> {
    /// Writes the new root entries of the map under `live` to the table `replacement`.
    pub(super) fn roots(&mut self, live: PhysAddr, replacement: Option<PhysAddr>) {
        let geometry = self.rule.geometry();
        let (level, base) = (geometry.root_level(), self.rule.layout.root_base().0);
        let entries = self.rule.layout.root_entries();
        // Physical addresses of what the entries map; entry 0 may lie below the map's base.
        let start = base.wrapping_sub(self.rule.layout.base().0);
        let group = geometry.contiguous(level).unwrap_or(1);
        let (first, last) = (entries.start / group * group, entries.end.next_multiple_of(group));
        if let Some(replacement) = replacement {
            for entry in entries {
                self.view.store(slot(replacement, entry), self.view.load(slot(live, entry)));
            }
        }
        self.groups(live, level, start, first..last.min(geometry.entries(level)), &mut |_| replacement);
    }

    /// Returns the table that takes the place of `table` of `level`, which covers memory from `start` on; `None` when
    /// nothing below it changes.
    fn table(&mut self, table: PhysAddr, level: Level, start: u64) -> Option<Option<PhysAddr>> {
        let mut copy: Option<Option<PhysAddr>> = None;
        let entries = 0..self.rule.geometry().entries(level);
        self.groups(table, level, start, entries.clone(), &mut |rewrite: &mut Self| {
            *copy.get_or_insert_with(|| {
                let new = rewrite.supply.take(rewrite.view, Why::Copy);
                if let Some(new) = new {
                    for entry in entries.clone() {
                        rewrite.view.store(slot(new, entry), rewrite.view.load(slot(table, entry)));
                    }
                }
                new
            })
        });
        copy
    }

    /// Works out the new values of `entries` of `table`, and stores those that differ to the table that `copy` returns.
    fn groups(
        &mut self,
        table: PhysAddr,
        level: Level,
        start: u64,
        entries: core::ops::Range<usize>,
        copy: &mut dyn FnMut(&mut Self) -> Option<PhysAddr>,
    ) {
        let geometry = self.rule.geometry();
        let (size, unit) = (geometry.size(level), geometry.contiguous(level).unwrap_or(1));
        for first in self.rule.touched(start, level, unit, entries).step_by(unit) {
            let at = start.wrapping_add(first as u64 * size);
            if self.rule.cover(at, size * unit as u64) == Cover::Nothing {
                continue;
            }
            let leader = self.view.load(slot(table, first));
            let joined = unit > 1 && self.rule.is_joined(leader, level);
            if joined && self.rule.leaves_alone(leader, at) {
                continue;
            }
            let leaves = joined && !self.rule.stays_joined(at, level);
            // A group that breaks up changes in every member, covered or not.
            let members = first..first + unit;
            let members = if leaves { members } else { self.rule.touched(start, level, 1, members) };
            let mut first_new = None;
            let mut equal = self.rule.change == Change::Collapse && members.len() == unit;
            for index in members {
                let old = self.view.load(slot(table, index));
                let at = start.wrapping_add(index as u64 * size);
                let new = if leaves {
                    self.counts.replace(level, old, old.without_contiguous());
                    self.entry(old.without_contiguous(), level, at)
                } else {
                    self.entry(old, level, at)
                };
                if new != old {
                    self.kinds.sizes |= joined;
                    if let Some(copy) = copy(self) {
                        self.view.store(slot(copy, index), new);
                    }
                }
                let leaf = *first_new.get_or_insert(new);
                equal &= new.0 == leaf.0.wrapping_add((index - first) as u64 * size);
            }
            if let Some(leaf) = first_new.filter(|&leaf| equal && self.rule.may_join(leaf, unit, level, at)) {
                self.kinds.sizes = true;
                self.counts.remove(level, leaf, unit as u64);
                self.counts.add(level, leaf.with_contiguous(), unit as u64);
                if let Some(copy) = copy(self) {
                    self.view.store_run(slot(copy, first), leaf.with_contiguous(), size, unit);
                }
            }
        }
    }

    /// Returns the entry that takes the place of `old`, which covers memory from `start` on.
    fn entry(&mut self, old: Descriptor, level: Level, start: u64) -> Descriptor {
        let geometry = self.rule.geometry();
        if self.rule.cover(start, geometry.size(level)) == Cover::Nothing {
            return old;
        }
        match (old.kind(geometry, level), level.next()) {
            (Kind::Table(below), Some(next)) => {
                let collapsed = match self.rule.change {
                    Change::Collapse => self.rule.collapsed(self.view, old, level, start, &mut self.counts),
                    _ => None,
                };
                if let Some(leaf) = collapsed {
                    self.counts.add(level, leaf, 1);
                    self.kinds.sizes = true;
                    return leaf;
                }
                match self.table(below, next, start) {
                    None => old,
                    // Where tables are only counted any other value does: it is compared, and never stored.
                    Some(copy) => copy.map_or(Descriptor::EMPTY, |copy| old.retargeted(copy)),
                }
            }
            (Kind::Leaf(_) | Kind::InvalidLeaf(_), _) => match self.rule.next(old, level, start) {
                Next::Leaf(leaf) => {
                    if leaf != old {
                        self.kinds.edits = true;
                        self.counts.replace(level, old, leaf);
                    }
                    leaf
                }
                Next::Split(next) => self.split(old, next, start),
            },
            _ => old,
        }
    }

    /// Returns a table descriptor in place of `old`, a leaf outside groups: a new table of `level` with what it maps from
    /// `start` on, and with contiguous groups where the change allows them.
    pub(super) fn split(&mut self, old: Descriptor, level: Level, start: u64) -> Descriptor {
        let geometry = self.rule.geometry();
        let (size, unit, count) = (geometry.size(level), geometry.contiguous(level), geometry.entries(level));
        let table = self.supply.take(self.view, Why::Split);
        self.kinds.sizes = true;
        self.counts.split(Level::ALL[level.number() - 1], old);
        let first = old.split_child(level);
        let group = unit.unwrap_or(1);
        let hinted = |joined: bool| if joined { first.with_contiguous() } else { first };
        // What the change does not touch stays as large as it can be.
        let untouched = hinted(unit.is_some());
        self.counts.add(level, untouched, count as u64);
        if let Some(table) = table {
            self.view.store_run(slot(table, 0), untouched, size, count);
        }
        for at in self.rule.touched(start, level, group, 0..count).step_by(group) {
            let memory = start + at as u64 * size;
            let joined = unit.is_some() && self.rule.stays_joined(memory, level);
            // In place a group that the change covers whole is joined when it is edited.
            let joins_later = unit.is_some() && self.rule.joins_later(memory, level);
            self.counts.remove(level, untouched, group as u64);
            self.counts.add(level, hinted(joined), group as u64);
            for index in at..at + group {
                let leaf = Descriptor(hinted(joined).0 + index as u64 * size);
                let leaf = if joins_later { leaf.marked() } else { leaf };
                let new = self.entry(leaf, level, start + index as u64 * size);
                if let Some(table) = table {
                    self.view.store(slot(table, index), new);
                }
            }
        }
        table.map_or(Descriptor::EMPTY, Descriptor::table)
    }
}
