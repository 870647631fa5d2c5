// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel image as the linker and the boot code made it: its parts, and the static tables in it.
//!
//! The only place that names linker symbols. Each is taken for its address alone, never read.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "linker symbols are extern statics")]

use core::ops::Range;
use core::ptr::addr_of;

use crate::boot::load_address;
use crate::mm::layout::{EARLY_TABLES, IMAGE_BASE, PAGE, Slot};
use cleave::tables::{PhysAddr, PhysRange, VirtAddr};

/// Declares linker symbols and a function for the address of each.
macro_rules! symbols {
    ($($symbol:ident),* $(,)?) => {
        mod symbol {
            unsafe extern "C" {
                $(pub(super) static $symbol: u8;)*
            }
        }
        $(
            fn $symbol() -> VirtAddr {
                VirtAddr(addr_of!(symbol::$symbol) as u64)
            }
        )*

        /// Returns the address of a symbol of the image by its name: the bounds of its sections, its tables and the boot CPU's slot.
        /// The image has no symbol table of its own.
        #[must_use]
        pub(crate) fn symbol(name: &str) -> Option<VirtAddr> {
            $(
                if name == stringify!($symbol) {
                    return Some($symbol());
                }
            )*
            None
        }
    };
}

symbols!(
    cleave_image_start,
    cleave_image_end,
    cleave_text_start,
    cleave_idmap_end,
    cleave_text_end,
    cleave_rodata_start,
    cleave_rodata_end,
    cleave_ro_after_init_start,
    cleave_ro_after_init_end,
    cleave_data_start,
    cleave_data_end,
    cleave_bss_start,
    cleave_bss_end,
    cleave_tables_start,
    cleave_tables_end,
    cleave_stacks_start,
    cleave_stacks_end,
    cleave_root,
    cleave_holding_root,
    cleave_empty_root,
    cleave_shadow_root,
    cleave_window_root,
    cleave_page_root,
    cleave_page_l1,
    cleave_page_l2,
    cleave_page_l3,
    cleave_kernel_l1,
    cleave_early_tables,
    cleave_boot_slot,
);

/// A part of the image, whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Everything from the header to the last guard page.
    Image,
    /// Code: read-only, executable.
    Text,
    /// Constants and unwind tables: read-only.
    Rodata,
    /// Data that boot writes: read-write until [`crate::mm::ro_after_init::protect`], read-only from then on.
    RoAfterInit,
    /// Initialised data: read-write.
    Data,
    /// Zeroed data: read-write.
    Bss,
    /// The static translation tables: read-write.
    Tables,
    /// The boot CPU's slot; its guard pages are not mapped.
    Stacks,
}

impl Section {
    /// Returns the link addresses of the section.
    #[must_use]
    pub(crate) fn virt(self) -> Range<VirtAddr> {
        match self {
            Self::Image => cleave_image_start()..cleave_image_end(),
            Self::Text => cleave_text_start()..cleave_text_end(),
            Self::Rodata => cleave_rodata_start()..cleave_rodata_end(),
            Self::RoAfterInit => cleave_ro_after_init_start()..cleave_ro_after_init_end(),
            Self::Data => cleave_data_start()..cleave_data_end(),
            Self::Bss => cleave_bss_start()..cleave_bss_end(),
            Self::Tables => cleave_tables_start()..cleave_tables_end(),
            Self::Stacks => cleave_stacks_start()..cleave_stacks_end(),
        }
    }

    /// Returns the physical addresses of the section.
    #[must_use]
    pub(crate) fn phys(self) -> PhysRange {
        let range = self.virt();
        PhysRange::new(physical(range.start), physical(range.end))
    }
}

/// Returns the memory of the image that the linear map never allows to be written: text, constants, and what is read-only
/// after init.
#[must_use]
pub(crate) fn kernel_alias() -> PhysRange {
    PhysRange::new(Section::Text.phys().start, Section::RoAfterInit.phys().end)
}

/// Returns the code that may be changed: all that no CPU executes with its MMU off, which would not see a change by an address
/// of its own, and that is not executed at a second address.
#[must_use]
pub(crate) fn patchable_text() -> Range<VirtAddr> {
    cleave_idmap_end()..cleave_text_end()
}

/// Returns the physical address of a part of the image, from its link address.
///
/// # Panics
/// When `address` is not in the image.
#[must_use]
pub(crate) fn physical(address: VirtAddr) -> PhysAddr {
    // The end of a range may be passed too.
    assert!((IMAGE_BASE..=cleave_image_end().0).contains(&address.0), "{address} is not in the image");
    load_address().offset(address.0 - IMAGE_BASE)
}

/// A static table, or a run of them, in the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The TTBR1 root: the kernel half from boot on, the linear map once it is painted.
    Root,
    /// The TTBR1 root of CPUs that are not admitted: the kernel half alone.
    HoldingRoot,
    /// The TTBR0 root after boot: no entry, ever.
    EmptyRoot,
    /// Holds the root entries of a repaint until they go live.
    ReplacementRoot,
    /// The TTBR0 root of the temporary mapping.
    TemporaryRoot,
    /// The TTBR0 root of a temporary page.
    PageRoot,
    /// Its level 1 table.
    PageL1,
    /// Its level 2 table.
    PageL2,
    /// Its level 3 table.
    PageL3,
    /// The kernel half's level 1 table.
    KernelL1,
}

impl Table {
    /// Returns the link address of the table.
    #[must_use]
    pub(crate) fn virt(self) -> VirtAddr {
        match self {
            Self::Root => cleave_root(),
            Self::HoldingRoot => cleave_holding_root(),
            Self::EmptyRoot => cleave_empty_root(),
            Self::ReplacementRoot => cleave_shadow_root(),
            Self::TemporaryRoot => cleave_window_root(),
            Self::PageRoot => cleave_page_root(),
            Self::PageL1 => cleave_page_l1(),
            Self::PageL2 => cleave_page_l2(),
            Self::PageL3 => cleave_page_l3(),
            Self::KernelL1 => cleave_kernel_l1(),
        }
    }

    /// Returns the physical address of the table, for a TTBR or a table descriptor.
    #[must_use]
    pub(crate) fn phys(self) -> PhysAddr {
        physical(self.virt())
    }
}

/// Returns the link address of early table `index`, zeroed at boot.
///
/// # Panics
/// When `index` is not below [`EARLY_TABLES`].
#[must_use]
pub(crate) fn early_table(index: usize) -> VirtAddr {
    assert!(index < EARLY_TABLES, "there are {EARLY_TABLES} early tables");
    cleave_early_tables().offset(index as u64 * PAGE)
}

/// Returns the boot CPU's slot.
#[must_use]
pub(crate) fn boot_slot() -> Slot {
    Slot::at(cleave_boot_slot())
}
