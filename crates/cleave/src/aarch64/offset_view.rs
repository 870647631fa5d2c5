// SPDX-License-Identifier: MIT OR Apache-2.0
//! Table memory through a mapping that adds a constant to each physical address.
#![allow(unsafe_code, reason = "the one place where a physical address becomes a pointer to a descriptor")]

use crate::tables::{Descriptor, PhysAddr, TableMemory, VirtAddr};

/// Table memory at a constant distance from its physical address: through a linear map, through the mapping of a kernel's
/// image, or, with distance 0, through an identity map.
#[derive(Clone, Copy, Debug)]
pub struct OffsetView {
    distance: u64,
}

impl OffsetView {
    /// Returns the view through a mapping in which physical address 0 would be at `distance`: the base of a linear map. The sum
    /// wraps, so that a mapping below the physical addresses has a distance as well.
    ///
    /// # Safety
    /// Whenever the view, or a copy of it, is used with an address: the descriptor at that physical address is mapped at
    /// `distance` behind it, as Normal inner shareable write-back memory (what walkers use, by [`super::tcr_el1`]), readable, and
    /// writable for a store; no reference to it is live; and it belongs to a translation table, or to a frame that is free to
    /// become one.
    #[must_use]
    pub const unsafe fn new(distance: u64) -> Self {
        Self { distance }
    }

    /// Returns the view through a mapping of the memory from `physical` on at `address`.
    ///
    /// # Safety
    /// As for [`OffsetView::new`].
    #[must_use]
    pub const unsafe fn of_mapping(address: VirtAddr, physical: PhysAddr) -> Self {
        Self { distance: address.0.wrapping_sub(physical.0) }
    }

    #[inline(always)]
    fn pointer(self, slot: PhysAddr) -> *mut u64 {
        slot.0.wrapping_add(self.distance) as *mut u64
    }
}

impl TableMemory for OffsetView {
    #[inline(always)]
    fn load(&self, slot: PhysAddr) -> Descriptor {
        // SAFETY: the promise of the view; an aligned 64-bit volatile access is one single-copy atomic load.
        Descriptor(unsafe { self.pointer(slot).read_volatile() })
    }

    #[inline(always)]
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        // SAFETY: the promise of the view; an aligned 64-bit volatile access is one single-copy atomic store.
        unsafe { self.pointer(slot).write_volatile(value.0) };
    }

    #[cfg(target_arch = "aarch64")]
    #[inline]
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        // SAFETY: the promise of the view, for `count` descriptors of one table.
        unsafe { super::runs::write_run(self.pointer(first), value.0, stride, count) };
    }

    #[cfg(target_arch = "aarch64")]
    #[inline]
    fn is_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) -> bool {
        // SAFETY: the promise of the view, for `count` descriptors of one table.
        unsafe { super::runs::is_run(self.pointer(first), value.0, stride, count) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A distance that is added with the wrong sign fails this, or one that does not wrap: here memory lies in front of its
    /// physical address.
    #[test]
    fn a_view_reaches_memory_at_its_distance() {
        let mut table = [0_u64; 8];
        let start = table.as_mut_ptr() as u64;
        for physical in [PhysAddr(0), PhysAddr(0x4000_0000), PhysAddr(start + 0x1000)] {
            // SAFETY: the view is used for the words of `table` alone, and `table` is not touched meanwhile.
            let view = unsafe { OffsetView::of_mapping(VirtAddr(start), physical) };
            view.store(physical.offset(8), Descriptor(7));
            view.store_run(physical.offset(16), Descriptor(0x1003), 0x1000, 3);
            let found = core::array::from_fn(|index| view.load(physical.offset(8 * index as u64)).0);
            assert_eq!(found, [0, 7, 0x1003, 0x2003, 0x3003, 0, 0, 0]);
            let is_run = |count| view.is_run(physical.offset(16), Descriptor(0x1003), 0x1000, count);
            assert_eq!([0, 1, 3, 4].map(is_run), [true, true, true, false]);
        }
        assert_eq!(table[2], 0x1003);
    }
}
