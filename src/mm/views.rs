// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the kernel reaches translation tables, and the CPU that the table code runs on.
//!
//! A view adds a constant to a physical address. There are four: through the linear map (the ordinary one), through the
//! kernel image (the roots, also while the linear map is broken), through the physical window of the classic split, and
//! the one in which the linear map is painted, before it exists.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "the one place where a physical address becomes a pointer to a descriptor")]

use core::cell::Cell;

use cleave::aarch64::{barrier, mmu, tlb, translate, write_run};
use cleave::tables::{Cpu, Descriptor, PhysAddr, TableMemory, VirtAddr};

use crate::boot::load_address;
use crate::mm::image::Section;
use crate::mm::layout::{IMAGE_BASE, LINEAR_BASE};

/// Table memory at a constant distance from its physical address.
///
/// Who makes one promises that, while it is used, every table it is used for is mapped at that distance as Normal
/// write-back memory, readable and writable, and that no reference to the table is live.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    distance: u64,
}

impl View {
    /// Through the linear map: any RAM that is mapped, once it is painted, and outside the window.
    pub(crate) const LINEAR: Self = Self { distance: LINEAR_BASE };

    /// Through the identity map of the physical window: any RAM but the kernel's text and read-only data, on the leader,
    /// while TTBR0 holds the window's root.
    pub(crate) const PHYSICAL: Self = Self { distance: 0 };

    /// Through the kernel image: its own static tables, at any time.
    pub(crate) fn image() -> Self {
        Self { distance: IMAGE_BASE.wrapping_sub(load_address().0) }
    }

    /// Through a temporary mapping of the memory from `physical` on at `address`.
    pub(crate) const fn temporary(address: VirtAddr, physical: PhysAddr) -> Self {
        Self { distance: address.0.wrapping_sub(physical.0) }
    }

    #[inline(always)]
    fn pointer(self, slot: PhysAddr) -> *mut u64 {
        slot.0.wrapping_add(self.distance) as *mut u64
    }
}

impl TableMemory for View {
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

    #[inline]
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        // SAFETY: the promise of the view, for `count` descriptors of one table.
        unsafe { write_run::write_run(self.pointer(first), value.0, stride, count) };
    }
}

/// Table memory that is asked for before it is read, for looking at tables while the map may be broken: through the image
/// where it is part of that, through the linear map where the MMU says that it is mapped, and otherwise empty.
#[derive(Debug, Default)]
pub(crate) struct Careful {
    missed: Cell<bool>,
}

impl Careful {
    /// True when some descriptor could not be read, and was taken to be empty.
    pub(crate) fn has_missed(&self) -> bool {
        self.missed.get()
    }
}

impl TableMemory for Careful {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        if Section::Tables.phys().contains(slot) {
            return View::image().load(slot);
        }
        // AT does not fault: it answers in PAR_EL1.
        if translate::read(VirtAddr(LINEAR_BASE + slot.0)).address().is_some() {
            return View::LINEAR.load(slot);
        }
        self.missed.set(true);
        Descriptor::EMPTY
    }

    fn store(&self, slot: PhysAddr, _value: Descriptor) {
        unreachable!("a look at tables stores no descriptor, at {slot}");
    }
}

/// The CPU that executes the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThisCpu;

impl Cpu for ThisCpu {
    #[inline(always)]
    fn dsb_ishst(&self) {
        barrier::dsb_ishst();
    }
    #[inline(always)]
    fn dsb_ish(&self) {
        barrier::dsb_ish();
    }
    #[inline(always)]
    fn dsb_nsh(&self) {
        barrier::dsb_nsh();
    }
    #[inline(always)]
    fn isb(&self) {
        barrier::isb();
    }
    #[inline(always)]
    fn tlbi_vmalle1is(&self) {
        tlb::vmalle1is();
    }
    #[inline(always)]
    fn tlbi_vmalle1(&self) {
        tlb::vmalle1();
    }
    #[inline(always)]
    fn repeat_tlbi_workaround(&self) {
        tlb::vale1is(VirtAddr(0));
    }
    #[inline(always)]
    fn set_ttbr0(&self, root: PhysAddr) {
        // SAFETY: the table code gives the empty root or the physical window's, both complete; nothing of the kernel
        // lives below TTBR0.
        unsafe { mmu::set_ttbr0(root) };
    }
}
