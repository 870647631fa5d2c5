// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world the oracle knows: five tables, ten slots, six pages.
//!
//! Small enough to look at everything that can happen in it, and large enough for everything that went wrong in
//! page-table code so far: two levels below the root, a table to split into, a second root, a table that hangs in two
//! places.

use cleave::tables::{Attributes, Descriptor, Geometry, Granule, Level, Permissions, PhysAddr, VaBits, VirtAddr};

/// The root is a table of level 1.
pub(super) const GEOMETRY: Geometry = Geometry { granule: Granule::K4, va_bits: VaBits::V39 };

/// A table of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Table {
    /// Level 1: where every TTBR1 points at first.
    Root,
    /// Level 1: another root, which maps the same at first.
    OtherRoot,
    /// Level 2.
    Middle,
    /// Level 3, nothing in it beyond its first two entries.
    Pages,
    /// Level 3, with pages of the first block in the rest of it.
    New,
}

impl Table {
    pub(super) const ALL: [Self; 5] = [Self::Root, Self::OtherRoot, Self::Middle, Self::Pages, Self::New];

    pub(super) const fn address(self) -> PhysAddr {
        PhysAddr(0x10_0000 + 0x1000 * self as u64)
    }

    pub(super) fn at(address: PhysAddr) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.address() == address)
    }

    pub(super) const fn level(self) -> Level {
        match self {
            Self::Root | Self::OtherRoot => Level::L1,
            Self::Middle => Level::L2,
            Self::Pages | Self::New => Level::L3,
        }
    }
}

/// A slot that programs store to, by its place in [`SLOTS`].
pub(super) type Slot = usize;

/// Every slot with something in it: its table and its index there. Index 2 of a table of pages stands for all the
/// others, and nothing is ever stored there.
pub(super) const SLOTS: [(Table, usize); 10] = [
    (Table::Root, 0),
    (Table::OtherRoot, 0),
    (Table::Middle, 0),
    (Table::Middle, 1),
    (Table::Pages, 0),
    (Table::Pages, 1),
    (Table::New, 0),
    (Table::New, 1),
    (Table::Pages, 2),
    (Table::New, 2),
];

/// The number of them that are stored to.
pub(super) const STORED: usize = 8;

pub(super) const ROOT: Slot = 0;
pub(super) const OTHER_ROOT: Slot = 1;
pub(super) const FIRST: Slot = 2;
pub(super) const SECOND: Slot = 3;
pub(super) const PAGE: Slot = 4;
pub(super) const NEXT_PAGE: Slot = 5;
pub(super) const NEW_PAGE: Slot = 6;
pub(super) const NEW_NEXT_PAGE: Slot = 7;

pub(super) fn address_of(slot: Slot) -> PhysAddr {
    let (table, index) = SLOTS[slot];
    cleave::tables::slot(table.address(), index)
}

/// The slots of a table.
pub(super) fn slots_of(table: Table) -> impl Iterator<Item = (Slot, usize)> {
    SLOTS.into_iter().enumerate().filter(move |(_, (of, _))| *of == table).map(|(slot, (_, index))| (slot, index))
}

/// The first page of the half that TTBR1 translates.
const BASE: u64 = !0 << 39;

/// The pages that are looked at, counted from the first: three below each entry of the middle table.
pub(super) const PAGES: [u64; 6] = [0, 1, 2, 512, 513, 514];

/// Those that invalidations by address name. The third page stands for many, and no one invalidation covers those.
pub(super) const NAMED: [u64; 4] = [0, 1, 512, 513];

pub(super) const fn address(page: u64) -> VirtAddr {
    VirtAddr(BASE + page * 0x1000)
}

/// Returns the number of pages that an entry of a level covers.
pub(super) const fn pages_at(level: Level) -> u64 {
    GEOMETRY.size(level) / GEOMETRY.page_size()
}

/// A value to store, for any slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Empty,
    /// A leaf of the memory that belongs there.
    Leaf,
    /// The same, read-only.
    ReadOnly,
    /// A leaf of other memory.
    Other,
    /// A table of the next level: the middle table, or the pages.
    Linked,
    /// The new table, where the pages might be.
    NewLinked,
    /// As `Linked`, nothing below it writable.
    Restricted,
}

/// The descriptor that a value is in a slot.
pub(super) fn descriptor(value: Value, slot: Slot) -> Descriptor {
    let (table, index) = SLOTS[slot];
    let leaf = |permissions, from: u64| {
        let output = PhysAddr(from + index as u64 * GEOMETRY.size(table.level()));
        Attributes::NORMAL.with_permissions(permissions).leaf(output, table.level())
    };
    let (linked, new) = match table {
        Table::Root | Table::OtherRoot => (Table::Middle, Table::Middle),
        _ => (Table::Pages, Table::New),
    };
    let is_leaf = matches!(table.level(), Level::L3);
    match value {
        Value::Empty => Descriptor::EMPTY,
        Value::Leaf => leaf(Permissions::ReadWrite, 0x4000_0000),
        Value::ReadOnly => leaf(Permissions::ReadOnly, 0x4000_0000),
        Value::Other => leaf(Permissions::ReadWrite, 0x8000_0000),
        // A page has no table below it.
        Value::Linked | Value::NewLinked if is_leaf => leaf(Permissions::ReadWrite, 0x4000_0000),
        Value::Restricted if is_leaf => leaf(Permissions::ReadOnly, 0x4000_0000),
        Value::Linked => Descriptor::table(linked.address()),
        Value::NewLinked => Descriptor::table(new.address()),
        Value::Restricted => Descriptor(Descriptor::table(linked.address()).0 | 1 << 62),
    }
}

/// Returns the values of the slots at first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beginning {
    /// A table of pages and a block.
    Mixed,
    /// Two blocks.
    Blocks,
    /// A table of one page, and nothing beside it.
    Sparse,
}

pub(super) fn beginning(which: Beginning) -> [Descriptor; SLOTS.len()] {
    use Value::{Empty, Leaf, Linked};
    // Root, other root, two of the middle table, two pages, two new pages, the rest of either table.
    let values = match which {
        Beginning::Mixed => [Linked, Linked, Linked, Leaf, Leaf, Leaf, Leaf, Leaf, Empty, Leaf],
        Beginning::Blocks => [Linked, Linked, Leaf, Leaf, Leaf, Leaf, Leaf, Leaf, Empty, Leaf],
        Beginning::Sparse => [Linked, Empty, Linked, Empty, Leaf, Empty, Empty, Empty, Empty, Empty],
    };
    core::array::from_fn(|slot| descriptor(values[slot], slot))
}
