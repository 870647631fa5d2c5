// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page frames: the trait of their sources, and a bitmap allocator.
//!
//! The table code asks only for [`FrameSource`]. [`BitmapFrames`] is the kernel's: one bit a frame, so that a frame
//! given back twice is noticed, and whole words of free frames are handed out without a search.

use super::address::{PhysAddr, PhysRange};

/// log2 of the frame size the allocator deals in. Tables of a larger granule would want larger frames.
const FRAME_SHIFT: u32 = 12;
/// The frame size in bytes: 4 KiB.
pub const FRAME_SIZE: u64 = 1 << FRAME_SHIFT;

/// A source of page frames.
pub trait FrameSource {
    /// Returns the number of free frames.
    fn available(&self) -> u64;

    /// Takes one frame, its contents undefined; `None` when there is none.
    fn allocate(&mut self) -> Option<PhysAddr>;

    /// Returns whether `frame` was allocated here and not given back since, so that [`FrameSource::free`] takes it.
    ///
    /// A repaint asks this of every table it will give back, before it changes anything.
    fn owns(&self, frame: PhysAddr) -> bool;

    /// Gives one frame back.
    ///
    /// # Panics
    /// When this source does not own the frame ([`FrameSource::owns`]): the accounting of the caller is broken.
    fn free(&mut self, frame: PhysAddr);

    /// Allocates up to `count` frames, calls `each` for each of them, and returns their number.
    fn allocate_each<F: FnMut(PhysAddr)>(&mut self, count: u64, mut each: F) -> u64
    where
        Self: Sized,
    {
        for done in 0..count {
            match self.allocate() {
                Some(frame) => each(frame),
                None => return done,
            }
        }
        count
    }
}

/// The number of separate ranges of free memory that [`BitmapFrames`] can hold.
pub const MAX_REGIONS: usize = 128;

#[derive(Default)]
struct Region<'a> {
    /// The first frame; a multiple of the frame size.
    start: PhysAddr,
    frames: u64,
    free: u64,
    /// One bit a frame, set when it is free; bits behind the last frame are clear.
    bits: &'a mut [u64],
    /// No word before this one has a bit set.
    first: usize,
}

/// The reason that a [`BitmapFrames`] could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FramesError {
    /// More than [`MAX_REGIONS`] ranges of free memory.
    TooManyRegions,
    /// The bitmap memory given is smaller than [`BitmapFrames::words`] says.
    BitmapTooSmall,
}

impl core::fmt::Display for FramesError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooManyRegions => write!(f, "free memory is in more than {MAX_REGIONS} pieces"),
            Self::BitmapTooSmall => write!(f, "the memory set aside for the frame bitmap is too small"),
        }
    }
}

/// A page-frame allocator with one bit a frame.
pub struct BitmapFrames<'a> {
    regions: [Region<'a>; MAX_REGIONS],
    used: usize,
    free: u64,
    /// The region the last frame came from.
    current: usize,
}

impl<'a> BitmapFrames<'a> {
    /// Returns the number of 64-bit words of bitmap that the ranges need.
    #[must_use]
    pub fn words(ranges: impl Iterator<Item = PhysRange>) -> usize {
        ranges.map(|range| Self::words_of(range.shrink_to(FRAME_SIZE))).sum()
    }

    fn words_of(range: PhysRange) -> usize {
        (range.bytes() >> FRAME_SHIFT).div_ceil(64) as usize
    }

    /// Returns an allocator over `ranges`, every frame of which is free; `bitmap` is its memory, whose contents do not
    /// matter.
    ///
    /// # Errors
    /// When there are more ranges than it can hold, or too little bitmap.
    pub fn new(ranges: impl Iterator<Item = PhysRange>, bitmap: &'a mut [u64]) -> Result<Self, FramesError> {
        let mut frames = Self { regions: core::array::from_fn(|_| Region::default()), used: 0, free: 0, current: 0 };
        let mut rest = bitmap;
        for range in ranges.map(|range| range.shrink_to(FRAME_SIZE)).filter(|range| !range.is_empty()) {
            let words = Self::words_of(range);
            let (bits, others) = rest.split_at_mut_checked(words).ok_or(FramesError::BitmapTooSmall)?;
            rest = others;
            let count = range.bytes() >> FRAME_SHIFT;
            bits.fill(u64::MAX);
            if let (Some(last), partial @ 1..) = (bits.last_mut(), count % 64) {
                *last = (1 << partial) - 1;
            }
            let region = frames.regions.get_mut(frames.used).ok_or(FramesError::TooManyRegions)?;
            *region = Region { start: range.start, frames: count, free: count, bits, first: 0 };
            frames.used += 1;
            frames.free += count;
        }
        Ok(frames)
    }

    fn regions(&mut self) -> &mut [Region<'a>] {
        &mut self.regions[..self.used]
    }

