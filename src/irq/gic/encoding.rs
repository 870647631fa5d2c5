// SPDX-License-Identifier: MIT OR Apache-2.0
//! Encodings of the GIC's registers: affinities, SGI registers, acknowledged values. Portable.

use crate::devicetree::Affinity;

/// A software-generated interrupt: a number from 0 to 15.
///
/// Firmware tends to keep 8 to 15 for the secure world; the kernel's are below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sgi(u8);

impl Sgi {
    /// Returns the SGI `number`.
    ///
    /// # Panics
    /// From 16 up: at compile time, in a constant.
    pub(crate) const fn new(number: u8) -> Self {
        assert!(number < 16, "there are 16 SGIs");
        Self(number)
    }

    /// Returns the number of the SGI.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

/// Returns the number in a value read from GICC_IAR (GICv2) or ICC_IAR1_EL1 (GICv3), where there is an interrupt.
const fn interrupt(number: u32) -> Option<u32> {
    // 1020 to 1023 are not interrupts: none pending, or one of another group or security state.
    if matches!(number, 1020..=1023) { None } else { Some(number) }
}

/// GICv2.
pub(crate) mod v2 {
    use super::Sgi;

    /// Returns the value of GICD_SGIR (IHI 0048B, 4.3.15) with TargetListFilter 0b01, to all but the sender. The CPU
    /// target list is ignored. NSATT, bit 15, is the secure state's and stays 0 here and below.
    pub(crate) const fn others(sgi: Sgi) -> u32 {
        0b01 << 24 | sgi.number() as u32
    }

    /// Returns the value of GICD_SGIR with TargetListFilter 0b10, to the sender alone.
    pub(crate) const fn myself(sgi: Sgi) -> u32 {
        0b10 << 24 | sgi.number() as u32
    }

    /// Returns the interrupt's number in `raw`, read from GICC_IAR. Bits 12:10 name the CPU that sent an SGI and are
    /// not part of it (4.4.4).
    pub(crate) const fn acknowledged(raw: u32) -> Option<u32> {
        super::interrupt(raw & 0x3ff)
    }

    /// Returns the bit of the CPU that read `word` from its banked GICD_ITARGETSR0 to 7: each byte that is implemented
    /// holds it (4.3.12).
    pub(crate) const fn own_target(word: u32) -> Option<u8> {
        let [a, b, c, d] = word.to_le_bytes();
        match a | b | c | d {
            0 => None,
            bits => Some(bits),
        }
    }
}

/// GICv3.
pub(crate) mod v3 {
    use core::fmt;

    use cleave::tables::{PhysAddr, PhysRange};

    use super::{Affinity, Sgi};

    const INTID_SHIFT: u32 = 24;

    /// Returns the value of ICC_SGI1R_EL1 (IHI 0069H) with IRM, to all but the sender.
    pub(crate) const fn others(sgi: Sgi) -> u64 {
        1 << 40 | (sgi.number() as u64) << INTID_SHIFT
    }

    /// Returns the value of ICC_SGI1R_EL1 for the CPU `to`. The target list has 16 bits for Aff0; above that RS, bits
    /// 47:44, says which 16 are meant, which only a GIC with a CPU there implements.
    pub(crate) const fn one(to: Affinity, sgi: Sgi) -> u64 {
        let [aff0, aff1, aff2, aff3] = to.packed().to_le_bytes();
        (aff3 as u64) << 48
            | (aff0 as u64 / 16) << 44
            | (aff2 as u64) << 32
            | (sgi.number() as u64) << INTID_SHIFT
            | (aff1 as u64) << 16
            | 1 << (aff0 % 16)
    }

    /// Returns the interrupt's number in `raw`, read from ICC_IAR1_EL1.
    pub(crate) const fn acknowledged(raw: u32) -> Option<u32> {
        super::interrupt(raw & 0xff_ffff)
    }

    /// Returns how many words of one bit each the shared interrupts have, by GICD_TYPER (IHI 0069H): ITLinesNumber, bits 4:0.
    pub(crate) const fn shared_words(typer: u32) -> usize {
        (typer & 0x1f) as usize
    }

    /// Returns the number of words of the extended range: ESPI, bit 8, and ESPI_range, bits 31:27, one less.
    pub(crate) const fn extended_words(typer: u32) -> usize {
        if typer & 1 << 8 == 0 { 0 } else { (typer >> 27) as usize + 1 }
    }

    /// Returns the number of words of a CPU's own interrupts, by the low half of its GICR_TYPER: PPInum, bits 31:27, of
    /// which 0 to 2 exist.
    pub(crate) const fn private_words(typer: u32) -> usize {
        let extended = typer >> 27;
        if extended > 2 { 1 } else { 1 + extended as usize }
    }

