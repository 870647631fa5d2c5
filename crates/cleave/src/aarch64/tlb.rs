// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLB maintenance (DDI 0487, C5.5 and D8, "TLB maintenance").
//!
//! None of these orders anything by itself: a DSB before (the stores it must cover) and a DSB after (its completion)
//! are the caller's, and said there.

use crate::tables::{Granule, TlbiRange, VirtAddr};

/// Returns the operand of a TLBI by address (DDI 0487, C5.5, TLBI VAE1IS and its like): VA\[55:12\] in bits 43:0 for
/// any granule, TTL (bits 47:44) zero, which names no level, ASID in bits 63:48.
///
/// The upper bits of a TTBR1 address do not spill into TTL, where they would name a level the entry is not on.
///
/// ```
/// use cleave::{aarch64::tlb, tables::VirtAddr};
/// assert_eq!(tlb::operand(VirtAddr(0xffff_8000_8000_1000), 0), 0x0ff8_0008_0001);
/// ```
#[must_use]
pub const fn operand(address: VirtAddr, asid: u16) -> u64 {
    const PAGE_BITS: u64 = (1 << 44) - 1;
    (address.0 >> 12) & PAGE_BITS | (asid as u64) << 48
}

/// Returns the operand of a TLBI by range (DDI 0487, C5.5, TLBI RVAE1IS and its like): the number of the first page in bits 36:0,
/// TTL (bits 38:37) zero, NUM in bits 43:39, SCALE in bits 45:44, TG in bits 47:46, ASID in bits 63:48.
#[must_use]
pub const fn range_operand(range: TlbiRange, asid: u16) -> u64 {
    const PAGE_BITS: u64 = (1 << 37) - 1;
    let (shift, granule) = match range.granule {
        Granule::K4 => (12, 1),
        Granule::K16 => (14, 2),
        Granule::K64 => (16, 3),
    };
    let (number, scale) = ((range.number as u64) << 39, (range.scale as u64) << 44);
    (range.start.0 >> shift) & PAGE_BITS | number | scale | granule << 46 | (asid as u64) << 48
}

#[cfg(any(target_arch = "aarch64", doc))]
mod instructions {
    #![allow(unsafe_code, reason = "TLB maintenance is inline assembly")]

    use super::{TlbiRange, VirtAddr, operand, range_operand};
    use core::arch::asm;

    macro_rules! all {
        ($($(#[$doc:meta])* $name:ident: $instruction:literal;)*) => {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $name() {
                    // SAFETY: removing cached translations never changes what an address means; without `nomem` no
                    // access moves across it.
                    unsafe { asm!($instruction, options(nostack, preserves_flags)) }
                }
            )*
        };
    }

    macro_rules! by_address {
        ($($(#[$doc:meta])* $name:ident: $instruction:literal;)*) => {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $name(address: VirtAddr) {
                    // SAFETY: as for the whole-TLB forms; any operand is allowed.
                    unsafe {
                        asm!($instruction, in(reg) operand(address, 0), options(nostack, preserves_flags));
                    }
                }
            )*
        };
    }

    all! {
        /// TLBI VMALLE1IS: every stage 1 EL1&0 entry of this VMID, on all CPUs of the inner shareable domain.
        vmalle1is: "tlbi vmalle1is";
        /// TLBI VMALLE1: the same, on this CPU.
        vmalle1: "tlbi vmalle1";
    }

    macro_rules! by_range {
        ($($(#[$doc:meta])* $name:ident: $instruction:literal;)*) => {
            $(
                $(#[$doc])*
                #[inline(always)]
                pub fn $name(range: TlbiRange) {
                    // SAFETY: as for the whole-TLB forms. It is undefined without FEAT_TLBIRANGE, and then an exception, never
                    // another instruction.
                    unsafe {
                        asm!($instruction, in(reg) range_operand(range, 0), options(nostack, preserves_flags));
                    }
                }
            )*
        };
    }

    by_address! {
        /// TLBI VALE1IS: the leaf entry for `address` only, ASID 0 or global, on all CPUs.
        vale1is: "tlbi vale1is, {}";
        /// TLBI VAAE1IS: every entry on the way to `address`, of any ASID, on all CPUs.
        vaae1is: "tlbi vaae1is, {}";
        /// TLBI VAALE1IS: the leaf entry for `address` only, of any ASID, on all CPUs.
        vaale1is: "tlbi vaale1is, {}";
    }

    // By their encodings: the assembler knows the names only where the target has the feature.
    by_range! {
        /// TLBI RVAAE1IS: every entry on the way to any address of the range, of any ASID, on all CPUs (FEAT_TLBIRANGE).
        rvaae1is: "sys #0, c8, c2, #3, {}";
        /// TLBI RVAALE1IS: the leaf entries for the addresses of the range only, of any ASID, on all CPUs (FEAT_TLBIRANGE).
        rvaale1is: "sys #0, c8, c2, #7, {}";
    }
}

#[cfg(any(target_arch = "aarch64", doc))]
pub use instructions::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_bits_of_a_ttbr1_address_stay_out_of_ttl_and_asid() {
        assert_eq!(operand(VirtAddr(0xffff_0000_0000_0000), 0), 0xff0_0000_0000);
        assert_eq!(operand(VirtAddr(0xffff_ffff_ffff_ffff), 0), 0xfff_ffff_ffff);
        assert_eq!(operand(VirtAddr(0xffff_8000_8000_1fff), 0) >> 44, 0);
    }

    /// Fails when a field spills into its neighbour.
    #[test]
    fn a_range_operand_has_each_field_in_its_place() {
        let range = |start, granule, number, scale| TlbiRange { start: VirtAddr(start), granule, number, scale };
        assert_eq!(range_operand(range(0xffff_0000_4000_1000, Granule::K4, 0, 0), 0), 1 << 46 | 0x10_0004_0001);
        assert_eq!(range_operand(range(0x4000, Granule::K16, 31, 0), 0), 2 << 46 | 0x1f << 39 | 1);
        assert_eq!(
            range_operand(range(0x2_0000, Granule::K64, 1, 3), 0xabc),
            0xabc << 48 | 3 << 46 | 3 << 44 | 1 << 39 | 2
        );
        assert_eq!(range_operand(range(!0xfff, Granule::K4, 0, 0), 0) >> 37, 1 << 9);
    }

    #[test]
    fn the_page_number_is_in_units_of_4_kib_and_the_asid_on_top() {
        assert_eq!(operand(VirtAddr(0x1_0000), 0), 0x10);
        assert_eq!(operand(VirtAddr(0x1000), 0xabcd), 0xabcd_0000_0000_0001);
    }
}
