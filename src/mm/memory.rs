// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory: painting the linear map for the first time, the frame allocator, the heap, and mappings of the kernel half.
//!
//! The order is forced: the map is painted before there is an allocator, with tables from one piece of free memory; the
//! allocator's bitmap lies in the map; the heap is made of its frames, in the kernel half, where it can be reached while
//! the map is broken.
#![cfg(target_os = "none")]
#![allow(unsafe_code, reason = "frames become slices, and the heap gets its memory")]

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::devicetree::{MEMORY_RANGES, MemoryMap, MemoryRanges, RangeSet};
use cleave::aarch64::timer;
use cleave::linear_map::{FirstPaint, LargestLeaf, Layout, LinearMap, Roots, first_paint_bytes};
use cleave::tables::{
    Attributes, BitmapFrames, FRAME_SIZE, FrameSource, Geometry, Level, MapError, MapStats, MemoryType, PhysAddr,
    PhysRange, TableTree, TemporaryBlocks, TlbiRepeat, VirtAddr, slot,
};
use spin::Once;

use crate::cpu::ban;
use crate::cpu::lock::{IrqGuard, IrqLock};
use crate::mm::early::{self, EarlyTables};
use crate::mm::heap;
use crate::mm::image::{self, Table};
use crate::mm::init_data::ro_after_init;
use crate::mm::layout::{AREA_BYTES, DEVICE_AREA, HEAP_AREA, LINEAR_BASE, LINEAR_BYTES, TEMPORARY_AREA};
use crate::mm::views::{ThisCpu, View};

/// The shape of the kernel's own tables.
pub(crate) const GEOMETRY: Geometry = Geometry::K4_V48;
/// The heap: what a report of some thousand CPUs takes.
const HEAP_BYTES: u64 = 2 << 20;
/// The mapping of the tables of the first paint while it lasts: the last GiB of the temporary area, which nothing else
/// uses.
const PAINT_MAPPING: VirtAddr = VirtAddr(TEMPORARY_AREA + AREA_BYTES - (1 << 30));

ro_after_init! {
    static REGIONS: Once<MemoryRanges> = Once::new();
}
static MAP: Once<LinearMap<'static>> = Once::new();
static FRAMES: IrqLock<Option<BitmapFrames<'static>>> = IrqLock::new("frames", None);

/// Returns the linear map.
///
/// # Panics
/// Before it is painted.
pub(crate) fn map() -> &'static LinearMap<'static> {
    MAP.get().expect("the linear map is not painted yet")
}

/// Returns the linear map, or `None` before it is painted.
pub(crate) fn try_map() -> Option<&'static LinearMap<'static>> {
    MAP.get()
}

/// Returns the plan of the linear map.
///
/// # Panics
/// Before it is painted.
pub(crate) fn layout() -> &'static Layout<'static> {
    map().layout()
}

/// Returns the plan of the linear map, or `None` before it is painted.
pub(crate) fn try_layout() -> Option<&'static Layout<'static>> {
    try_map().map(LinearMap::layout)
}

/// Returns the address of `physical` in the linear map.
pub(crate) const fn linear(physical: PhysAddr) -> VirtAddr {
    VirtAddr(LINEAR_BASE + physical.0)
}

/// The frame allocator, locked.
pub(crate) struct Frames(IrqGuard<'static, Option<BitmapFrames<'static>>>);

/// Locks the frame allocator.
///
/// # Panics
/// Before there is one, and inside the stop window.
pub(crate) fn frames() -> Frames {
    let frames = FRAMES.lock();
    assert!(frames.is_some(), "no frame allocator yet");
    Frames(frames)
}

impl core::ops::Deref for Frames {
    type Target = BitmapFrames<'static>;
    fn deref(&self) -> &Self::Target {
        self.0.as_ref().expect("checked when it was locked")
    }
}

impl core::ops::DerefMut for Frames {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut().expect("checked when it was locked")
    }
}

/// The painted map and what it took.
pub(crate) struct Painted {
    /// The counts made on the way.
    pub(crate) stats: MapStats,
    /// Its duration, in ticks.
    pub(crate) ticks: u64,
}

