// SPDX-License-Identifier: MIT OR Apache-2.0
//! A tree of translation tables: what every walk and every new mapping needs to know of it.

use super::address::PhysAddr;
use super::geometry::Geometry;

/// A tree of translation tables: its shape, its root table, and the view that reaches its tables.
#[derive(Clone, Copy, Debug)]
pub struct TableTree<M> {
    /// Reaches the tables.
    pub memory: M,
    /// The shape of the tree.
    pub geometry: Geometry,
    /// The root table.
    pub root: PhysAddr,
}
