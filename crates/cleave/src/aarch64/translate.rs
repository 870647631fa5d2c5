// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address translation instructions, AT S1E1R and AT S1E1W, and their result in PAR_EL1 (DDI 0487, C5.4 and PAR_EL1).

use core::fmt;

use super::syndrome::Status;
use crate::tables::PhysAddr;

/// The answer of the MMU about an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Translation {
    /// The access would go through.
    Mapped {
        /// The physical address: the page from [`Translation::from_par`], the byte from `read` and `write`.
        address: PhysAddr,
        /// The memory attributes, as a byte of MAIR_EL1. The MMU may report what it makes of them.
        attributes: u8,
        /// The shareability; outer for any device or non-cacheable memory.
        shareability: Shareability,
    },
    /// It would fault.
    Fault(Status),
}

/// PAR_EL1.SH.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shareability {
    /// 0b00.
    None,
    /// 0b10.
    Outer,
    /// 0b11.
    Inner,
    /// 0b01, which no translation has.
    Reserved,
}

impl Translation {
    /// Decodes the 64-bit format of PAR_EL1.
    #[must_use]
    pub const fn from_par(par: u64) -> Self {
        if par & 1 != 0 {
            return Self::Fault(Status::from_code((par >> 1 & 0x3f) as u8));
        }
        Self::Mapped {
            // PA[47:12], and PA[51:48] above it.
            address: PhysAddr(par & 0xf_ffff_ffff_f000),
            attributes: (par >> 56) as u8,
            shareability: match par >> 7 & 0b11 {
                0b00 => Shareability::None,
                0b10 => Shareability::Outer,
                0b11 => Shareability::Inner,
                _ => Shareability::Reserved,
            },
        }
    }

    /// Returns the physical address, or `None` when the virtual address is not mapped.
    #[must_use]
    pub const fn address(self) -> Option<PhysAddr> {
        match self {
            Self::Mapped { address, .. } => Some(address),
            Self::Fault(_) => None,
        }
    }
}

impl fmt::Display for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped { address, attributes, .. } => write!(f, "{address}, attributes {attributes:#04x}"),
            Self::Fault(status) => status.fmt(f),
        }
    }
}

#[cfg(any(target_arch = "aarch64", doc))]
mod instructions {
    #![allow(unsafe_code, reason = "address translation is inline assembly")]

    use super::{PhysAddr, Translation};
    use crate::aarch64::interrupts;
    use crate::tables::VirtAddr;
    use core::arch::asm;

    macro_rules! translate {
        ($name:ident, $instruction:literal) => {
            fn $name(address: VirtAddr) -> u64 {
                // PAR_EL1 is one for all: an interrupt handler's own AT in between would overwrite it.
                let _masked = interrupts::mask();
                let par;
                // SAFETY: AT changes PAR_EL1 only; faults of the walk end there too, but for a TLB conflict or an external
                // abort, which may be taken as any load would take it. The ISB makes the result readable.
                // Cortex-A77 erratum 1508412: a core up to r1p0 can deadlock when a read of PAR_EL1 meets loads from Device
                // or Non-cacheable memory. The first DMB SY keeps earlier loads in front of the read, the second keeps
                // later ones behind it. Done on every core: the cost does not matter here.
                // Not `nomem`: it walks the tables, so descriptor stores stay on their side.
                unsafe {
                    asm!($instruction, "isb", "dmb sy", "mrs {par}, par_el1", "dmb sy",
                        address = in(reg) address.0, par = out(reg) par, options(nostack, preserves_flags));
                }
                par
            }
        };
    }

    translate!(at_s1e1r, "at s1e1r, {address}");
    translate!(at_s1e1w, "at s1e1w, {address}");

    impl Translation {
        /// Adds the offset in the page, which comes from `address`.
        fn of(par: u64, address: VirtAddr) -> Self {
            match Self::from_par(par) {
                Self::Mapped { address: page, attributes, shareability } => {
                    Self::Mapped { address: PhysAddr(page.0 | address.0 & 0xfff), attributes, shareability }
                }
                fault @ Self::Fault(_) => fault,
            }
        }
    }

    /// Returns the translation that a load from `address` at EL1 would meet. May itself use, and fill, the TLB.
    #[must_use]
    pub fn read(address: VirtAddr) -> Translation {
        Translation::of(at_s1e1r(address), address)
    }

    /// Returns the translation that a store to `address` at EL1 would meet.
    #[must_use]
    pub fn write(address: VirtAddr) -> Translation {
        Translation::of(at_s1e1w(address), address)
    }
}

#[cfg(any(target_arch = "aarch64", doc))]
pub use instructions::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_translation_gives_address_attributes_and_shareability() {
        let par = 0xff << 56 | 0x4020_0000 | 1 << 11 | 0b11 << 7;
        let expected =
            Translation::Mapped { address: PhysAddr(0x4020_0000), attributes: 0xff, shareability: Shareability::Inner };
        assert_eq!(Translation::from_par(par), expected);
        assert_eq!(Translation::from_par(par).address(), Some(PhysAddr(0x4020_0000)));
    }

    #[test]
    fn a_failed_translation_gives_the_fault_status() {
        let fault = |code: u64| Translation::from_par(1 << 11 | code << 1 | 1);
        assert_eq!(fault(0b00_0111), Translation::Fault(Status::Translation(3)));
        assert_eq!(fault(0b00_1111), Translation::Fault(Status::Permission(3)));
        assert_eq!(fault(0b11_0000), Translation::Fault(Status::TlbConflict));
        assert_eq!(fault(0b00_0100).address(), None);
    }
}
