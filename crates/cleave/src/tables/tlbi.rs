// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operands of TLB invalidations by address.

use super::address::VirtAddr;
use super::geometry::Granule;

/// The levels whose cached entries an invalidation by address removes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlbiLevels {
    /// Entries of every level of the walk, those of tables included.
    All,
    /// Entries of the last level, which is enough where no table was linked or unlinked.
    Last,
}

/// A run of pages that one TLBI by range names (FEAT_TLBIRANGE): (`number` + 1) << (5 * `scale` + 1) pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TlbiRange {
    /// The first address, aligned to a page.
    pub start: VirtAddr,
    /// The size of a page.
    pub granule: Granule,
    /// NUM, from 0 to 31.
    pub number: u8,
    /// SCALE, from 0 to 3.
    pub scale: u8,
}

impl TlbiRange {
    /// Returns a run at the beginning of `pages` pages from `start` on, the smallest for which the others are a multiple of what
    /// one run may be: `None` for an odd number, whose first page takes a TLBI by address, and for 2^21 pages and more.
    #[must_use]
    pub const fn first_of(start: VirtAddr, pages: u64, granule: Granule) -> Option<Self> {
        if pages == 0 || pages % 2 == 1 || pages >> 21 != 0 {
            return None;
        }
        // A digit of 5 bits for each scale, above the bit of the odd page.
        let scale = (pages.trailing_zeros() - 1) / 5;
        let digit = pages >> (5 * scale + 1) & 0x1f;
        Some(Self { start, granule, number: digit as u8 - 1, scale: scale as u8 })
    }

    /// Returns the number of its pages.
    #[must_use]
    pub const fn pages(self) -> u64 {
        (self.number as u64 + 1) << (5 * self.scale + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when a run reaches too far, or ends too early.
    #[test]
    fn runs_add_up_to_the_pages_they_are_to_name() {
        for pages in (2..5000).chain([0x1f_ffff, 0x1f_fffe, 0x10_0000, 0x8000]) {
            let (mut at, mut left, mut runs) = (VirtAddr(0xffff_0000_4000_0000), pages, 0);
            while left != 0 {
                let some = TlbiRange::first_of(at, left, Granule::K4).map_or(1, |run| {
                    assert!(run.start == at && run.number < 32 && run.scale < 4, "{run:?}");
                    run.pages()
                });
                (at, left, runs) = (at.offset(some << 12), left - some, runs + 1);
            }
            assert!(runs <= 5, "{runs} for {pages} pages");
        }
        assert_eq!(TlbiRange::first_of(VirtAddr(0), 1 << 21, Granule::K4), None);
        assert_eq!(TlbiRange::first_of(VirtAddr(0), 0, Granule::K4), None);
    }
}