    /// Allocates the first free frame at or behind `address`, so that callers can spread over memory.
    pub fn allocate_behind(&mut self, address: PhysAddr) -> Option<PhysAddr> {
        let mut best: Option<(PhysAddr, usize, usize, u32)> = None;
        for (number, region) in self.regions().iter().enumerate() {
            let from = address.0.saturating_sub(region.start.0) >> FRAME_SHIFT;
            let Some((word, bit)) = region.find_from(from) else { continue };
            let found = region.address(word, bit);
            if best.is_none_or(|(nearest, ..)| found < nearest) {
                best = Some((found, number, word, bit));
            }
        }
        let (frame, number, word, bit) = best?;
        self.regions[number].take(word, bit);
        self.free -= 1;
        Some(frame)
    }

    /// Allocates `count` physically adjacent frames; `None` when there is no such run.
    pub fn allocate_adjacent(&mut self, count: u64) -> Option<PhysRange> {
        let range = self.regions().iter_mut().find_map(|region| region.take_run(count))?;
        self.free -= count;
        Some(range)
    }

    /// Returns the number of frames in the longest run of adjacent free frames: the most that
    /// [`BitmapFrames::allocate_adjacent`] can give.
    #[must_use]
    pub fn longest_run(&self) -> u64 {
        self.regions[..self.used].iter().map(Region::longest_run).max().unwrap_or(0)
    }

    /// Takes every frame of `range`, all of them free: what was in use before there was an allocator.
    ///
    /// # Panics
    /// When one of them is not free, or not the allocator's.
    pub fn claim(&mut self, range: PhysRange) {
        for number in 0..range.bytes() >> FRAME_SHIFT {
            let frame = range.start.offset(number << FRAME_SHIFT);
            self.find(frame);
            assert!(self.allocate_at(frame), "frame {frame} is in use already");
        }
    }

    /// Allocates `frame` itself. Returns false when it is allocated already, or is no frame of this source.
    pub fn allocate_at(&mut self, frame: PhysAddr) -> bool {
        let Some((region, word, bit)) = self.place(frame) else { return false };
        let region = &mut self.regions[region];
        let is_free = region.bits[word] >> bit & 1 == 1;
        if is_free {
            region.take(word, bit);
            self.free -= 1;
        }
        is_free
    }

    /// Returns region, word and bit of a frame, or `None` for an address that is none of this allocator's frames.
    fn place(&self, frame: PhysAddr) -> Option<(usize, usize, u32)> {
        let holds = |region: &Region<'_>| {
            frame.0 >= region.start.0 && (frame.0 - region.start.0) >> FRAME_SHIFT < region.frames
        };
        let region = self.regions[..self.used].iter().position(holds).filter(|_| frame.is_aligned(FRAME_SIZE))?;
        let number = (frame.0 - self.regions[region].start.0) >> FRAME_SHIFT;
        Some((region, (number / 64) as usize, (number % 64) as u32))
    }

    /// Returns region, word and bit of a frame.
    fn find(&self, frame: PhysAddr) -> (usize, usize, u32) {
        assert!(frame.is_aligned(FRAME_SIZE), "{frame} is not the start of a frame");
        self.place(frame).unwrap_or_else(|| panic!("frame {frame} is none of this allocator's"))
    }
}

