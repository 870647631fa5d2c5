//! A device's registers in memory, for those the driver crate has no safe access to.

use core::ptr::NonNull;

use arm_gic::UniqueMmioPointer;
use cleave::paging::VirtAddr;

/// The registers of one device, by offset. Each access is one load or store instruction of its width.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    base: VirtAddr,
}

impl Registers {
    /// The registers at `base`.
    ///
    /// # Safety
    /// A register of the GIC is mapped as device memory at every offset that is used, on every CPU and for good, and
    /// no access that is made to it endangers memory.
    #[expect(unsafe_code, reason = "a device is named by its address")]
    pub(super) const unsafe fn new(base: VirtAddr) -> Self {
        Self { base }
    }

    /// Where they are.
    pub(super) const fn base(self) -> VirtAddr {
        self.base
    }

    /// As a pointer to the driver crate's view of them.
    pub(super) const fn pointer<T>(self) -> NonNull<T> {
        NonNull::new(self.base.0 as *mut T).expect("the GIC's registers are at address 0")
    }

    #[expect(unsafe_code, reason = "a device is named by its address")]
    #[inline]
    const fn at<T>(self, offset: usize) -> UniqueMmioPointer<'static, T> {
        // SAFETY: the maker of `self` promised the mapping. Two CPUs may have a pointer to one register at once; they
        // use it for one whole access, and registers that both write are banked or take each write by itself.
        unsafe { UniqueMmioPointer::new(NonNull::new_unchecked((self.base.0 as usize + offset) as *mut T)) }
    }

    /// The 32-bit register at `offset`.
    #[expect(unsafe_code, reason = "the driver crate cannot know what a read does")]
    #[inline]
    pub(super) fn read(self, offset: usize) -> u32 {
        // SAFETY: the maker of `self` promised that accesses are harmless.
        unsafe { self.at(offset).read_unsafe() }
    }

    /// Writes the 32-bit register at `offset`.
    #[expect(unsafe_code, reason = "the driver crate cannot know what a write does")]
    #[inline]
    pub(super) fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`.
        unsafe { self.at(offset).write_unsafe(value) }
    }

    /// Writes `value` to each of the `count` 32-bit registers from `offset` on.
    pub(super) fn fill(self, offset: usize, count: usize, value: u32) {
        for index in 0..count {
            self.write(offset + 4 * index, value);
        }
    }
}
