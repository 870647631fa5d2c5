// SPDX-License-Identifier: MIT OR Apache-2.0
//! The shape of translation tables: granule, levels, sizes and indices.
//!
//! Everything that depends on the granule or on the size of the address space is computed here from two facts, so
//! that no other file has a shift of its own. 48-bit output addresses; no FEAT_LPA, FEAT_LPA2 or FEAT_LVA.

use super::address::VirtAddr;

/// The translation granule: the size of a page and of a table (Arm ARM DDI 0487 D8.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Granule {
    /// 4 KiB pages, 512 descriptors a table.
    K4,
    /// 16 KiB pages, 2048 descriptors a table.
    K16,
    /// 64 KiB pages, 8192 descriptors a table.
    K64,
}

/// The size of a virtual address range under one TTBR (TCR_EL1.TnSZ).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum VaBits {
    /// 39 bits: 512 GiB.
    V39,
    /// 48 bits: 256 TiB.
    V48,
}

/// A lookup level of the table walk. Level 3 holds pages, the others tables and, where allowed, blocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Level {
    /// Level 0: tables only.
    L0,
    /// Level 1: with the 4 KiB granule, 1 GiB blocks.
    L1,
    /// Level 2: blocks of 2 MiB (4 KiB granule), 32 MiB (16 KiB) or 512 MiB (64 KiB).
    L2,
    /// Level 3: pages.
    L3,
}

impl Level {
    /// Every level, from the top.
    pub const ALL: [Self; 4] = [Self::L0, Self::L1, Self::L2, Self::L3];

    /// Returns the next level of a walk, or `None` for level 3.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::L0 => Some(Self::L1),
            Self::L1 => Some(Self::L2),
            Self::L2 => Some(Self::L3),
            Self::L3 => None,
        }
    }

    /// Returns the number of the level, 0 to 3.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }
}

/// Granule and address size together: the shape of one translation table tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Geometry {
    /// The translation granule.
    pub granule: Granule,
    /// The size of the virtual address range.
    pub va_bits: VaBits,
}

impl Geometry {
    /// The geometry the kernel itself runs with: 4 KiB granule, 48-bit addresses.
    pub const K4_V48: Self = Self { granule: Granule::K4, va_bits: VaBits::V48 };

    /// Returns log2 of the page size: 12, 14 or 16.
    #[must_use]
    pub const fn page_shift(self) -> u32 {
        match self.granule {
            Granule::K4 => 12,
            Granule::K16 => 14,
            Granule::K64 => 16,
        }
    }

    /// Returns the page size in bytes; a table below the root has the same size.
    #[must_use]
    pub const fn page_size(self) -> u64 {
        1 << self.page_shift()
    }

    /// Returns the number of virtual address bits that one level resolves: 9, 11 or 13.
    #[must_use]
    const fn bits_per_level(self) -> u32 {
        self.page_shift() - 3
    }

    /// Returns the number of virtual address bits: 39 or 48.
    #[must_use]
    pub const fn address_bits(self) -> u32 {
        match self.va_bits {
            VaBits::V39 => 39,
            VaBits::V48 => 48,
        }
    }

    /// Returns the level at which a walk begins (Arm ARM D8.2.6 to D8.2.8: from TnSZ and the granule).
    #[must_use]
    pub const fn root_level(self) -> Level {
        match (self.granule, self.va_bits) {
            (Granule::K4 | Granule::K16, VaBits::V48) => Level::L0,
            (Granule::K4 | Granule::K16, VaBits::V39) | (Granule::K64, VaBits::V48) => Level::L1,
            (Granule::K64, VaBits::V39) => Level::L2,
        }
    }

    /// Returns log2 of the bytes that one descriptor of `level` covers.
    #[must_use]
    pub const fn shift(self, level: Level) -> u32 {
        self.page_shift() + self.bits_per_level() * (3 - level as u32)
    }

    /// Returns the number of bytes that one descriptor of `level` covers.
    #[must_use]
    pub const fn size(self, level: Level) -> u64 {
        1 << self.shift(level)
    }

    /// Returns the number of descriptors of a table of `level`; the root may have fewer than the others.
    #[must_use]
    pub const fn entries(self, level: Level) -> usize {
        let full = 1 << self.bits_per_level();
        if level as u32 != self.root_level() as u32 {
            return full;
        }
        let root = 1 << (self.address_bits() - self.shift(level));
        if root < full { root } else { full }
    }

    /// Returns the number of descriptors of a table below the root.
    #[must_use]
    pub const fn entries_per_table(self) -> usize {
        1 << self.bits_per_level()
    }

    /// Returns the index of `address` in a table of `level`.
    #[must_use]
    pub const fn index(self, address: VirtAddr, level: Level) -> usize {
        (address.0 >> self.shift(level)) as usize & (self.entries(level) - 1)
    }

