// SPDX-License-Identifier: MIT OR Apache-2.0
#![allow(unsafe_code, reason = "seeded faults change tables")]
//! The faults that the audit must find, made just before it looks. Each is found by one of its checks.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::options::{self, Fault};
use cleave::tables::{
    Attributes, Descriptor, FrameSource, Hint, Level, MapStats, PhysAddr, PhysRange, TlbiRepeat, VirtAddr, Visit,
    change_permissions, replace_leaf,
};

use crate::mm::image::{self, Section};
use crate::mm::layout::{AREA_BYTES, PAGE, Part, TEMPORARY_AREA};
use crate::mm::memory;
use crate::mm::views::{Reader, ThisCpu, View};

/// Makes the faults, once, and returns the counts that the audit is to expect instead of `kept`.
///
/// Pages are changed one by one: a leaf of a contiguous group cannot be changed alone, and a block might map the very table
/// it stands in.
///
/// # Panics
/// When the map has no page there, or no frame is left for one.
pub(super) fn faults(kept: MapStats) -> MapStats {
    static MADE: AtomicBool = AtomicBool::new(false);
    if !MADE.swap(true, Ordering::Relaxed) {
        for fault in options::current().faults() {
            make(fault);
        }
    }
    let mut expected = kept;
    if options::current().injects(Fault::CensusCount) {
        expected.leaves.add(Level::L1, Hint::Single, 1);
    }
    expected
}

fn make(fault: Fault) {
    let layout = memory::layout();
    let last = PhysAddr(layout.regions()[0].end.0 - PAGE);
    match fault {
        // PXN off: what is writable becomes executable.
        Fault::Wx => replace(memory::linear(last), Descriptor(leaf(memory::linear(last)).descriptor.0 & !PXN)),
        // Another output address.
        Fault::AuditFlip => {
            replace(memory::linear(last), Attributes::NORMAL.leaf(PhysAddr(last.0 ^ 1 << 30), Level::L3));
        }
        Fault::PageReadonly => {
            // A page that no other code has, allocated for good.
            let frame = memory::frames().allocate().unwrap_or_else(|| panic!("fault: no frame is left"));
            permit(memory::linear(frame), |leaf| leaf | READ_ONLY);
        }
        // A page that there is: what is Normal memory may be read ahead of any access.
        Fault::HoleMapped => map(memory::linear(PhysAddr(layout.regions()[0].end.0)), last),
        Fault::TextWritable => {
            map(VirtAddr(TEMPORARY_AREA + AREA_BYTES - PAGE), Section::Text.phys().start);
        }
        Fault::RodataExecute => permit(Section::Rodata.virt().start, |leaf| leaf & !PXN),
        Fault::GuardMapped => {
            let guard = image::boot_slot().range(Part::Exception).start.0 - PAGE;
            map(VirtAddr(guard), image::physical(VirtAddr(guard)));
        }
        _ => {}
    }
}

/// AP[2] and PXN of a leaf (DDI 0487, D8.3, "Translation table descriptor formats").
const READ_ONLY: u64 = 1 << 7;
const PXN: u64 = 1 << 53;

fn leaf(address: VirtAddr) -> Visit {
    let found = memory::tree(Reader).translate(address);
    let page = found.map(|(leaf, _)| leaf).filter(|leaf| leaf.level == Level::L3 && !leaf.descriptor.is_contiguous());
    page.unwrap_or_else(|| panic!("fault: {address} is not mapped by a page of its own"))
}

/// Replaces the page of `address` by break-before-make; no code uses the mapped memory.
fn replace(address: VirtAddr, new: Descriptor) {
    // SAFETY: the map is whole, and the audit has not begun: no other code changes tables.
    let tables = unsafe { View::linear() };
    replace_leaf(&tables, &ThisCpu, leaf(address).slot, new, TlbiRepeat::Twice);
}

/// Changes the permissions of the page of `address`, which may be in use.
fn permit(address: VirtAddr, change: impl Fn(u64) -> u64) {
    let leaf = leaf(address);
    let new = Descriptor(change(leaf.descriptor.0));
    // SAFETY: as in `replace`.
    let tables = unsafe { View::linear() };
    change_permissions(&tables, &ThisCpu, leaf.slot, new, TlbiRepeat::Twice);
}

/// Maps the page at `output` a second time.
fn map(address: VirtAddr, output: PhysAddr) {
    memory::map_again(address, PhysRange::new(output, output.offset(PAGE)))
        .unwrap_or_else(|error| panic!("fault: {error}"));
}