/// Paints the linear map of all RAM in `map` and makes the frame allocator and the heap.
///
/// # Panics
/// When the memory the device tree describes cannot be mapped: named on the console, nothing can go on without it.
pub(crate) fn init(map: &MemoryMap, largest: LargestLeaf) -> Painted {
    let free = map.free();
    let regions = REGIONS.call_once(|| map.mapped());
    let (base, alias) = (VirtAddr(LINEAR_BASE), image::kernel_alias());
    let layout = Layout::new(GEOMETRY, base, LINEAR_BYTES, regions.as_slice(), alias, Attributes::NORMAL)
        .unwrap_or_else(|error| panic!("linear map: {error}"));
    let roots = Roots {
        live: Table::Root.phys(),
        replacement: Table::ReplacementRoot.phys(),
        spare: Table::TemporaryRoot.phys(),
        empty: Table::EmptyRoot.phys(),
    };
    let (painted, used) = first_paint(&layout, roots, largest, &free);
    MAP.call_once(|| LinearMap::new(layout, roots, &painted.stats));
    make_frames(&free, used);
    make_heap().unwrap_or_else(|error| panic!("heap: {error}"));
    painted
}

/// Memory of the machine that is not used.
pub(crate) enum Lost {
    /// So many bytes lie where the linear map, or the CPU that paints it, does not reach.
    Beyond(u64),
    /// So many bytes are in too many pieces.
    CrowdedOut(u64),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beyond(bytes) => {
                write!(f, "memory: {bytes} bytes are not used: neither the linear map nor the boot CPU reaches them")
            }
            Self::CrowdedOut(bytes) => {
                write!(f, "memory: {bytes} bytes are not used: it is in more than {MEMORY_RANGES} pieces")
            }
        }
    }
}

/// Returns what of the machine's memory is not used.
pub(crate) fn losses(map: &MemoryMap) -> impl Iterator<Item = Lost> {
    let beyond = Some(map.beyond()).filter(|&bytes| bytes > 0).map(Lost::Beyond);
    let crowded_out = Some(map.crowded_out()).filter(|&bytes| bytes > 0).map(Lost::CrowdedOut);
    beyond.into_iter().chain(crowded_out)
}

fn make_heap() -> Result<(), MapError> {
    let address = VirtAddr(HEAP_AREA);
    let mut frames = frames();
    let memory = frames.allocate_adjacent(HEAP_BYTES / FRAME_SIZE).ok_or(MapError::OutOfFrames(address))?;
    map_in(&mut frames, address, memory, Attributes::NORMAL)?;
    drop(frames);
    // SAFETY: mapped just now, for good, on every CPU (the holding root shares the kernel half); no other code has it.
    unsafe { heap::init(address, HEAP_BYTES as usize) }.unwrap_or_else(|error| panic!("heap: {error}"));
    Ok(())
}

/// Paints with tables from one piece of free memory. Returns the tables' memory as well.
fn first_paint(layout: &Layout<'_>, roots: Roots, largest: LargestLeaf, free: &MemoryRanges) -> (Painted, PhysRange) {
    const BLOCK: u64 = GEOMETRY.size(Level::L2);
    let bytes = first_paint_bytes(layout, largest);
    let piece =
        free.iter().map(|range| range.shrink_to(BLOCK)).find(|range| range.bytes() >= bytes).unwrap_or_else(|| {
            panic!("no {} KiB of adjacent free memory for the tables of the linear map", bytes >> 10)
        });
    let piece = PhysRange::new(piece.start, piece.start.offset(bytes));
    let table = EarlyTables.allocate().expect("a spare table for the first paint");
    let entry = slot(Table::KernelL1.phys(), GEOMETRY.index(PAINT_MAPPING, Level::L1));
    // SAFETY: before the first paint no other code changes tables.
    let image = unsafe { View::image() };
    // SAFETY: `begin` maps the piece there, and the view goes with `first`, whose end takes the mapping away.
    let view = unsafe { View::temporary(PAINT_MAPPING, piece.start) };
    let mut first = FirstPaint::begin(layout, &image, &ThisCpu, TemporaryBlocks { piece, table, entry }, view);
    let start = timer::count();
    let painted = first.paint(largest, roots);
    let stats = painted.unwrap_or_else(|error| panic!("{error}"));
    let ticks = timer::count().wrapping_sub(start);
    // No other CPU runs yet, and those that will must not find it in their TLBs: a broadcast invalidation. The kernel
    // has not identified any core yet, so the careful form, which repeats it.
    let used = first.end(TlbiRepeat::Twice);
    (Painted { stats, ticks }, used)
}