    /// The memory that a redistributor uses for LPIs.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct LpiTables {
        /// The table of GICR_PROPBASER: a byte for each LPI, shared by all redistributors.
        pub(crate) properties: PhysRange,
        /// The table of GICR_PENDBASER: a bit for each interrupt, of which those of LPIs are used. The GIC writes there.
        pub(crate) pending: PhysRange,
    }

    impl LpiTables {
        /// Reads GICR_PROPBASER and GICR_PENDBASER (IHI 0069H): addresses in bits 51:12 and 51:16; IDbits, bits 4:0 of the
        /// former, one less than the bits of an interrupt's number. LPIs begin at 8192.
        pub(crate) const fn new(properties: u64, pending: u64) -> Self {
            const ADDRESS: u64 = (1 << 52) - 1;
            let numbers = 1_u64 << ((properties & 0x1f) + 1);
            let at = PhysAddr(properties & ADDRESS & !0xfff);
            let bits = PhysAddr(pending & ADDRESS & !0xffff);
            Self {
                properties: PhysRange::new(at, PhysAddr(at.0 + numbers.saturating_sub(8192))),
                pending: PhysRange::new(bits, PhysAddr(bits.0 + numbers / 8)),
            }
        }
    }

    impl fmt::Display for LpiTables {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self { properties, pending } = self;
            write!(
                f,
                "it reads {:#x} to {:#x} (GICR_PROPBASER) and writes {:#x} to {:#x} (GICR_PENDBASER)",
                properties.start.0, properties.end.0, pending.start.0, pending.end.0
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SGI_1: Sgi = Sgi::new(1);

    #[test]
    fn a_broadcast_never_reaches_the_sender() {
        assert_eq!(v2::others(SGI_1), 0x0100_0001);
        assert_eq!(v3::others(SGI_1), 0x100_0100_0000);
    }

    #[test]
    fn a_targeted_sgi_names_one_cpu() {
        assert_eq!(v2::myself(SGI_1), 0x0200_0001);
        assert_eq!(v3::one(Affinity::from_mpidr(0x8000_0003), SGI_1), 0x0100_0008);
        assert_eq!(v3::one(Affinity::from_mpidr(0x0000_0105), SGI_1), 0x0101_0020);
        assert_eq!(v3::one(Affinity::from_mpidr(0x21), SGI_1), 2 << 44 | 1 << 24 | 1 << 1);
        assert_eq!(v3::one(Affinity::from_mpidr(0x02_0003_0400), Sgi::new(7)), 0x0002_0003_0704_0001);
    }

    #[test]
    fn the_senders_number_is_no_part_of_the_interrupts() {
        assert_eq!(v2::acknowledged(0b011 << 10 | 1), Some(1));
        assert_eq!(v2::acknowledged(27), Some(27));
        assert_eq!(v3::acknowledged(8192), Some(8192));
    }

    #[test]
    fn the_special_numbers_are_no_interrupts() {
        for raw in 1020..=1023 {
            assert_eq!(v2::acknowledged(raw), None);
            assert_eq!(v3::acknowledged(raw), None);
        }
        assert_eq!(v2::acknowledged(1019), Some(1019));
    }

    #[test]
    fn the_numbers_of_registers_are_those_of_the_type_registers() {
        // QEMU's virt: 288 shared interrupts. The most there can be, and the extended range whole.
        assert_eq!((v3::shared_words(0x037a_0008), v3::extended_words(0x037a_0008)), (8, 0));
        assert_eq!((v3::shared_words(0xf800_011f), v3::extended_words(0xf800_011f)), (31, 32));
        assert_eq!(v3::extended_words(0x0000_0100), 1);
        assert_eq!([0, 1, 2, 3].map(|extended| v3::private_words(extended << 27 | 0x3)), [1, 2, 3, 1]);
    }

    #[test]
    fn the_tables_of_lpis_have_the_sizes_of_their_numbers() {
        use cleave::tables::PhysAddr;
        // IDbits 15: numbers of 16 bits, 8 KiB of them no LPIs. Cacheability, shareability and PTZ are no address.
        let tables = v3::LpiTables::new(0x4321_2000 | 7 << 7 | 15, 0x4_8765_0000 | 1 << 62 | 7 << 7);
        assert_eq!((tables.properties.start, tables.properties.bytes()), (PhysAddr(0x4321_2000), 0xe000));
        assert_eq!((tables.pending.start, tables.pending.bytes()), (PhysAddr(0x4_8765_0000), 0x2000));
        let none = v3::LpiTables::new(0, 0);
        assert_eq!(none.properties.bytes(), 0);
    }

    #[test]
    fn the_own_target_is_found_in_any_byte() {
        assert_eq!(v2::own_target(0x0404_0404), Some(0b100));
        assert_eq!(v2::own_target(0x0080_0000), Some(0x80));
        assert_eq!(v2::own_target(0), None);
    }
}
