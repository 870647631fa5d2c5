// SPDX-License-Identifier: MIT OR Apache-2.0
//! A device's registers in memory, for those that a driver crate has no access to.
//!
//! Under a hypervisor each access is a stage 2 abort that the hypervisor emulates from the syndrome alone. The syndrome
//! describes loads and stores of one general-purpose register without writeback (DDI 0487, ESR_EL2, ISV); for any other form
//! KVM reports an error in place of the access. A compiler may choose any form for a volatile access, so none is used for a
//! device: `safe-mmio`, which the driver crates use too, has the instructions in assembly. tests/shape.rs confines volatile
//! accesses to memory, and the watcher (`crates/cleave-watch`) sees the instructions that reach devices.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "a device is named by its address")]

use core::ptr::NonNull;

use cleave::tables::VirtAddr;
use safe_mmio::UniqueMmioPointer;

/// The registers of one device, by offset. Each access is one load or store instruction of its width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers {
    base: VirtAddr,
}

impl Registers {
    /// Returns the registers at `base`.
    ///
    /// # Safety
    /// A register of the device is mapped as device memory at every offset that is used, on every CPU and for good, and
    /// no access that is made to it endangers memory.
    pub(crate) const unsafe fn new(base: VirtAddr) -> Self {
        Self { base }
    }

    /// Returns the address of the registers.
    pub(crate) const fn base(self) -> VirtAddr {
        self.base
    }

    /// Returns a pointer to a driver crate's view of the registers.
    pub(crate) const fn pointer<T>(self) -> NonNull<T> {
        NonNull::new(self.base.0 as *mut T).expect("a device's registers are at address 0")
    }

    #[inline]
    const fn at<T>(self, offset: usize) -> UniqueMmioPointer<'static, T> {
        // SAFETY: the maker of `self` promised the mapping. Two CPUs may have a pointer to one register at once; they
        // use it for one whole access, and registers that both write are banked or take each write by itself.
        unsafe { UniqueMmioPointer::new(NonNull::new_unchecked((self.base.0 as usize + offset) as *mut T)) }
    }

    /// Reads the 32-bit register at `offset`.
    #[inline]
    pub(crate) fn read(self, offset: usize) -> u32 {
        // SAFETY: the maker of `self` promised that accesses are harmless.
        unsafe { self.at(offset).read_unsafe() }
    }

    /// Reads the 64-bit register at `offset`.
    #[inline]
    pub(crate) fn read_wide(self, offset: usize) -> u64 {
        // SAFETY: as in `read`.
        unsafe { self.at(offset).read_unsafe() }
    }

    /// Writes the 32-bit register at `offset`.
    #[inline]
    pub(crate) fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { self.at(offset).write_unsafe(value) }
    }

    /// Writes `value` to each of the `count` 32-bit registers from `offset` on.
    pub(crate) fn fill(self, offset: usize, count: usize, value: u32) {
        for index in 0..count {
            self.write(offset + 4 * index, value);
        }
    }
}
