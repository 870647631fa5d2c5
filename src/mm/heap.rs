// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel heap: the global allocator, for boxes and vectors of things that are few.
//!
//! First fit in a linked list, behind one lock. Page tables never come from here, nor does anything the rendezvous
//! window needs. A request that cannot be met ends in `alloc`'s own panic, which names the size.
#![cfg(target_os = "none")]

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};

use cleave::tables::VirtAddr;
use linked_list_allocator::Heap;

use crate::cpu::ban::{self, Ban};
use crate::cpu::lock::IrqLock;

/// Less than this is not worth being called a heap, and the free list needs room of its own.
const LEAST_BYTES: usize = 4096;

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(IrqLock::new("heap", State { heap: Heap::empty(), counts: Counts::new() }));

struct KernelHeap(IrqLock<State>);

struct State {
    heap: Heap,
    counts: Counts,
}

/// The allocations so far.
#[derive(Clone, Copy)]
struct Counts {
    peak: usize,
    allocations: u64,
    frees: u64,
    failures: u64,
}

impl Counts {
    const fn new() -> Self {
        Self { peak: 0, allocations: 0, frees: 0, failures: 0 }
    }
}

/// An error in setting up the heap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeapError {
    /// There is one already.
    Twice,
    /// The region is too small to be used.
    TooSmall {
        /// Its size.
        bytes: usize,
    },
}

impl fmt::Display for HeapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice => write!(f, "the kernel heap was set up twice"),
            Self::TooSmall { bytes } => write!(f, "{bytes} bytes are too few for the kernel heap ({LEAST_BYTES})"),
        }
    }
}

impl core::error::Error for HeapError {}

/// The heap's state at one moment, in bytes and calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Statistics {
    /// All of it, used or free.
    pub(crate) bytes: usize,
    /// In use now, as rounded up by the allocator.
    pub(crate) used: usize,
    /// Not in use now, though perhaps in pieces.
    pub(crate) free: usize,
    /// The most that was ever in use.
    pub(crate) peak: usize,
    /// Requests that were met.
    pub(crate) allocations: u64,
    /// Blocks that were given back.
    pub(crate) frees: u64,
    /// Requests that were not met.
    pub(crate) failures: u64,
}

impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, used, free, peak, allocations, frees, failures } = self;
        write!(f, "{used} of {bytes} bytes used ({peak} at most, {free} free), ")?;
        write!(f, "{allocations} allocations, {frees} frees, {failures} failures")
    }
}

/// Makes the `bytes` bytes at `start` the heap.
///
/// # Errors
/// See [`HeapError`]; the region is untouched then.
///
/// # Safety
/// The region is mapped as ordinary memory that can be read and written, on every CPU and for good, and no other code
/// uses it.
#[expect(unsafe_code, reason = "the region is named by its address")]
pub(crate) unsafe fn init(start: VirtAddr, bytes: usize) -> Result<(), HeapError> {
    let mut state = HEAP.0.lock();
    if !state.heap.bottom().is_null() {
        return Err(HeapError::Twice);
    }
    if bytes < LEAST_BYTES {
        return Err(HeapError::TooSmall { bytes });
    }
    // SAFETY: the heap is empty, as just checked under the lock; the rest is the caller's promise.
    unsafe { state.heap.init(start.0 as *mut u8, bytes) };
    Ok(())
}

/// Returns how full the heap is.
///
/// # Panics
/// Inside the stop window: it takes the lock.
pub(crate) fn statistics() -> Statistics {
    let state = HEAP.0.lock();
    // An empty heap has no bottom, and no size either.
    let bytes = if state.heap.bottom().is_null() { 0 } else { state.heap.size() };
    let used = state.heap.used();
    let Counts { peak, allocations, frees, failures } = state.counts;
    Statistics { bytes, used, free: bytes - used, peak, allocations, frees, failures }
}

// SAFETY: `Heap` hands out blocks of its region that fit the layout and do not overlap; the lock makes each call
// whole; no call unwinds, since the kernel aborts on a panic.
#[expect(unsafe_code, reason = "the trait is unsafe to implement")]
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ban::check(Ban::Allocation);
        let mut state = self.0.lock();
        let block = state.heap.allocate_first_fit(layout);
        let used = state.heap.used();
        let counts = &mut state.counts;
        match block {
            Ok(block) => {
                counts.allocations += 1;
                counts.peak = counts.peak.max(used);
                block.as_ptr()
            }
            Err(()) => {
                counts.failures += 1;
                ptr::null_mut()
            }
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ban::check(Ban::Free);
        let mut state = self.0.lock();
        state.counts.frees += 1;
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller got `block` from `alloc` with this layout, as the trait demands.
            unsafe { state.heap.deallocate(block, layout) };
        }
    }
}