impl Region<'_> {
    fn address(&self, word: usize, bit: u32) -> PhysAddr {
        self.start.offset(((word as u64) * 64 + u64::from(bit)) << FRAME_SHIFT)
    }

    fn take(&mut self, word: usize, bit: u32) {
        self.bits[word] &= !(1 << bit);
        self.free -= 1;
    }

    fn find_from(&self, frame: u64) -> Option<(usize, u32)> {
        let word = (frame / 64) as usize;
        let head = self.bits.get(word)? & (u64::MAX << (frame % 64));
        if head != 0 {
            return Some((word, head.trailing_zeros()));
        }
        let (offset, bits) = self.bits[word + 1..].iter().enumerate().find(|(_, bits)| **bits != 0)?;
        Some((word + 1 + offset, bits.trailing_zeros()))
    }

    fn is_free(&self, frame: u64) -> bool {
        self.bits[(frame / 64) as usize] >> (frame % 64) & 1 == 1
    }

    fn longest_run(&self) -> u64 {
        let (mut run, mut longest) = (0, 0);
        for frame in 0..self.frames {
            run = if self.is_free(frame) { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        longest
    }

    fn take_run(&mut self, count: u64) -> Option<PhysRange> {
        let mut run = 0;
        for frame in 0..self.frames {
            run = if self.is_free(frame) { run + 1 } else { 0 };
            if run == count {
                let first = frame + 1 - count;
                for frame in first..=frame {
                    self.take((frame / 64) as usize, (frame % 64) as u32);
                }
                let start = self.start.offset(first << FRAME_SHIFT);
                return Some(PhysRange::new(start, start.offset(count << FRAME_SHIFT)));
            }
        }
        None
    }
}

impl FrameSource for BitmapFrames<'_> {
    fn available(&self) -> u64 {
        self.free
    }

    fn allocate(&mut self) -> Option<PhysAddr> {
        let mut one = None;
        self.allocate_each(1, |frame| one = Some(frame));
        one
    }

    fn allocate_each<F: FnMut(PhysAddr)>(&mut self, count: u64, mut each: F) -> u64 {
        let mut left = count.min(self.free);
        let granted = left;
        self.free -= granted;
        while left > 0 {
            if self.regions[self.current].free == 0 {
                self.current = (self.current + 1) % self.used;
                continue;
            }
            let region = &mut self.regions[self.current];
            let word = &mut region.bits[region.first];
            if *word == 0 {
                region.first += 1;
                continue;
            }
            let base = region.start.offset((region.first as u64 * 64) << FRAME_SHIFT);
            let here = u64::from(word.count_ones()).min(left);
            for _ in 0..here {
                let bit = word.trailing_zeros();
                *word &= *word - 1;
                each(base.offset(u64::from(bit) << FRAME_SHIFT));
            }
            region.free -= here;
            left -= here;
        }
        granted
    }

    fn owns(&self, frame: PhysAddr) -> bool {
        self.place(frame).is_some_and(|(region, word, bit)| self.regions[region].bits[word] >> bit & 1 == 0)
    }

    fn free(&mut self, frame: PhysAddr) {
        let (region, word, bit) = self.find(frame);
        let region = &mut self.regions[region];
        assert!(region.bits[word] >> bit & 1 == 0, "frame {frame} given back twice");
        region.bits[word] |= 1 << bit;
        region.first = region.first.min(word);
        region.free += 1;
        self.free += 1;
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u64, end: u64) -> PhysRange {
        PhysRange::new(PhysAddr(start), PhysAddr(end))
    }

    fn allocator(ranges: &[PhysRange]) -> BitmapFrames<'static> {
        let words = BitmapFrames::words(ranges.iter().copied());
        BitmapFrames::new(ranges.iter().copied(), vec![0; words].leak()).unwrap()
    }

    #[test]
    fn every_frame_is_given_out_once_and_only_whole_ones() {
        let mut frames = allocator(&[range(0x800, 0x43_0000), range(0x1000_0000, 0x1000_3fff)]);
        let total = 0x43_0000 / 0x1000 - 1 + 3;
        assert_eq!(frames.available(), total);
        let mut seen = std::collections::BTreeSet::new();
        assert_eq!(frames.allocate_each(u64::MAX, |frame| assert!(seen.insert(frame))), total);
        assert_eq!(frames.available(), 0);
        assert_eq!(frames.allocate(), None);
        assert!(seen.iter().all(|frame| frame.is_aligned(FRAME_SIZE)));
        assert_eq!(*seen.first().unwrap(), PhysAddr(0x1000));
        assert_eq!(*seen.last().unwrap(), PhysAddr(0x1000_2000));
        for frame in seen {
            frames.free(frame);
        }
        assert_eq!(frames.available(), total);
    }

    #[test]
    #[should_panic(expected = "given back twice")]
    fn a_frame_given_back_twice_is_noticed() {
        let mut frames = allocator(&[range(0, 0x10000)]);
        let frame = frames.allocate().unwrap();
        frames.free(frame);
        frames.free(frame);
    }

    #[test]
    #[should_panic(expected = "none of this allocator's")]
    fn a_foreign_frame_is_noticed() {
        allocator(&[range(0, 0x10000)]).free(PhysAddr(0x10000));
    }

    #[test]
    fn a_source_owns_the_frames_it_has_given_out() {
        let mut frames = allocator(&[range(0, 0x10000)]);
        let frame = frames.allocate().unwrap();
        let claimed = range(0x8000, 0x9000);
        frames.claim(claimed);
        assert!(frames.owns(frame) && frames.owns(claimed.start));
        assert!(!frames.owns(frame.offset(8)) && !frames.owns(PhysAddr(0x10000)) && !frames.owns(PhysAddr(0xf000)));
        frames.free(frame);
        assert!(!frames.owns(frame));
    }

    #[test]
    fn adjacent_frames_skip_what_is_taken() {
        let mut frames = allocator(&[range(0, 0x3000), range(0x10_0000, 0x20_0000)]);
        let first = frames.allocate().unwrap();
        assert_eq!(first, PhysAddr(0));
        let run = frames.allocate_adjacent(4).unwrap();
        assert_eq!(run, range(0x10_0000, 0x10_4000));
        assert_eq!(frames.longest_run(), 0xfc);
        assert_eq!(frames.allocate_adjacent(2), Some(range(0x1000, 0x3000)));
        (0..4).for_each(|frame| frames.free(run.start.offset(frame * FRAME_SIZE)));
        assert_eq!(frames.available(), 0x100);
        assert_eq!(frames.allocate_adjacent(0x101), None);
    }

    #[test]
    fn frames_can_be_spread_over_memory() {
        let mut frames = allocator(&[range(0x10_0000, 0x20_0000), range(0, 0x8_0000)]);
        assert_eq!(frames.allocate_behind(PhysAddr(0x4_2100)), Some(PhysAddr(0x4_2000)));
        assert_eq!(frames.allocate_behind(PhysAddr(0x4_2000)), Some(PhysAddr(0x4_3000)));
        assert_eq!(frames.allocate_behind(PhysAddr(0x9_0000)), Some(PhysAddr(0x10_0000)));
        assert_eq!(frames.allocate_behind(PhysAddr(0x20_0000)), None);
        assert_eq!(frames.available(), 0x180 - 3);
    }
}
