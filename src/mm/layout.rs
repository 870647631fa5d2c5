// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's virtual memory layout: its constants, and the arithmetic of the per-CPU slots.
//!
//! 48-bit addresses, 4 KiB granule. The lower 256 entries of the TTBR1 root are the linear map's; the kernel half is the
//! one entry above them, so that a repaint can take every linear-map entry away and the kernel does not notice.
//! The assembly takes its constants from here, and the linker script asserts that its own agree.

use core::ops::Range;

use cleave::tables::VirtAddr;

/// Bytes of a page of the kernel half.
pub(crate) const PAGE: u64 = 4096;

/// Virtual address of physical address 0 in the linear map.
pub(crate) const LINEAR_BASE: u64 = 0xffff_0000_0000_0000;
/// Bytes of the linear map: physical addresses below 2^47, root entries 0 to 255.
pub(crate) const LINEAR_BYTES: u64 = 1 << 47;

/// First byte of the kernel half: root entry [`KERNEL_L0_INDEX`].
pub(crate) const KERNEL_BASE: u64 = 0xffff_8000_0000_0000;
/// The one root entry of the kernel half.
pub(crate) const KERNEL_L0_INDEX: usize = 256;

/// Link address of the image; `_start` and the image header are there.
pub(crate) const IMAGE_BASE: u64 = 0xffff_8000_8000_0000;
/// The image's entry in the kernel half's level 1 table.
pub(crate) const IMAGE_L1_INDEX: usize = ((IMAGE_BASE >> 30) & 511) as usize;
/// Level 3 tables for the image, 2 MiB each.
pub(crate) const IMAGE_L3_TABLES: usize = 8;
/// The kernel area: per-CPU slots.
pub(crate) const KERNEL_AREA: u64 = 0xffff_8001_0000_0000;
/// Devices, one behind the other.
pub(crate) const DEVICE_AREA: u64 = 0xffff_8002_0000_0000;
/// Temporary mappings and the device tree.
pub(crate) const TEMPORARY_AREA: u64 = 0xffff_8003_0000_0000;
/// The heap: outside the linear map, so that a report can be read and written while that is broken.
pub(crate) const HEAP_AREA: u64 = 0xffff_8004_0000_0000;
/// The page that the self-test maps and breaks where the linear map stays whole: below a root entry that nothing else uses.
pub(crate) const SCRATCH: u64 = 0xffff_8080_0000_0000;
/// Bytes of each of the four areas.
pub(crate) const AREA_BYTES: u64 = 1 << 32;

/// Zeroed table pages in the image for mappings made before there is a frame allocator.
pub(crate) const EARLY_TABLES: usize = 16;

/// Bytes from one slot to the next.
pub(crate) const SLOT_STRIDE: u64 = 32 * PAGE;

// Pages of a slot, in order; each part has an unmapped page below it, so that every stack's overflow faults.
const THREAD_PAGES: u64 = 16;
const EXCEPTION_PAGES: u64 = 4;
const EMERGENCY_PAGES: u64 = 4;
const BLOCK_PAGES: u64 = 1;

/// Offset in a slot of the lowest byte of the thread stack (SP_EL0).
pub(crate) const THREAD_BOTTOM: u64 = PAGE;
/// Offset of the end of the thread stack, where its first frame lies under.
pub(crate) const THREAD_TOP: u64 = THREAD_BOTTOM + THREAD_PAGES * PAGE;
/// Offset of the lowest byte of the exception stack (SP_EL1).
pub(crate) const EXCEPTION_BOTTOM: u64 = THREAD_TOP + PAGE;
/// Offset of the end of the exception stack.
pub(crate) const EXCEPTION_TOP: u64 = EXCEPTION_BOTTOM + EXCEPTION_PAGES * PAGE;
/// Offset of the lowest byte of the stack for exceptions in exception handlers.
pub(crate) const EMERGENCY_BOTTOM: u64 = EXCEPTION_TOP + PAGE;
/// Offset of the end of the emergency stack.
pub(crate) const EMERGENCY_TOP: u64 = EMERGENCY_BOTTOM + EMERGENCY_PAGES * PAGE;
/// Offset of the per-CPU block.
pub(crate) const BLOCK_BOTTOM: u64 = EMERGENCY_TOP + PAGE;
/// Offset of the end of the per-CPU block.
pub(crate) const BLOCK_TOP: u64 = BLOCK_BOTTOM + BLOCK_PAGES * PAGE;

const _: () = assert!(BLOCK_TOP <= SLOT_STRIDE, "a slot outgrew its stride");
const _: () = assert!((IMAGE_BASE >> 39) & 511 == KERNEL_L0_INDEX as u64);
const _: () = assert!((HEAP_AREA + AREA_BYTES - 1) >> 39 == KERNEL_BASE >> 39, "the kernel half is one root entry");

const _: () = assert!((SCRATCH >> 39) & 511 == KERNEL_L0_INDEX as u64 + 1, "the self-test's entry is its own");

/// Most CPUs the kernel area has slots for.
pub(crate) const MAX_SLOTS: u64 = AREA_BYTES / SLOT_STRIDE;

/// One part of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The stack threads run on, SP_EL0.
    Thread,
    /// The stack exceptions are taken on, SP_EL1.
    Exception,
    /// The stack for an exception taken in an exception handler.
    Emergency,
    /// The per-CPU block.
    Block,
}

