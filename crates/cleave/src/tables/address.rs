// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses and ranges, as types that cannot be mixed up.
//!
//! Only the arithmetic that makes sense is there: a physical address never becomes a virtual one by a cast,
//! but through a view of memory that knows where it is mapped ([`crate::tables::TableMemory`]).

use core::fmt;

/// A physical address, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct PhysAddr(pub u64);

/// A virtual address, in bytes. TTBR1 addresses have their upper bits set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(pub u64);

macro_rules! address {
    ($name:ident) => {
        impl $name {
            /// Returns the address `bytes` above this one.
            ///
            /// # Panics
            /// On overflow of 64 bits (debug builds).
            #[must_use]
            pub const fn offset(self, bytes: u64) -> Self {
                Self(self.0 + bytes)
            }

            /// Returns true when the address is a multiple of `size`, a power of two.
            #[must_use]
            pub const fn is_aligned(self, size: u64) -> bool {
                self.0 & (size - 1) == 0
            }

            /// Returns the address rounded down to a multiple of `size`, a power of two.
            #[must_use]
            pub const fn align_down(self, size: u64) -> Self {
                Self(self.0 & !(size - 1))
            }

            /// Returns the address rounded up to a multiple of `size`, a power of two; saturates at the highest
            /// multiple.
            #[must_use]
            pub const fn align_up(self, size: u64) -> Self {
                match self.0.checked_add(size - 1) {
                    Some(sum) => Self(sum & !(size - 1)),
                    None => Self(u64::MAX & !(size - 1)),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address!(PhysAddr);
address!(VirtAddr);

/// A half-open range of physical memory, `start..end`, in bytes. Empty when `end <= start`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PhysRange {
    /// The first byte of the range.
    pub start: PhysAddr,
    /// The first byte behind the range.
    pub end: PhysAddr,
}

impl PhysRange {
    /// Returns the range `start..end`.
    #[must_use]
    pub const fn new(start: PhysAddr, end: PhysAddr) -> Self {
        Self { start, end }
    }

    /// Returns the length in bytes; 0 for an empty range.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }

    /// Returns true when the range holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.end.0 <= self.start.0
    }

    /// Returns true when `address` lies in the range.
    #[must_use]
    pub const fn contains(self, address: PhysAddr) -> bool {
        self.start.0 <= address.0 && address.0 < self.end.0
    }

    /// Returns true when every byte of `other` lies in the range; an empty `other` lies in every range.
    #[must_use]
    pub const fn contains_range(self, other: Self) -> bool {
        other.is_empty() || (self.start.0 <= other.start.0 && other.end.0 <= self.end.0)
    }

    /// Returns true when some byte lies in both ranges.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// Returns the bytes that lie in both ranges; possibly empty.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        let start = if self.start.0 > other.start.0 { self.start } else { other.start };
        let end = if self.end.0 < other.end.0 { self.end } else { other.end };
        Self { start, end }
    }

    /// Returns the largest range inside this one whose ends are multiples of `size`; possibly empty.
    #[must_use]
    pub const fn shrink_to(self, size: u64) -> Self {
        let start = self.start.align_up(size);
        Self { start, end: self.end.align_down(size) }
    }

    /// Returns the smallest range around this one whose ends are multiples of `size`.
    #[must_use]
    pub const fn grow_to(self, size: u64) -> Self {
        Self { start: self.start.align_down(size), end: self.end.align_up(size) }
    }
}

impl fmt::Debug for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..{:#x}", self.start.0, self.end.0)
    }
}

impl fmt::Display for PhysRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), PhysAddr(end))
    }

    #[test]
    fn aligning_up_at_the_top_of_the_address_space_does_not_wrap() {
        assert_eq!(PhysAddr(u64::MAX).align_up(0x1000), PhysAddr(0xffff_ffff_ffff_f000));
        assert_eq!(VirtAddr(0xffff_ffff_ffff_f001).align_up(0x1000), VirtAddr(0xffff_ffff_ffff_f000));
    }

    #[test]
    fn shrinking_a_range_smaller_than_a_page_leaves_nothing() {
        assert!(range(0x1800, 0x2800).shrink_to(0x1000).is_empty());
        assert_eq!(range(0x1800, 0x3800).shrink_to(0x1000), range(0x2000, 0x3000));
        assert_eq!(range(0x1800, 0x2801).grow_to(0x1000), range(0x1000, 0x3000));
    }

    #[test]
    fn ranges_that_touch_do_not_overlap() {
        assert!(!range(0, 0x1000).overlaps(range(0x1000, 0x2000)));
        assert!(range(0, 0x1001).overlaps(range(0x1000, 0x2000)));
        assert!(range(0, 0x1000).contains_range(range(0x5000, 0x5000)));
    }
}
