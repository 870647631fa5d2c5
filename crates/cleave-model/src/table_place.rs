// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table's place in the tree of a root, and the CPUs that may walk to it.

use cleave::tables::{Level, VirtAddr};

/// A set of CPUs, one bit each.
pub(super) type Cpus = u32;

/// The restrictions a table descriptor puts on what is below it.
pub(super) const RESTRICTIONS: u64 = 0xf800_0000_0000_0000;

/// A table in the tree of some root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) level: Level,
    /// The first virtual address it covers.
    pub(super) base: VirtAddr,
    /// The CPUs whose walkers may come here.
    pub(super) holders: Cpus,
    /// By tables in memory; otherwise only by what a walk cache may hold.
    pub(super) current: bool,
    /// The restrictions of the tables above.
    pub(super) restrictions: u64,
}

/// The base register that a walk begins at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// TTBR0.
    Lower,
    /// TTBR1.
    Upper,
}
