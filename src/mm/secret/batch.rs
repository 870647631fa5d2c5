// SPDX-License-Identifier: MIT OR Apache-2.0
//! The record of secret frames: batches of adjacent frames that are out of the linear map, and which of them are not in use.
//!
//! It has no lock, since the report of a fault asks it too.

use core::sync::atomic::{AtomicU64, Ordering};

use cleave::tables::{FRAME_SIZE, PhysAddr, PhysRange};

/// The frames of a batch: one bit of a word each.
pub(super) const FRAMES: u64 = 64;

/// The most batches.
pub(super) const BATCHES: usize = 16;

/// One batch, or room for one.
pub(super) struct Batch {
    /// The physical address of its first frame, with [`PRESENT`]; zero for room.
    place: AtomicU64,
    /// The frames that are not in use, a bit each.
    free: AtomicU64,
}

/// In a place: its frames are out of the linear map.
const PRESENT: u64 = 1;
/// In a place: its frames are on their way into the linear map or out of it, and none is to be had.
const MOVING: u64 = 2;

static RECORD: [Batch; BATCHES] = [const { Batch { place: AtomicU64::new(0), free: AtomicU64::new(0) } }; BATCHES];

impl Batch {
    /// Returns its frames; `None` while none is to be had.
    fn range(&self) -> Option<PhysRange> {
        let place = self.place.load(Ordering::Relaxed);
        let start = PhysAddr(place & !(PRESENT | MOVING));
        (place & (PRESENT | MOVING) == PRESENT).then(|| PhysRange::new(start, start.offset(FRAMES * FRAME_SIZE)))
    }

    /// Claims the batch if none of its frames is in use, so that no CPU gets one; returns the frames.
    pub(super) fn claim(&self) -> Option<PhysRange> {
        // Acquire: what the last users of its frames did comes before.
        self.free.compare_exchange(u64::MAX, 0, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let range = self.range();
        self.place.fetch_or(MOVING, Ordering::Relaxed);
        range
    }

    /// Makes the batch, which was claimed, one of the frames of `range`, which are out of the linear map and not in use.
    pub(super) fn fill(&self, range: PhysRange) {
        self.place.store(range.start.0 | PRESENT, Ordering::Relaxed);
        // Release: the place comes before any frame of it.
        self.free.store(u64::MAX, Ordering::Release);
    }

    /// Makes the batch, which was claimed, room again.
    pub(super) fn empty(&self) {
        self.place.store(0, Ordering::Release);
    }
}

/// Claims room for a batch; `None` when there is none.
pub(super) fn claim_room() -> Option<&'static Batch> {
    let is_room =
        |batch: &&Batch| batch.place.compare_exchange(0, MOVING, Ordering::Acquire, Ordering::Relaxed).is_ok();
    RECORD.iter().find(is_room)
}

/// Returns the batches, those that are none included.
pub(super) fn all() -> &'static [Batch] {
    &RECORD
}

/// Takes a frame of a batch that has one.
pub(super) fn take() -> Option<PhysAddr> {
    RECORD.iter().find_map(|batch| {
        let mut free = batch.free.load(Ordering::Relaxed);
        while free != 0 {
            // Acquire: the batch's place, and what the last user of the frame did, come before.
            match batch.free.compare_exchange_weak(free, free & (free - 1), Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(batch.range()?.start.offset(u64::from(free.trailing_zeros()) * FRAME_SIZE)),
                Err(now) => free = now,
            }
        }
        None
    })
}

/// Puts a frame of [`take`] back.
///
/// # Panics
/// When it is in no batch.
pub(super) fn put(frame: PhysAddr) {
    let found = RECORD.iter().find_map(|batch| Some((batch, batch.range().filter(|range| range.contains(frame))?)));
    let (batch, range) = found.unwrap_or_else(|| panic!("{frame} is no secret frame"));
    // Release: what was done with the frame comes before its next use.
    batch.free.fetch_or(1 << ((frame.0 - range.start.0) / FRAME_SIZE), Ordering::Release);
}

/// Returns true when some frame of `range` is in a batch.
pub(crate) fn overlaps(range: PhysRange) -> bool {
    RECORD.iter().filter_map(Batch::range).any(|batch| batch.overlaps(range))
}
