// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fields of the ID registers that concern translation tables.

use crate::tables::PhysAddr;

/// The raw ID registers the facts come from (DDI 0487, chapter "AArch64 System Register Descriptions").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdRegisters {
    /// ID_AA64ISAR0_EL1.
    pub isar0: u64,
    /// ID_AA64MMFR0_EL1.
    pub mmfr0: u64,
    /// ID_AA64MMFR1_EL1.
    pub mmfr1: u64,
    /// ID_AA64MMFR2_EL1.
    pub mmfr2: u64,
    /// ID_AA64PFR0_EL1.
    pub pfr0: u64,
}

/// The facts of one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Features {
    /// ID_AA64MMFR2_EL1.BBM: how a live block may change its size. 2 and up: without break-before-make. What a core
    /// counts as in the end is [`crate::aarch64::CpuFacts::level`].
    pub bbm: u8,
    /// FEAT_TLBIRANGE: TLB maintenance by range.
    pub range_tlbi: bool,
    /// Enhanced translation synchronisation: 2 for FEAT_ETS2, 3 for FEAT_ETS3, 0 below.
    pub ets: u8,
    /// Hardware management: 0 none, 1 access flag, 2 dirty state as well, 3 table access flag.
    pub hardware_update: u8,
    /// Bits of a physical address.
    pub physical_bits: u8,
    /// The 4 KiB granule is there.
    pub granule_4k: bool,
    /// The 16 KiB granule is there.
    pub granule_16k: bool,
    /// The 64 KiB granule is there.
    pub granule_64k: bool,
    /// The GIC's CPU interface has system registers.
    pub gic_system_registers: bool,
}

const fn field(register: u64, low_bit: u32) -> u8 {
    (register >> low_bit & 0xf) as u8
}

impl Features {
    /// Returns the first physical address that the CPU cannot translate to, with at most `at_most` bits of address.
    ///
    /// TCR_EL1.IPS is 48 bits at most: more takes other descriptors (FEAT_LPA).
    #[must_use]
    pub fn address_end(&self, at_most: Option<u8>) -> PhysAddr {
        let bits = self.physical_bits.min(48);
        PhysAddr(1 << at_most.map_or(bits, |most| bits.min(most)))
    }
}

impl From<IdRegisters> for Features {
    fn from(id: IdRegisters) -> Self {
        Self {
            bbm: field(id.mmfr2, 52),
            range_tlbi: field(id.isar0, 56) >= 2,
            // 1 was FEAT_ETS, since withdrawn: it promises nothing more than 0.
            ets: match field(id.mmfr1, 36) {
                0 | 1 => 0,
                level => level,
            },
            hardware_update: field(id.mmfr1, 0),
            physical_bits: match field(id.mmfr0, 0) {
                0 => 32,
                1 => 36,
                2 => 40,
                3 => 42,
                4 => 44,
                5 => 48,
                6 => 52,
                // Later values can only mean more.
                _ => 56,
            },
            // Signed fields: negative means absent. TGran16 is unsigned: zero does.
            granule_4k: field(id.mmfr0, 28) < 8,
            granule_16k: field(id.mmfr0, 20) != 0,
            granule_64k: field(id.mmfr0, 24) < 8,
            gic_system_registers: field(id.pfr0, 24) != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cortex_a72_has_44_bits_4k_and_64k_granules_and_no_bbm() {
        // The values of the Cortex-A72 TRM, 4.2.1, with the GIC CPU interface disabled.
        let facts = Features::from(IdRegisters { mmfr0: 0x1124, isar0: 0x11120, pfr0: 0x2222, ..Default::default() });
        assert_eq!((facts.physical_bits, facts.bbm, facts.ets), (44, 0, 0));
        assert_eq!((facts.granule_4k, facts.granule_16k, facts.granule_64k), (true, false, true));
        assert_eq!((facts.range_tlbi, facts.gic_system_registers, facts.hardware_update), (false, false, 0));
    }

    #[test]
    fn later_levels_count_as_at_least_the_earlier() {
        let facts = Features::from(IdRegisters {
            isar0: 3 << 56,
            mmfr1: 3 << 36 | 2,
            mmfr2: 3 << 52,
            mmfr0: 0xf02f_0007 | 0x10_0000,
            pfr0: 3 << 24,
        });
        assert_eq!((facts.bbm, facts.ets, facts.hardware_update, facts.physical_bits), (3, 3, 2, 56));
        assert!(facts.range_tlbi && facts.gic_system_registers && facts.granule_16k && !facts.granule_4k);
    }

    /// A limit that raises the end fails this, and 52 bits that are taken at their word.
    #[test]
    fn addresses_end_where_the_cpu_or_the_descriptors_do() {
        for (range, bits) in [(0, 32), (1, 36), (2, 40), (3, 42), (4, 44), (5, 48), (6, 48), (7, 48)] {
            let facts = Features::from(IdRegisters { mmfr0: range, ..Default::default() });
            assert_eq!(facts.address_end(None), PhysAddr(1 << bits));
            assert_eq!(facts.address_end(Some(30)), PhysAddr(1 << 30));
            assert_eq!(facts.address_end(Some(52)), PhysAddr(1 << bits));
        }
    }

    #[test]
    fn the_withdrawn_ets_promises_nothing() {
        assert_eq!(Features::from(IdRegisters { mmfr1: 1 << 36, ..Default::default() }).ets, 0);
    }
}
