// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rule of a change: the part of a descriptor that a change covers, and the leaf that takes its place.

use core::ops::Range;

use crate::linear_map::counts::MapCounts;
use crate::linear_map::layout::Layout;
use crate::tables::{Descriptor, Geometry, Kind, Level, PhysAddr, PhysRange, Scope, TableMemory, slot};

/// A change of the linear map. None of them moves memory: the output address of each page stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Reads are allowed, stores fault.
    ReadOnly,
    /// Reads and stores are allowed.
    ReadWrite,
    /// Every access faults. The leaves remember address and attributes: [`Change::Map`] brings them back.
    Unmap,
    /// The leaves are valid again.
    Map,
    /// No leaf is larger than one of this level, and none of this level is in a contiguous group.
    Split(Level),
    /// The largest leaves that equal neighbours allow, contiguous groups included.
    Collapse,
    /// Every leaf of the map, the kernel image's alias included, is global, or of one address space (nG): in ranges that are the
    /// whole map.
    Scope(Scope),
}

impl Change {
    /// Returns what `leaf` becomes when the change covers it whole.
    pub(super) fn edit(self, leaf: Descriptor) -> Descriptor {
        match self {
            Self::ReadOnly => leaf.made_read_only(),
            Self::ReadWrite => leaf.made_writable(),
            Self::Unmap => leaf.made_invalid(),
            Self::Map => leaf.made_valid(),
            Self::Scope(scope) => leaf.with_scope(scope),
            Self::Split(_) | Self::Collapse => leaf,
        }
    }

    /// Returns true for a change of permissions or validity, which an access can notice.
    #[must_use]
    pub const fn is_edit(self) -> bool {
        matches!(self, Self::ReadOnly | Self::ReadWrite | Self::Unmap | Self::Map)
    }

    /// Returns true for a change of sizes alone.
    pub(super) const fn is_of_sizes(self) -> bool {
        matches!(self, Self::Split(_) | Self::Collapse)
    }

    /// Returns true for a change of the whole map alone. It needs break-before-make on every CPU: while a TLB holds a global entry
    /// for an address, none of one address space may be made for it (Arm ARM D8.17.1).
    pub(super) const fn is_of_whole_map(self) -> bool {
        matches!(self, Self::Scope(_))
    }
}

/// The part of a piece of memory that a change covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cover {
    Nothing,
    Some,
    All,
}

/// The entry that takes the place of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// A leaf of the same size: the old one or an edited one.
    Leaf(Descriptor),
    /// A table of this level.
    Split(Level),
}

/// A change of some ranges of a map.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) layout: &'a Layout<'a>,
    pub(super) change: Change,
    /// Sorted, and no two overlap. Two that touch are two all the same: neither makes the other's leaves its own.
    pub(super) ranges: &'a [PhysRange],
    /// Leaves become smaller where the change asks for it, and nothing else: the first steps of a change in place.
    pub(super) sizes_only: bool,
}

