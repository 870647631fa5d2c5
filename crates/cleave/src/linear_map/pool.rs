// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pool: frames set aside for tables, threaded through themselves.
//!
//! Each frame's first word holds the address of the next, so that a reservation of any size needs no array and no
//! contiguous memory. Reserving may fail, and then nothing has changed; taking from what was reserved cannot.

use core::fmt;

use crate::tables::{Descriptor, FrameSource, PhysAddr, TableMemory};

/// Frames that were reserved and not yet used. Only [`Pool::reserve`] makes one, and it must be emptied: by use, or
/// by [`Pool::release`].
#[derive(Debug)]
#[must_use = "reserved frames are lost unless they are used or released"]
pub struct Pool {
    /// The address of the first frame, or [`END`]: as it stands in the frames, so that taking one is a load and no more.
    head: Descriptor,
    frames: u64,
}

/// A reservation that could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfMemory {
    /// The number of frames asked for.
    pub needed: u64,
    /// The number of frames there were.
    pub available: u64,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames needed for tables, {} available", self.needed, self.available)
    }
}

/// No next frame. Frame 0 could be a real one, so the end is an address that no frame has.
const END: Descriptor = Descriptor(1);

impl Pool {
    /// Holds no frames.
    pub const EMPTY: Self = Self { head: END, frames: 0 };

    /// Reserves exactly `needed` frames, or none.
    ///
    /// # Errors
    /// When a frame is missing; all are given back first.
    pub fn reserve<M: TableMemory, F: FrameSource>(
        memory: &M,
        frames: &mut F,
        needed: u64,
    ) -> Result<Self, OutOfMemory> {
        let available = frames.available();
        if available < needed {
            return Err(OutOfMemory { needed, available });
        }
        let mut next = END;
        let granted = frames.allocate_each(needed, |frame| {
            memory.store(frame, next);
            next = Descriptor(frame.0);
        });
        let pool = Self { head: next, frames: granted };
        if granted < needed {
            pool.release(memory, frames);
            return Err(OutOfMemory { needed, available: granted });
        }
        Ok(pool)
    }

    /// Returns how many frames are left in the pool.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes one frame.
    ///
    /// # Panics
    /// When it is empty: the counts were wrong, which is a defect.
    #[inline]
    pub fn take<M: TableMemory>(&mut self, memory: &M) -> PhysAddr {
        assert!(self.head != END, "the counts gave too few tables");
        let frame = PhysAddr(self.head.0);
        self.head = memory.load(frame);
        self.frames -= 1;
        frame
    }

    /// Gives every frame back.
    pub fn release<M: TableMemory, F: FrameSource>(mut self, memory: &M, frames: &mut F) {
        while self.head != END {
            frames.free(self.take(memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::fake::{FakeFrames, FakeMemory};

    #[test]
    fn a_reservation_is_exact_and_comes_back_whole() {
        let memory = FakeMemory::default();
        // Frame 0 included: a pool must not take it for the end.
        let mut frames = FakeFrames::new(0, 0x1000, 10);
        let mut pool = Pool::reserve(&memory, &mut frames, 10).unwrap();
        assert_eq!((pool.frames(), frames.available()), (10, 0));
        let taken: std::collections::BTreeSet<_> = (0..4).map(|_| pool.take(&memory)).collect();
        assert_eq!(taken.len(), 4);
        pool.release(&memory, &mut frames);
        assert_eq!(frames.out, taken);
        assert_eq!(frames.available(), 6);
    }

    #[test]
    fn a_reservation_that_is_too_large_takes_nothing() {
        let memory = FakeMemory::default();
        let mut frames = FakeFrames::new(0x4000, 0x1000, 10);
        let refused = Pool::reserve(&memory, &mut frames, 11).unwrap_err();
        assert_eq!(refused, OutOfMemory { needed: 11, available: 10 });
        assert!(frames.out.is_empty() && memory.contents().is_empty());
    }

    #[test]
    fn a_reservation_that_fails_half_way_gives_everything_back() {
        for limit in 0..10 {
            let memory = FakeMemory::default();
            let mut frames = FakeFrames::new(0x4000, 0x1000, limit);
            frames.claims = 100;
            let refused = Pool::reserve(&memory, &mut frames, 10).unwrap_err();
            assert_eq!(refused, OutOfMemory { needed: 10, available: limit });
            assert!(frames.out.is_empty());
        }
    }

    #[test]
    #[should_panic(expected = "counts gave too few")]
    fn an_empty_pool_is_a_defect() {
        let memory = FakeMemory::default();
        let mut pool = Pool::reserve(&memory, &mut FakeFrames::new(0, 0x1000, 0), 0).unwrap();
        pool.take(&memory);
    }
}
