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
        for first in entries.step_by(unit) {
            let at = start.wrapping_add(first as u64 * size);
            if self.rule.cover(at, size * unit as u64) == Cover::Nothing {
                continue;
            }
            let leader = self.view.load(slot(table, first));
            let joined = unit > 1 && self.rule.is_joined(leader, level);
            if joined && self.rule.leaves_alone(leader, at) {
                continue;
            }
            let stays = joined && self.rule.stays_joined(at, level);
            let joins = match self.rule.change {
                Change::Collapse if unit > 1 && !joined => {
                    self.rule.joinable(self.view, slot(table, first), unit, level, at)
                }
                _ => None,
            };
            for index in first..first + unit {
                let old = self.view.load(slot(table, index));
                let at = start.wrapping_add(index as u64 * size);
                let new = match joins {
                    Some(leaf) => self.joined(old, level, Descriptor(leaf.0 + (index - first) as u64 * size)),
                    None if joined && !stays => {
                        self.counts.replace(level, old, old.without_contiguous());
                        self.entry(old.without_contiguous(), level, at)
                    }
                    None => self.entry(old, level, at),
                };
                if new != old {
                    self.kinds.sizes |= joined || joins.is_some();
                    if let Some(copy) = copy(self) {
                        self.view.store(slot(copy, index), new);
                    }
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
                    Change::Collapse => self.rule.collapsed(self.view, old, level, start),
                    _ => None,
                };
                if let Some(leaf) = collapsed {
                    self.counts.collapse(self.view, geometry, below, next);
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

    /// Returns the leaf `leaf` as a member of a new contiguous group, in place of `old` and everything below it.
    fn joined(&mut self, old: Descriptor, level: Level, leaf: Descriptor) -> Descriptor {
        let leaf = leaf.with_contiguous();
        match (old.kind(self.rule.geometry(), level), level.next()) {
            (Kind::Table(below), Some(next)) => {
                self.counts.collapse(self.view, self.rule.geometry(), below, next);
                self.counts.add(level, leaf, 1);
            }
            _ => self.counts.replace(level, old, leaf),
        }
        leaf
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
        let unit_or_all = unit.unwrap_or(count);
        for group in (0..count).step_by(unit_or_all) {
            let joined = unit.is_some() && self.rule.stays_joined(start + group as u64 * size, level);
            // In place a group that the change covers whole is joined when it is edited.
            let joins_later = unit.is_some() && self.rule.joins_later(start + group as u64 * size, level);
            self.counts.add(level, if joined { first.with_contiguous() } else { first }, unit_or_all as u64);
            for index in group..group + unit_or_all {
                let leaf = Descriptor(first.0 + index as u64 * size);
                let leaf = match (joined, joins_later) {
                    (true, _) => leaf.with_contiguous(),
                    (false, true) => leaf.marked(),
                    (false, false) => leaf,
                };
                let new = self.entry(leaf, level, start + index as u64 * size);
                if let Some(table) = table {
                    self.view.store(slot(table, index), new);
                }
            }
        }
        table.map_or(Descriptor::EMPTY, Descriptor::table)
    }
}