impl Rule<'_> {
    pub(super) fn geometry(&self) -> Geometry {
        self.layout.geometry()
    }

    /// Returns how much of the `bytes` bytes of memory from `start` on the change covers.
    pub(super) fn cover(&self, start: u64, bytes: u64) -> Cover {
        let piece = PhysRange::new(PhysAddr(start), PhysAddr(start + bytes));
        // The first range that ends behind the start is the only one that can hold the whole piece. Most changes have one range.
        let first = match self.ranges {
            [only] => usize::from(only.end <= piece.start),
            ranges => ranges.partition_point(|range| range.end <= piece.start),
        };
        match self.ranges.get(first) {
            Some(range) if range.contains_range(piece) => Cover::All,
            Some(range) if range.overlaps(piece) => Cover::Some,
            _ => Cover::Nothing,
        }
    }

    /// Returns those of `entries` of a table of `level`, which covers memory from `start` on, that lie between the beginning of the
    /// first range and the end of the last, in whole runs of `unit` entries.
    pub(super) fn touched(&self, start: u64, level: Level, unit: usize, entries: Range<usize>) -> Range<usize> {
        let (Some(first), Some(last)) = (self.ranges.first(), self.ranges.last()) else { return 0..0 };
        // The first root entry may begin below address 0, so the distances have signs.
        let index = |at: u64| (at.wrapping_sub(start) as i64 >> self.geometry().shift(level)).max(-1);
        let (first, last) = (index(first.start.0).max(0) as usize, (index(last.end.0 - 1) + 1) as usize);
        let (first, last) = (first & !(unit - 1), (last + unit - 1) & !(unit - 1));
        first.max(entries.start)..last.min(entries.end)
    }

    /// Returns true when `entry` is a member of a contiguous group.
    pub(super) fn is_joined(&self, entry: Descriptor, level: Level) -> bool {
        is_leaf(entry, self.geometry(), level) && entry.is_contiguous()
    }

    /// Returns true for memory of the kernel image's alias, where the change leaves that out.
    fn is_kept(&self, start: u64) -> bool {
        !self.change.is_of_whole_map() && self.layout.alias().contains(PhysAddr(start))
    }

    /// Returns true when the change makes no difference to the contiguous group of `leaf`, whose memory begins at `start`: it
    /// belongs to the alias, or has the attributes already.
    pub(super) fn leaves_alone(&self, leaf: Descriptor, start: u64) -> bool {
        self.is_kept(start) || !self.change.is_of_sizes() && self.change.edit(leaf) == leaf
    }

    /// Returns true when a contiguous group of `level`, all of whose members are leaves, is one after the change.
    pub(super) fn stays_joined(&self, start: u64, level: Level) -> bool {
        let group = self.geometry().contiguous(level).unwrap_or(1) as u64;
        match (self.cover(start, group * self.geometry().size(level)), self.change) {
            (Cover::Nothing, _) | (_, Change::Collapse) => true,
            (_, Change::Split(to)) => level > to,
            // In place a group is edited leaf by leaf, and joined afterwards.
            (cover, _) => cover == Cover::All && !self.sizes_only,
        }
    }

    /// Returns true when the members of a group of `level` become one group in the last step of a change in place.
    pub(super) fn joins_later(&self, start: u64, level: Level) -> bool {
        let group = self.geometry().contiguous(level).unwrap_or(1) as u64;
        self.sizes_only && self.change.is_edit() && self.cover(start, group * self.geometry().size(level)) == Cover::All
    }

    /// Returns what takes the place of `leaf`, a leaf of `level` that maps memory from `start` on and that the change covers, in part
    /// or whole.
    pub(super) fn next(&self, leaf: Descriptor, level: Level, start: u64) -> Next {
        if self.change.is_edit() && level.next().is_none() && !self.sizes_only {
            // A page is covered whole, and no edit covers the alias.
            return Next::Leaf(self.change.edit(leaf));
        }
        if self.is_kept(start) {
            return Next::Leaf(leaf);
        }
        let cover = self.cover(start, self.geometry().size(level));
        match (self.change, cover, level.next()) {
            (_, Cover::Nothing, _) | (Change::Collapse, _, _) => Next::Leaf(leaf),
            (Change::Split(to), _, Some(next)) if level < to => Next::Split(next),
            (Change::Split(_), _, _) => Next::Leaf(leaf),
            // Only the part that is covered becomes another: what is not keeps the old attributes in leaves of its own.
            (_, Cover::Some, Some(next)) if self.change.edit(leaf) != leaf => Next::Split(next),
            (_, Cover::Some, _) => Next::Leaf(leaf),
            (_, Cover::All, _) if self.sizes_only => Next::Leaf(leaf),
            (_, Cover::All, _) => Next::Leaf(self.change.edit(leaf)),
        }
    }

    /// Returns the one leaf of `level`, without the Contiguous bit, that can stand for the table `entry` and everything below it, if
    /// there is one, and takes what it replaces out of `counts`. The entry covers memory from `start` on.
    pub(super) fn collapsed<V: TableMemory>(
        &self,
        view: &V,
        entry: Descriptor,
        level: Level,
        start: u64,
        counts: &mut MapCounts,
    ) -> Option<Descriptor> {
        let geometry = self.geometry();
        let (Kind::Table(table), Some(next)) = (entry.kind(geometry, level), level.next()) else { return None };
        // A table with restrictions gives its leaves permissions that a block would not have.
        let allowed = geometry.leaf_allowed(level) && entry == Descriptor::table(table);
        if !allowed || !self.covers_all_memory(start, geometry.size(level)) {
            return None;
        }
        let (size, entries) = (geometry.size(next), geometry.entries(next));
        let first = view.load(table);
        let before = *counts;
        counts.collapse(next);
        if is_leaf(first, geometry, next) && view.is_run(table, first, size, entries) {
            counts.remove(next, first, entries as u64);
            return Some(first.merged());
        }
        let mut child = |index: usize| {
            let entry = view.load(slot(table, index));
            if is_leaf(entry, geometry, next) {
                counts.remove(next, entry, 1);
                return Some(entry.without_contiguous());
            }
            self.collapsed(view, entry, next, start + index as u64 * size, counts)
        };
        let first = child(0);
        let mut equal =
            |index: usize, first: Descriptor| child(index) == Some(Descriptor(first.0 + index as u64 * size));
        let leaf = first.filter(|&first| (1..entries).all(|index| equal(index, first)));
        if leaf.is_none() {
            *counts = before;
        }
        leaf.map(Descriptor::merged)
    }

    /// Returns true when the group of `count` entries of `level` whose first one is `first`, leaves without the Contiguous bit, may
    /// become one contiguous group if they are equal.
    pub(super) fn may_join(&self, first: Descriptor, count: usize, level: Level, start: u64) -> bool {
        // No group reaches over the end of a range, and so of a region: a CPU may speculate into all of it.
        let covers = || self.covers_all_memory(start, count as u64 * self.geometry().size(level));
        count > 1 && is_leaf(first, self.geometry(), level) && !first.is_contiguous() && covers()
    }

    /// Returns true when the change covers the `bytes` bytes of memory from `start` on, and no part of the alias is in them.
    fn covers_all_memory(&self, start: u64, bytes: u64) -> bool {
        let piece = PhysRange::new(PhysAddr(start), PhysAddr(start + bytes));
        self.cover(start, bytes) == Cover::All && !self.layout.alias().overlaps(piece)
    }
}

fn is_leaf(entry: Descriptor, geometry: Geometry, level: Level) -> bool {
    matches!(entry.kind(geometry, level), Kind::Leaf(_) | Kind::InvalidLeaf(_))
}