/// Makes the allocator of all that is free but for its own bitmap; the tables in `used` are its, and taken.
fn make_frames(free: &MemoryRanges, used: PhysRange) {
    let words = BitmapFrames::words(free.iter());
    let bytes = (words as u64 * 8).next_multiple_of(FRAME_SIZE);
    // The tables and the bitmap may each cut a range into two.
    let mut left = RangeSet::<{ MEMORY_RANGES + 2 }>::new();
    let full = |full| panic!("memory: {full}");
    free.iter().try_for_each(|range| left.insert(range)).unwrap_or_else(full);
    let mut unused = left.clone();
    unused.remove(used).unwrap_or_else(full);
    let piece = unused
        .iter()
        .find(|range| range.bytes() >= bytes)
        .unwrap_or_else(|| panic!("no {} KiB of adjacent free memory for the frame bitmap", bytes >> 10));
    let bitmap = PhysRange::new(piece.start, piece.start.offset(bytes));
    left.remove(bitmap).unwrap_or_else(full);
    // SAFETY: free memory, mapped in the linear map, and taken out of what the allocator gives away.
    let bits = unsafe { core::slice::from_raw_parts_mut(linear(bitmap.start).0 as *mut u64, bytes as usize / 8) };
    let mut frames = BitmapFrames::new(left.iter(), bits).unwrap_or_else(|error| panic!("frames: {error}"));
    frames.claim(used);
    *FRAMES.lock() = Some(frames);
}

/// Maps new frames for `bytes` bytes of the kernel half from `address` on, readable and writable.
///
/// # Errors
/// As [`TableTree::map_pages`]; [`MapError::OutOfFrames`] for the memory itself as well.
pub(crate) fn map_new(address: VirtAddr, bytes: u64) -> Result<(), MapError> {
    ban::check(ban::Ban::LinearMap);
    let mut frames = frames();
    for offset in (0..bytes).step_by(FRAME_SIZE as usize) {
        let address = address.offset(offset);
        let frame = frames.allocate().ok_or(MapError::OutOfFrames(address))?;
        map_in(&mut frames, address, PhysRange::new(frame, frame.offset(FRAME_SIZE)), Attributes::NORMAL)?;
    }
    Ok(())
}

/// Maps the RAM in `range` at `address` of the kernel half or beyond it as well, readable and writable.
///
/// # Errors
/// As [`TableTree::map_pages`].
pub(crate) fn map_again(address: VirtAddr, range: PhysRange) -> Result<(), MapError> {
    ban::check(ban::Ban::LinearMap);
    map_in(&mut frames(), address, range, Attributes::NORMAL)
}

fn map_in(frames: &mut Frames, address: VirtAddr, range: PhysRange, attributes: Attributes) -> Result<(), MapError> {
    // SAFETY: the caller holds the frame allocator, so that tables of the kernel half change one by one; the map is whole.
    let tables = unsafe { View::linear() };
    tree(tables).map_pages(&ThisCpu, &mut **frames, address, range, attributes)
}

/// The address of the next device.
static NEXT_DEVICE: AtomicU64 = AtomicU64::new(DEVICE_AREA);

/// Maps the registers in `range` for good and says where.
///
/// # Errors
/// As [`TableTree::map_pages`].
pub(crate) fn map_device(range: PhysRange) -> Result<VirtAddr, MapError> {
    let pages = range.grow_to(FRAME_SIZE);
    // A page is left out behind each, so that an access beyond its registers faults. Only the boot CPU maps devices.
    let address = VirtAddr(NEXT_DEVICE.fetch_add(pages.bytes() + FRAME_SIZE, Ordering::Relaxed));
    let attributes = Attributes { memory: MemoryType::Device, ..Attributes::NORMAL };
    let there = FRAMES.lock().is_some();
    if there {
        map_in(&mut frames(), address, pages, attributes)?
    } else {
        early::map(address, pages, attributes)?
    }
    Ok(address.offset(range.start.0 - pages.start.0))
}

/// Returns the tables of the real map, as `memory` reaches them.
pub(crate) fn tree<M>(memory: M) -> TableTree<M> {
    TableTree { memory, geometry: GEOMETRY, root: root() }
}

/// Returns the root of the real map.
pub(crate) fn root() -> PhysAddr {
    image::Table::Root.phys()
}
