// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end of the time in which data that is read-only after init may be written.
//!
//! The section has two mappings. The linear map's was made read-only by the first paint, which counts the section as part of
//! the kernel's alias: no change of the map makes that writable. The image's own is writable until [`protect`].
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "the image's tables are changed by promises")]

use cleave::tables::{Level, TlbiRepeat, change_permissions};

use crate::mm::image::Section;
use crate::mm::layout::PAGE;
use crate::mm::memory;
use crate::mm::views::{ThisCpu, View};

/// Makes the section read-only in the image's own mapping. When it returns no CPU can write it any more: not one that is at
/// work, nor one that still waits on the holding root, which has the same tables of the kernel half.
///
/// The pages may be read meanwhile, so they are changed in place: valid leaves before and after, alike but for AP\[2\].
/// Neither output address, memory type nor size changes, so no break-before-make is asked for (DDI 0487, D8.17.1), and a CPU
/// meets the old permissions or the new ones until the invalidation is complete.
///
/// # Panics
/// When a page of the section has no leaf of its own: boot made pages of them.
pub(crate) fn protect(repeat: TlbiRepeat) {
    // SAFETY: the image's tables of the kernel half are in the image. Only mappings of new addresses change them besides, and
    // those lie in other descriptors.
    let view = unsafe { View::image() };
    let tree = memory::tree(view);
    let range = Section::RoAfterInit.virt();
    let mut address = range.start;
    while address < range.end {
        let leaf = tree.translate(address).map(|(leaf, _)| leaf).filter(|leaf| leaf.level == Level::L3);
        let leaf = leaf.unwrap_or_else(|| panic!("{address} of the image is no page"));
        change_permissions(&view, &ThisCpu, leaf.slot, leaf.descriptor.made_read_only(), repeat);
        address = address.offset(PAGE);
    }
}
