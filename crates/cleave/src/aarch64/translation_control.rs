// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of MAIR_EL1 and TCR_EL1 that fit the tables of this library.
//!
//! A leaf names its memory type by an index into MAIR_EL1, and a walk begins at the level that TCR_EL1 implies. Both are
//! silent when they are wrong: a leaf of another attribute, a walk of another tree.

use crate::tables::{Geometry, Granule, MemoryType};

/// MAIR_EL1 (DDI 0487, MAIR_EL1): each [`MemoryType`] at the index that leaves name it by.
pub const MAIR_EL1: u64 = attribute(MemoryType::Normal, 0xff)
    | attribute(MemoryType::Device, 0x04)
    | attribute(MemoryType::NonCacheable, 0x44);

/// Returns the byte of MAIR_EL1 at the index of a memory type: 0xff is Normal, inner and outer write-back
/// non-transient, read- and write-allocate; 0x04 is Device-nGnRE; 0x44 is Normal, inner and outer non-cacheable.
const fn attribute(memory: MemoryType, byte: u64) -> u64 {
    byte << (8 * memory as u64)
}

/// Returns TCR_EL1 with both halves of the address space in `geometry` (DDI 0487, TCR_EL1), for a CPU whose
/// ID_AA64MMFR0_EL1.PARange is `parange`.
///
/// Walks are Normal write-back read- and write-allocate (IRGN, ORGN 0b01) and inner shareable (SH 0b11), as the views of table
/// memory are. IPS is the smaller of PARange and 48 bits: more takes descriptors of another format (FEAT_LPA). Zero on purpose:
/// EPD0 and EPD1 (both halves are walked), A1 and AS (8-bit ASIDs, TTBR0's), TBI0 and TBI1, HA and HD (no descriptor is changed
/// by hardware: the library copies descriptors), HPD0 and HPD1, DS. A kernel that wants another of these adds the bit.
#[must_use]
pub const fn tcr_el1(geometry: Geometry, parange: u64) -> u64 {
    let size = 64 - geometry.address_bits() as u64;
    // TG0 and TG1 encode the granule differently.
    let (granule0, granule1) = match geometry.granule {
        Granule::K4 => (0b00, 0b10),
        Granule::K16 => (0b10, 0b01),
        Granule::K64 => (0b01, 0b11),
    };
    let walks = 0b01 | 0b01 << 2 | 0b11 << 4;
    let parange = parange & 0xf;
    let ips = if parange < BITS_48 { parange } else { BITS_48 };
    size | walks << 8 | granule0 << 14 | size << 16 | walks << 24 | granule1 << 30 | ips << 32
}

/// PARange and IPS of 48 bits.
const BITS_48: u64 = 0b101;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::VaBits;

    /// Fails when an attribute moves to another index than the leaves' or changes: the byte is taken by the index.
    #[test]
    fn each_memory_type_finds_its_attribute_in_mair() {
        assert_eq!(MAIR_EL1, 0x44_04ff);
        for (memory, byte) in [(MemoryType::Normal, 0xff), (MemoryType::Device, 0x04), (MemoryType::NonCacheable, 0x44)]
        {
            let leaf = crate::tables::Attributes { memory, ..crate::tables::Attributes::NORMAL };
            let leaf = leaf.leaf(crate::tables::PhysAddr(0), crate::tables::Level::L3);
            // AttrIndx, bits 4:2 of a leaf.
            assert_eq!(MAIR_EL1 >> (8 * (leaf.0 >> 2 & 7)) & 0xff, byte, "{memory:?}");
        }
    }

    /// Whole numbers, worked out by hand from the fields of DDI 0487. Fails when TG0 and TG1 share an encoding, when a size
    /// lands in the wrong half, or when IPS goes past 48 bits.
    #[test]
    fn the_control_register_follows_the_geometry_and_the_cpu() {
        let tcr = |granule, va_bits, parange| tcr_el1(Geometry { granule, va_bits }, parange);
        assert_eq!(tcr(Granule::K4, VaBits::V48, 0b0100), 0x4_b510_3510);
        assert_eq!(tcr(Granule::K4, VaBits::V39, 0b0000), 0x0_b519_3519);
        assert_eq!(tcr(Granule::K16, VaBits::V48, 0b0101), 0x5_7510_b510);
        assert_eq!(tcr(Granule::K64, VaBits::V48, 0b0110), 0x5_f510_7510);
        // Bits beside the field are not PARange.
        assert_eq!(tcr(Granule::K4, VaBits::V48, 0xff0), 0x0_b510_3510);
    }
}
