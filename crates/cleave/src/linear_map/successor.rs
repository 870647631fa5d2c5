// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rule of the split: the successor of each entry of the linear map.

use super::layout::Layout;
use crate::tables::{Descriptor, Kind, Level, PhysAddr};

/// The successor of an entry when the map is split to pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Successor {
    /// This entry: the old one, or a page without its contiguous hint.
    Entry(Descriptor),
    /// A table of this level, with the successors of the entries of the table at this address.
    Table(PhysAddr, Level),
    /// A table of this level, whose leaves map what the entry maps.
    Split(Level),
}

/// Returns the successor of `old`, an entry of a table of `level`.
///
/// Leaves that are invalid but present are split as valid ones are, and stay invalid. Leaves of the kernel image's alias stay
/// whole, and so does all that maps nothing.
#[inline(always)]
pub(super) fn successor(layout: &Layout<'_>, old: Descriptor, level: Level) -> Successor {
    match (old.kind(layout.geometry(), level), level.next()) {
        (Kind::Table(below), Some(next)) => Successor::Table(below, next),
        (Kind::Leaf(output) | Kind::InvalidLeaf(output), _) if layout.alias().contains(output) => Successor::Entry(old),
        // A page, or a level that has no tables below: only the hint goes.
        (Kind::Leaf(_) | Kind::InvalidLeaf(_), None) => Successor::Entry(old.without_contiguous()),
        (Kind::Leaf(_) | Kind::InvalidLeaf(_), Some(next)) => Successor::Split(next),
        (Kind::Empty | Kind::Reserved | Kind::Table(_), _) => Successor::Entry(old),
    }
}