    /// Returns true when a descriptor of `level` may map memory itself: a page at level 3, a block where the granule
    /// has them (Arm ARM D8.3.1: level 1 with 4 KiB only, level 2 with every granule, level 0 never).
    #[must_use]
    pub const fn leaf_allowed(self, level: Level) -> bool {
        match level {
            Level::L0 => false,
            Level::L1 => matches!(self.granule, Granule::K4),
            Level::L2 | Level::L3 => true,
        }
    }

    /// Returns the number of adjacent leaves of `level` that the Contiguous bit joins (Arm ARM D8.7.1); none at level 1, where this
    /// crate does not use it: one entry fewer of 16 GiB saves nothing worth the alignment.
    #[must_use]
    pub const fn contiguous(self, level: Level) -> Option<usize> {
        match (self.granule, level) {
            (Granule::K4, Level::L2 | Level::L3) => Some(16),
            (Granule::K16, Level::L2) => Some(32),
            (Granule::K16, Level::L3) => Some(128),
            (Granule::K64, Level::L2 | Level::L3) => Some(32),
            (_, Level::L0 | Level::L1) => None,
        }
    }

    /// Returns the number of tables that it takes to split one leaf of `level` into pages: 513, 1 or 0 with the 4 KiB granule.
    #[must_use]
    pub const fn tables_to_split(self, level: Level) -> u64 {
        match level {
            // No leaf lives at level 0; counted as nothing.
            Level::L0 | Level::L3 => 0,
            Level::L1 => 1 + self.entries_per_table() as u64,
            Level::L2 => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(granule: Granule, va_bits: VaBits) -> Geometry {
        Geometry { granule, va_bits }
    }

    #[test]
    fn sizes_are_those_of_the_arm_arm() {
        let k4 = Geometry::K4_V48;
        assert_eq!(k4.size(Level::L0), 512 << 30);
        assert_eq!(k4.size(Level::L1), 1 << 30);
        assert_eq!(k4.size(Level::L2), 2 << 20);
        assert_eq!(k4.size(Level::L3), 4 << 10);
        assert_eq!(geometry(Granule::K16, VaBits::V48).size(Level::L2), 32 << 20);
        assert_eq!(geometry(Granule::K64, VaBits::V48).size(Level::L2), 512 << 20);
    }

    /// From the Arm ARM (DDI 0487, D8.7.1, the table of the Contiguous bit): how many entries, and how much memory they map
    /// together. Painter, tests and abstract machine all read `contiguous`, so that a wrong number agrees with itself
    /// everywhere but here.
    #[test]
    fn contiguous_groups_are_those_of_the_arm_arm() {
        for (granule, level, group) in [
            (Granule::K4, Level::L2, Some((16, 32 << 20))),
            (Granule::K4, Level::L3, Some((16, 64 << 10))),
            (Granule::K16, Level::L2, Some((32, 1 << 30))),
            (Granule::K16, Level::L3, Some((128, 2 << 20))),
            (Granule::K64, Level::L2, Some((32, 16 << 30))),
            (Granule::K64, Level::L3, Some((32, 2 << 20))),
            (Granule::K4, Level::L0, None),
            (Granule::K4, Level::L1, None),
            (Granule::K16, Level::L0, None),
            (Granule::K16, Level::L1, None),
            (Granule::K64, Level::L0, None),
            (Granule::K64, Level::L1, None),
        ] {
            for va_bits in [VaBits::V39, VaBits::V48] {
                let shape = geometry(granule, va_bits);
                let found = shape.contiguous(level).map(|entries| (entries, entries as u64 * shape.size(level)));
                assert_eq!(found, group, "{shape:?}, {level:?}");
            }
        }
    }

    #[test]
    fn roots_have_the_entries_that_the_address_size_leaves() {
        for (granule, va_bits, level, entries) in [
            (Granule::K4, VaBits::V48, Level::L0, 512),
            (Granule::K4, VaBits::V39, Level::L1, 512),
            (Granule::K16, VaBits::V48, Level::L0, 2),
            (Granule::K16, VaBits::V39, Level::L1, 8),
            (Granule::K64, VaBits::V48, Level::L1, 64),
            (Granule::K64, VaBits::V39, Level::L2, 1024),
        ] {
            let shape = geometry(granule, va_bits);
            assert_eq!((shape.root_level(), shape.entries(shape.root_level())), (level, entries), "{shape:?}");
            let resolved: u32 =
                Level::ALL[level.number()..].iter().map(|&level| shape.entries(level).trailing_zeros()).sum();
            assert_eq!(resolved + shape.page_shift(), shape.address_bits(), "{shape:?}");
        }
    }

    #[test]
    fn the_topmost_address_has_the_last_index_at_every_level() {
        for granule in [Granule::K4, Granule::K16, Granule::K64] {
            for va_bits in [VaBits::V39, VaBits::V48] {
                let shape = geometry(granule, va_bits);
                for &level in &Level::ALL[shape.root_level().number()..] {
                    assert_eq!(shape.index(VirtAddr(u64::MAX), level), shape.entries(level) - 1);
                }
            }
        }
    }
}
