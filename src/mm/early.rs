// SPDX-License-Identifier: MIT OR Apache-2.0
//! Early mappings of the device tree and the console, by spare tables of the image, before there is memory to allocate.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "mapped memory becomes a slice")]

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::devicetree::{HEADER_BYTES, Tree, TreeError, check_header};
use cleave::tables::{
    Attributes, FRAME_SIZE, FrameSource, Geometry, MapError, Permissions, PhysAddr, PhysRange, TableTree, VirtAddr,
};

use crate::mm::image::{self, Table};
use crate::mm::layout::{EARLY_TABLES, TEMPORARY_AREA};
use crate::mm::views::{ThisCpu, View};

/// The spare tables of the image, each given out once.
pub(crate) struct EarlyTables;

static USED: AtomicUsize = AtomicUsize::new(0);

impl FrameSource for EarlyTables {
    fn available(&self) -> u64 {
        (EARLY_TABLES - USED.load(Ordering::Relaxed)) as u64
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        // Only the boot CPU is here, and early; a plain load and store do.
        let next = USED.load(Ordering::Relaxed);
        if next == EARLY_TABLES {
            return None;
        }
        USED.store(next + 1, Ordering::Relaxed);
        Some(image::physical(image::early_table(next)))
    }

    /// Returns false: a spare table of the image is allocated for good.
    fn owns(&self, _frame: PhysAddr) -> bool {
        false
    }

    fn free(&mut self, frame: PhysAddr) {
        unreachable!("early table {frame} given back");
    }
}

/// Maps the pages of `range` from `address` on, page for page.
///
/// # Errors
/// As [`TableTree::map_pages`].
pub(crate) fn map(address: VirtAddr, range: PhysRange, attributes: Attributes) -> Result<(), MapError> {
    let range = range.grow_to(FRAME_SIZE);
    // SAFETY: early in the boot, on the only CPU: no other code changes tables.
    let tables = unsafe { View::image() };
    let tree = TableTree { memory: tables, geometry: Geometry::K4_V48, root: Table::Root.phys() };
    tree.map_pages(&ThisCpu, &mut EarlyTables, address, range, attributes)
}

/// An error that leaves the kernel without a device tree.
#[derive(Clone, Debug)]
pub(crate) enum NoTree {
    /// It could not be mapped.
    Map(MapError),
    /// It is not one.
    Tree(TreeError),
}

impl core::fmt::Display for NoTree {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Map(error) => write!(f, "the device tree cannot be mapped: {error}"),
            Self::Tree(error) => write!(f, "the device tree is not usable: {error}"),
        }
    }
}

/// Maps the device tree at `physical`, read-only, and checks it: its header's page first, then as many pages as the
/// header says. A block around it would be simpler and could cover memory that must not be mapped.
///
/// # Errors
/// [`NoTree`].
pub(crate) fn device_tree(physical: PhysAddr) -> Result<(Tree<'static>, PhysRange), NoTree> {
    let attributes = Attributes::NORMAL.with_permissions(Permissions::ReadOnly);
    let offset = physical.0 % FRAME_SIZE;
    let address = VirtAddr(TEMPORARY_AREA + offset);
    let header = PhysRange::new(physical, physical.offset(HEADER_BYTES as u64));
    map(VirtAddr(TEMPORARY_AREA), header, attributes).map_err(NoTree::Map)?;
    // SAFETY: mapped above, and no code writes it; the boot code saw that the pointer is aligned and the magic there.
    let bytes = unsafe { core::slice::from_raw_parts(address.0 as *const u8, HEADER_BYTES) };
    let size = check_header(bytes).map_err(NoTree::Tree)?;
    let whole = PhysRange::new(physical, physical.offset(size as u64));
    let mapped = header.grow_to(FRAME_SIZE);
    let rest = PhysRange::new(mapped.end, whole.end);
    if !rest.is_empty() {
        map(VirtAddr(TEMPORARY_AREA + mapped.bytes()), rest, attributes).map_err(NoTree::Map)?;
    }
    // SAFETY: all of it is mapped now, for good, and its memory is reserved.
    let bytes = unsafe { core::slice::from_raw_parts(address.0 as *const u8, size) };
    Tree::new(bytes).map(|tree| (tree, whole)).map_err(NoTree::Tree)
}
