// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit's expectations of a page: pure comparisons, so that host tests can hold them against the Arm ARM.

use core::fmt;

use cleave::aarch64::translate::{Shareability, Translation};
use cleave::tables::PhysAddr;

/// The MMU's answer for the attributes of all of the kernel's RAM: MAIR_EL1's attribute 0, inner shareable.
///
/// PAR_EL1 need not return the descriptor's own attributes: an implementation may report those that it really uses (DDI
/// 0487, PAR_EL1, ATTR and SH). So it is asked once, for a page of the kernel's data; every page of the linear map must
/// answer alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ordinary {
    /// PAR_EL1.ATTR.
    pub(super) attributes: u8,
    /// PAR_EL1.SH.
    pub(super) shareability: Shareability,
}

impl Ordinary {
    /// Takes the attributes from the answer for a page that has them; `None` when that page is not mapped.
    pub(super) const fn of(answer: Translation) -> Option<Self> {
        match answer {
            Translation::Mapped { attributes, shareability, .. } => Some(Self { attributes, shareability }),
            Translation::Fault(_) => None,
        }
    }

    /// Returns true for Normal memory, write-back in both caches, shareable: what the architecture promises for the
    /// attributes asked for, regardless of how it treats the hints.
    pub(super) const fn is_promised(self) -> bool {
        is_write_back(self.attributes) && matches!(self.shareability, Shareability::Inner | Shareability::Outer)
    }

    /// Returns true when `answer` maps `at` itself, with these attributes.
    pub(super) fn maps(self, answer: Translation, at: PhysAddr) -> bool {
        answer.address() == Some(at) && Self::of(answer) == Some(self) && self.is_promised()
    }
}

/// Returns true when a byte in MAIR_EL1's encoding is Normal memory, write-back in inner and outer caches (DDI 0487,
/// MAIR_EL1, Attr<n>): in each half 0b11RW, non-transient, or 0b01RW with RW other than 0b00, transient. Whether a line is
/// allocated, R and W, is a hint.
pub(super) const fn is_write_back(attributes: u8) -> bool {
    const fn half(bits: u8) -> bool {
        bits >> 2 == 0b11 || bits >> 2 == 0b01 && bits & 0b11 != 0
    }
    half(attributes >> 4) && half(attributes & 0xf)
}

/// The permissions of EL1 on a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Access {
    /// Load from it.
    pub(super) read: bool,
    /// Store to it.
    pub(super) write: bool,
    /// Execute it.
    pub(super) execute: bool,
}

impl Access {
    /// Not mapped.
    pub(super) const NONE: Self = Self { read: false, write: false, execute: false };
    /// Code.
    pub(super) const CODE: Self = Self { read: true, write: false, execute: true };
    /// Constants.
    pub(super) const CONSTANTS: Self = Self { read: true, write: false, execute: false };
    /// Data and stacks.
    pub(super) const DATA: Self = Self { read: true, write: true, execute: false };
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |may, letter| if may { letter } else { "-" };
        write!(f, "{}{}{}", letter(self.read, "r"), letter(self.write, "w"), letter(self.execute, "x"))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::string::ToString;

    const AT: PhysAddr = PhysAddr(0x4020_1000);

    fn answer(attributes: u8, shareability: Shareability) -> Translation {
        Translation::Mapped { address: AT, attributes, shareability }
    }

    /// The encodings of MAIR_EL1.Attr<n> (DDI 0487): the device types, non-cacheable, write-through and tagged ones are
    /// none. A check of one exact byte fails on a core that drops the allocation hints; one that asks for the address alone
    /// takes device memory for RAM.
    #[test]
    fn write_back_is_told_from_every_other_memory_type() {
        for attributes in [0xff, 0xee, 0xdd, 0xcc, 0xfe, 0xef, 0x77, 0x55, 0x66, 0x7f, 0xf7] {
            assert!(is_write_back(attributes), "{attributes:#04x}");
        }
        let device = [0x00, 0x04, 0x08, 0x0c, 0x01];
        let others = [0x44, 0x40, 0xf0, 0x4f, 0xf4, 0xbb, 0xaa, 0x88, 0x33, 0x11, 0x22, 0xfb, 0xbf, 0x3f, 0xf3];
        for attributes in device.into_iter().chain(others) {
            assert!(!is_write_back(attributes), "{attributes:#04x}");
        }
    }

    /// An answer of the MMU that is good for memory: the hints dropped, outer shareable.
    #[test]
    fn a_page_may_answer_as_the_kernels_own_data_does() {
        for attributes in [0xff, 0xee, 0xdd, 0xcc, 0x77] {
            for shareability in [Shareability::Inner, Shareability::Outer] {
                let same = answer(attributes, shareability);
                assert!(Ordinary::of(same).unwrap().maps(same, AT), "{same:?}");
            }
        }
    }

    #[test]
    fn a_page_that_answers_otherwise_is_wrong() {
        let ordinary = Ordinary::of(answer(0xff, Shareability::Inner)).unwrap();
        for (wrong, at) in [
            (answer(0xff, Shareability::Inner), AT.offset(0x1000)),
            (answer(0xee, Shareability::Inner), AT),
            (answer(0x44, Shareability::Inner), AT),
            (answer(0x04, Shareability::Outer), AT),
            (answer(0xff, Shareability::Outer), AT),
            (answer(0xff, Shareability::None), AT),
            (Translation::from_par(0b111 << 1 | 1), AT),
        ] {
            assert!(!ordinary.maps(wrong, at), "{wrong:?} at {at}");
        }
        // A kernel whose own data is not what was asked for has no right page.
        for (attributes, shareability) in
            [(0x44, Shareability::Outer), (0xff, Shareability::None), (0xff, Shareability::Reserved)]
        {
            let same = answer(attributes, shareability);
            assert!(!Ordinary::of(same).unwrap().maps(same, AT), "{same:?}");
        }
        assert_eq!(Ordinary::of(Translation::from_par(1)), None);
    }

    #[test]
    fn access_is_written_as_a_map_has_it() {
        let texts = [Access::NONE, Access::CODE, Access::CONSTANTS, Access::DATA].map(|access| access.to_string());
        assert_eq!(texts, ["---", "r-x", "r--", "rw-"]);
    }
}
