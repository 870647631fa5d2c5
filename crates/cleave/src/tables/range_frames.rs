// SPDX-License-Identifier: MIT OR Apache-2.0
//! A frame source over one range of memory, for a kernel that has no allocator of frames.

use super::address::{PhysAddr, PhysRange};
use super::descriptor::Descriptor;
use super::frames::FrameSource;
use super::geometry::Geometry;
use super::traits::{TableMemory, slot};

/// Frames of one range in the order of their addresses. A frame that was given back is given out again before a new one.
///
/// The frames that were given back are a list that runs through their first words, so that the source takes no memory and a
/// range may have any size. [`super::BitmapFrames`] takes one bit a frame instead, and notices a frame that is given back twice.
#[derive(Debug)]
pub struct RangeFrames<M> {
    memory: M,
    range: PhysRange,
    bytes: u64,
    /// The first frame that was never given out.
    next: PhysAddr,
    /// The frame that was given back last, or [`NONE`]: as it stands in the frames of the list.
    returned: Descriptor,
    /// The number of frames in the list.
    listed: u64,
}

/// No frame: an address that is the start of none.
const NONE: Descriptor = Descriptor(1);

impl<M: TableMemory> RangeFrames<M> {
    /// Returns a source of the whole frames in `range`, each of the size of a page of `geometry`, all of them free. `memory`
    /// reaches the frames from the first that is given back.
    #[must_use]
    pub fn new(memory: M, range: PhysRange, geometry: Geometry) -> Self {
        let bytes = geometry.page_size();
        let range = range.shrink_to(bytes);
        Self { memory, range, bytes, next: range.start, returned: NONE, listed: 0 }
    }

    /// Returns the memory of the frames that were ever given out.
    #[must_use]
    pub const fn used(&self) -> PhysRange {
        PhysRange::new(self.range.start, self.next)
    }

    /// Takes the frames of `used`, the first of the range: what was in use before there was a source, as the tables that
    /// [`FirstPaint::end`](crate::linear_map::FirstPaint::end) returns.
    ///
    /// # Panics
    /// When `used` is not whole frames at the start of those that were never given out.
    pub fn claim(&mut self, used: PhysRange) {
        let fits = used.start == self.next && used.end <= self.range.end && used.end.is_aligned(self.bytes);
        assert!(fits, "{used} is not the start of the free frames from {} on", self.next);
        self.next = used.end;
    }
}

impl<M: TableMemory> FrameSource for RangeFrames<M> {
    fn available(&self) -> u64 {
        PhysRange::new(self.next, self.range.end).bytes() / self.bytes + self.listed
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        self.range.start <= frame && frame < self.next && frame.is_aligned(self.bytes)
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        if self.returned != NONE {
            let frame = PhysAddr(self.returned.0);
            self.returned = self.memory.load(slot(frame, 0));
            self.listed -= 1;
            return Some(frame);
        }
        let frame = self.next;
        (frame < self.range.end).then(|| {
            self.next = frame.offset(self.bytes);
            frame
        })
    }

    fn free(&mut self, frame: PhysAddr) {
        assert!(self.owns(frame), "frame {frame} is none of this source's");
        self.memory.store(slot(frame, 0), self.returned);
        self.returned = Descriptor(frame.0);
        self.listed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::fake::FakeMemory;
    use crate::tables::{Granule, VaBits};

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), PhysAddr(end))
    }

    /// Frame 0 is among them: a list that takes its address for the end loses frames.
    #[test]
    fn frames_come_in_order_and_those_given_back_come_first() {
        let memory = FakeMemory::default();
        for (granule, bytes) in [(Granule::K4, 0x1000), (Granule::K16, 0x4000), (Granule::K64, 0x1_0000)] {
            let geometry = Geometry { granule, va_bits: VaBits::V48 };
            let mut frames = RangeFrames::new(&memory, range(0, 3 * bytes + 8), geometry);
            assert_eq!(frames.available(), 3);
            let given: Vec<_> = core::iter::from_fn(|| frames.allocate()).collect();
            assert_eq!(given, [0, bytes, 2 * bytes].map(PhysAddr));
            assert_eq!(frames.available(), 0);
            frames.free(PhysAddr(0));
            frames.free(PhysAddr(2 * bytes));
            assert_eq!(frames.available(), 2);
            let again: Vec<_> = core::iter::from_fn(|| frames.allocate()).collect();
            assert_eq!(again, [2 * bytes, 0].map(PhysAddr));
        }
    }

    /// Before the linear map is painted no frame can be reached: giving frames out must not need it.
    #[test]
    fn giving_out_new_frames_touches_no_memory() {
        let memory = FakeMemory::default();
        let mut frames = RangeFrames::new(&memory, range(0x1800, 0x5000), Geometry::K4_V48);
        assert_eq!(frames.allocate(), Some(PhysAddr(0x2000)));
        assert!(memory.contents().is_empty());
    }

    #[test]
    fn claimed_frames_are_owned_and_never_given_out() {
        let memory = FakeMemory::default();
        let mut frames = RangeFrames::new(&memory, range(0x1000, 0x5000), Geometry::K4_V48);
        frames.claim(range(0x1000, 0x3000));
        assert_eq!(frames.available(), 2);
        assert!(frames.owns(PhysAddr(0x2000)) && !frames.owns(PhysAddr(0x3000)) && !frames.owns(PhysAddr(0x2800)));
        assert_eq!(frames.allocate(), Some(PhysAddr(0x3000)));
    }

    #[test]
    #[should_panic(expected = "is not the start of the free frames")]
    fn a_claim_in_the_middle_of_free_frames_is_refused() {
        let memory = FakeMemory::default();
        RangeFrames::new(&memory, range(0x1000, 0x5000), Geometry::K4_V48).claim(range(0x2000, 0x3000));
    }

    #[test]
    #[should_panic(expected = "none of this source's")]
    fn a_frame_that_was_never_given_out_cannot_come_back() {
        let memory = FakeMemory::default();
        RangeFrames::new(&memory, range(0x1000, 0x5000), Geometry::K4_V48).free(PhysAddr(0x1000));
    }
}
