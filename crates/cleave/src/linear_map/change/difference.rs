// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables in which two trees that share the rest differ.

use crate::tables::{Descriptor, Geometry, Kind, Level, PhysAddr, TableMemory, slot};

/// Calls `each` for every table below `old` that is not a table below `new` at the same place, a table after those below it.
/// Both are entries of a table of `level`.
pub(super) fn each_only_in<V: TableMemory>(
    view: &V,
    geometry: Geometry,
    level: Level,
    (old, new): (Descriptor, Descriptor),
    each: &mut impl FnMut(PhysAddr),
) {
    let (Kind::Table(below), Some(next)) = (old.kind(geometry, level), level.next()) else { return };
    let other = match new.kind(geometry, level) {
        Kind::Table(other) if other == below => return,
        Kind::Table(other) => Some(other),
        _ => None,
    };
    // The entries of a page table name no tables.
    if next.next().is_some() {
        for index in 0..geometry.entries(next) {
            let now = other.map_or(Descriptor::EMPTY, |other| view.load(slot(other, index)));
            each_only_in(view, geometry, next, (view.load(slot(below, index)), now), each);
        }
    }
    each(below);
}