impl Part {
    /// All parts, in the order of their addresses.
    pub(crate) const ALL: [Self; 4] = [Self::Thread, Self::Exception, Self::Emergency, Self::Block];

    /// Returns its name in a report.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Thread => "thread stack",
            Self::Exception => "exception stack",
            Self::Emergency => "emergency stack",
            Self::Block => "per-CPU block",
        }
    }

    const fn offsets(self) -> Range<u64> {
        match self {
            Self::Thread => THREAD_BOTTOM..THREAD_TOP,
            Self::Exception => EXCEPTION_BOTTOM..EXCEPTION_TOP,
            Self::Emergency => EMERGENCY_BOTTOM..EMERGENCY_TOP,
            Self::Block => BLOCK_BOTTOM..BLOCK_TOP,
        }
    }
}

/// The part of a slot that an address lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// A byte of a part.
    In(Part),
    /// The unmapped page right below a part: its stack has overflowed.
    GuardOf(Part),
    /// Unmapped room behind the last part.
    Unused,
}

/// The addresses of one CPU's stacks and per-CPU block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    base: VirtAddr,
}

impl Slot {
    /// Returns the slot of CPU `id` in the kernel area; `None` when the area has no room for it.
    #[must_use]
    pub(crate) const fn of_cpu(id: u64) -> Option<Self> {
        if id < MAX_SLOTS { Some(Self { base: VirtAddr(KERNEL_AREA + id * SLOT_STRIDE) }) } else { None }
    }

    /// Returns a slot laid out from `base` on, a page boundary. The boot CPU's lies in the image.
    #[must_use]
    pub(crate) const fn at(base: VirtAddr) -> Self {
        Self { base }
    }

    /// Returns the addresses of `part`, whole pages, to be mapped read-write and never executable.
    #[must_use]
    pub(crate) const fn range(self, part: Part) -> Range<VirtAddr> {
        let offsets = part.offsets();
        self.base.offset(offsets.start)..self.base.offset(offsets.end)
    }

    /// Returns the ranges to be mapped, in the order of their addresses; everything between them stays unmapped.
    pub(crate) fn mapped(self) -> impl Iterator<Item = Range<VirtAddr>> {
        Part::ALL.into_iter().map(move |part| self.range(part))
    }

    /// Returns the initial stack pointer of a stack part.
    #[must_use]
    pub(crate) const fn top(self, part: Part) -> VirtAddr {
        self.range(part).end
    }

    /// Returns the per-CPU block's address.
    #[must_use]
    pub(crate) const fn block(self) -> VirtAddr {
        self.range(Part::Block).start
    }

    /// Returns the part of this slot that `address` lies in, or `None` when it lies outside.
    #[must_use]
    pub(crate) fn spot(self, address: VirtAddr) -> Option<Spot> {
        let offset = address.0.checked_sub(self.base.0).filter(|offset| *offset < SLOT_STRIDE)?;
        Some(Part::ALL.into_iter().find_map(|part| spot_in(part, offset)).unwrap_or(Spot::Unused))
    }

    /// Returns the CPU and the part of the kernel area that `address` lies in; `None` outside the area.
    #[must_use]
    pub(crate) fn find(address: VirtAddr) -> Option<(u64, Spot)> {
        let id = address.0.checked_sub(KERNEL_AREA)? / SLOT_STRIDE;
        Some((id, Self::of_cpu(id)?.spot(address)?))
    }
}

/// Returns where `offset` lies as seen from `part` alone.
fn spot_in(part: Part, offset: u64) -> Option<Spot> {
    let part_is = part.offsets();
    let guard = part_is.start - PAGE..part_is.start;
    if part_is.contains(&offset) {
        Some(Spot::In(part))
    } else if guard.contains(&offset) {
        Some(Spot::GuardOf(part))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stack_has_an_unmapped_page_below_it() {
        let slot = Slot::of_cpu(3).unwrap();
        for part in Part::ALL {
            let range = slot.range(part);
            assert_eq!(Slot::find(VirtAddr(range.start.0 - 1)), Some((3, Spot::GuardOf(part))));
            assert_eq!(Slot::find(range.start), Some((3, Spot::In(part))));
            assert_eq!(Slot::find(VirtAddr(range.end.0 - 1)), Some((3, Spot::In(part))));
            assert_ne!(Slot::find(range.end), Some((3, Spot::In(part))));
        }
    }

    #[test]
    fn addresses_outside_the_kernel_area_belong_to_no_slot() {
        assert_eq!(Slot::find(VirtAddr(0)), None);
        assert_eq!(Slot::find(VirtAddr(KERNEL_AREA - 1)), None);
        assert_eq!(Slot::find(VirtAddr(DEVICE_AREA)), None);
        assert_eq!(Slot::of_cpu(MAX_SLOTS), None);
    }

    #[test]
    fn slots_never_overlap() {
        let first = Slot::of_cpu(0).unwrap();
        let second = Slot::of_cpu(1).unwrap();
        assert!(first.range(Part::Block).end < second.range(Part::Thread).start);
        assert_eq!(second.spot(first.block()), None);
        assert!(first.mapped().all(|range| range.start < range.end && range.end.is_aligned(PAGE)));
    }
}
