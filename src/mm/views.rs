// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's views of translation tables, and the CPU that the table code runs on.
//!
//! A view adds a constant to a physical address. There are four: through the linear map (the ordinary one), through the
//! kernel image (the roots, also while the linear map is broken), through the temporary mapping of the classic split, and
//! the one in which the linear map is painted, before it exists.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "views and CPU are made by promises about the kernel's mappings")]

use core::cell::Cell;

use cleave::aarch64::{OffsetView, translate};
use cleave::tables::{Descriptor, PhysAddr, TableMemory, VirtAddr};

use crate::boot::load_address;
use crate::mm::image::Section;
use crate::mm::layout::{IMAGE_BASE, LINEAR_BASE};

pub(crate) use cleave::aarch64::ThisCpu;

/// The CPU that executes the call, as a value.
#[allow(non_upper_case_globals, reason = "the value of a type without state, named as a unit struct's")]
// SAFETY: the kernel runs at EL1, nothing of it lies below TTBR0, and its roots are empty but for complete maps.
pub(crate) const ThisCpu: ThisCpu = unsafe { ThisCpu::new() };

/// One of the kernel's views of table memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View(OffsetView);

impl View {
    /// Returns the view through the linear map: any RAM that is mapped.
    ///
    /// # Safety
    /// The map is painted, and whole for as long as the view is used. The library alone stores through the view, to tables that
    /// no other code changes meanwhile.
    pub(crate) const unsafe fn linear() -> Self {
        // SAFETY: the linear map has every table that is not the image's, as Normal memory and writable; the rest is the caller's
        // promise.
        Self(unsafe { OffsetView::new(LINEAR_BASE) })
    }

    /// Returns the view through the identity map of the classic split: any RAM but the kernel's text and read-only data.
    ///
    /// # Safety
    /// As for [`View::linear`], of the identity map: it is used on the leader, while TTBR0 holds that map's root.
    pub(crate) const unsafe fn identity() -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { OffsetView::new(0) })
    }

    /// Returns the view through the kernel image: its own static tables, at any time.
    ///
    /// # Safety
    /// The library alone stores through the view, to tables of the image that no other code changes meanwhile.
    pub(crate) unsafe fn image() -> Self {
        // SAFETY: the image is mapped for ever, its tables as Normal memory and writable; the rest is the caller's promise.
        Self(unsafe { OffsetView::of_mapping(VirtAddr(IMAGE_BASE), load_address()) })
    }

    /// Returns the view through a temporary mapping of the memory from `physical` on at `address`.
    ///
    /// # Safety
    /// The view is used for tables in that memory, while the mapping stands.
    pub(crate) const unsafe fn temporary(address: VirtAddr, physical: PhysAddr) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { OffsetView::of_mapping(address, physical) })
    }
}

impl TableMemory for View {
    #[inline(always)]
    fn load(&self, slot: PhysAddr) -> Descriptor {
        self.0.load(slot)
    }
    #[inline(always)]
    fn store(&self, slot: PhysAddr, value: Descriptor) {
        self.0.store(slot, value);
    }
    #[inline(always)]
    fn store_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) {
        self.0.store_run(first, value, stride, count);
    }
    #[inline(always)]
    fn is_run(&self, first: PhysAddr, value: Descriptor, stride: u64, count: usize) -> bool {
        self.0.is_run(first, value, stride, count)
    }
}

/// Tables read through the linear map, for code that only looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader;

impl TableMemory for Reader {
    #[inline(always)]
    fn load(&self, slot: PhysAddr) -> Descriptor {
        // SAFETY: the view loads, and stores nothing.
        unsafe { View::linear() }.load(slot)
    }

    fn store(&self, slot: PhysAddr, _value: Descriptor) {
        unreachable!("a reader stores no descriptor, at {slot}");
    }
}

/// Table memory that is asked for before it is read, for looking at tables while the map may be broken: through the image
/// where it is part of that, through the linear map where the MMU says that it is mapped, and otherwise empty.
#[derive(Debug, Default)]
pub(crate) struct Careful {
    missed: Cell<bool>,
}

impl Careful {
    /// Returns true when some descriptor could not be read, and was taken to be empty.
    pub(crate) fn has_missed(&self) -> bool {
        self.missed.get()
    }
}

impl TableMemory for Careful {
    fn load(&self, slot: PhysAddr) -> Descriptor {
        if Section::Tables.phys().contains(slot) {
            // SAFETY: the view loads, and stores nothing.
            return unsafe { View::image() }.load(slot);
        }
        // AT does not fault: it answers in PAR_EL1.
        if translate::read(VirtAddr(LINEAR_BASE + slot.0)).address().is_some() {
            // SAFETY: the view loads, and stores nothing; the slot is mapped.
            return unsafe { View::linear() }.load(slot);
        }
        self.missed.set(true);
        Descriptor::EMPTY
    }

    fn store(&self, slot: PhysAddr, _value: Descriptor) {
        unreachable!("a look at tables stores no descriptor, at {slot}");
    }
}
